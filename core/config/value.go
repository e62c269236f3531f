package config

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value is what stands at a key. Its methods set their destination, or note what
// is wrong and leave it alone.
type value struct {
	path   string
	at     position
	node   *yaml.Node
	report *report
	// over are values of the environment for keys below this one.
	over []value
}

// below is a value inside of v.
func (v value) below(path string, n *yaml.Node) value {
	return value{path: path, at: position{v.at.source, n.Line}, node: resolve(n), report: v.report}
}

func (v value) problem(format string, args ...any) {
	v.report.problem(v.at, v.path, format, args...)
}

// kind names what v is, for people.
func (v value) kind() string {
	switch {
	case v.node.Kind == yaml.MappingNode:
		return "keys with values"
	case v.node.Kind == yaml.SequenceNode:
		return "a list"
	case v.node.Tag == "!!null":
		return "nothing"
	default:
		return strconv.Quote(v.node.Value)
	}
}

// scalar is the text of a single value, as it stands in the file.
func (v value) scalar() (string, bool) {
	if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" {
		v.problem("want a single value, got %s", v.kind())
		return "", false
	}
	return v.node.Value, true
}

// text sets a text that is not empty.
func (v value) text(dst *string) {
	s, ok := v.scalar()
	switch {
	case !ok:
	case s == "":
		v.problem("is empty; leave the key out for the default")
	default:
		*dst = s
	}
}

// list returns the parts of a list; a single value is a list of one, and its
// words are the parts where split is set, as FortiOS writes lists.
func (v value) list(split bool) []value {
	switch v.node.Kind {
	case yaml.SequenceNode:
		out := make([]value, len(v.node.Content))
		for i, n := range v.node.Content {
			out[i] = v.below(v.path, n)
		}
		if len(out) == 0 {
			v.problem("is an empty list; leave the key out for the default")
		}
		return out
	case yaml.ScalarNode:
		if !split {
			return []value{v}
		}
		var out []value
		for _, word := range strings.Fields(v.node.Value) {
			n := *v.node
			n.Value = word
			out = append(out, value{path: v.path, at: v.at, node: &n, report: v.report})
		}
		if len(out) == 0 {
			v.problem("is empty; leave the key out for the default")
		}
		return out
	default:
		v.problem("want a value or a list of values, got %s", v.kind())
		return nil
	}
}

// number sets a whole number within bounds.
func number[T ~int | ~uint8 | ~uint16 | ~uint32 | ~uint64](v value, dst *T, low, high uint64) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < low || n > high {
		v.problem("%q is not allowed; allowed: %d-%d", s, low, high)
		return
	}
	*dst = T(n)
}

// seconds sets a duration that is a number of seconds, or has a unit, such as 25h.
func (v value) seconds(dst *time.Duration, low, high int) {
	if !v.duration(dst, time.Second, low, high) {
		v.problem("%q is not allowed; allowed: %d-%d seconds, or a duration with its unit, such as 90m", v.node.Value, low, high)
	}
}

// milliseconds sets a duration that is a number of milliseconds, or has a unit.
func (v value) milliseconds(dst *time.Duration, low, high int) {
	if !v.duration(dst, time.Millisecond, low, high) {
		v.problem("%q is not allowed; allowed: %d-%d milliseconds, or a duration with its unit, such as 1.5s", v.node.Value, low, high)
	}
}

// duration sets a duration from low to high units, which a plain number counts. It
// is false for a single value that is none.
func (v value) duration(dst *time.Duration, unit time.Duration, low, high int) bool {
	s, ok := v.scalar()
	if !ok {
		return true
	}
	d, err := time.ParseDuration(s)
	if n, plain := strconv.ParseInt(s, 10, 32); plain == nil {
		d, err = time.Duration(n)*unit, nil
	}
	if err != nil || d < time.Duration(low)*unit || d > time.Duration(high)*unit {
		return false
	}
	*dst = d
	return true
}

// choice is a word of the configuration and what it stands for.
type choice[T any] struct {
	word string
	is   T
}

// oneOf sets what a word stands for.
func oneOf[T any](v value, dst *T, choices ...choice[T]) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	words := make([]string, len(choices))
	for i, c := range choices {
		if c.word == s {
			*dst = c.is
			return
		}
		words[i] = c.word
	}
	v.problem("%q is not allowed; allowed: %s", s, strings.Join(words, ", "))
}

// enable sets a switch.
func (v value) enable(dst *bool) {
	oneOf(v, dst, choice[bool]{"enable", true}, choice[bool]{"disable", false})
}

// address sets an IP address that can be a host's.
func (v value) address(dst *netip.Addr) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		v.problem("%q is not an IP address, such as 192.0.2.1 or 2001:db8::1", s)
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		v.problem("%v is not the address of a host", a)
	case a.Zone() != "":
		v.problem("%v has a zone; want an address that is the same on every interface", a)
	case a.Is4In6():
		v.problem("%v is an IPv4 address in IPv6 clothes; write %v", a, a.Unmap())
	default:
		*dst = a
	}
}

// name sets the name of an entry. It appears in the names of tunnels, in logs, in
// metrics and in URLs.
func (v value) name(dst *string) {
	const allowed = "letters, digits, '-', '_' and '.', at most 35 of them"
	s, ok := v.scalar()
	if !ok {
		return
	}
	bad := strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
	if bad || s == "" || len(s) > 35 || strings.Trim(s, ".") == "" {
		v.problem("%q is not a name; allowed: %s", s, allowed)
		return
	}
	*dst = s
}

// listOf sets a list; parse says what is wrong with a part. A part that stands in
// it twice is a mistake.
func listOf[T any](v value, dst *[]T, split bool, parse func(string) (T, error)) {
	var out []T
	seen := make(map[string]bool)
	for _, part := range v.list(split) {
		s, ok := part.scalar()
		if !ok {
			continue
		}
		t, err := parse(s)
		switch {
		case err != nil:
			part.problem("%s", strings.TrimPrefix(err.Error(), "ipsec: "))
		case seen[s]:
			part.problem("%s stands in the list twice", s)
		default:
			out = append(out, t)
		}
		seen[s] = true
	}
	if len(out) > 0 {
		*dst = out
	}
}

// texts sets a mapping of texts.
func (v value) texts(dst *map[string]string) {
	s, ok := sectionOf(v)
	if !ok {
		return
	}
	m := make(map[string]string, len(s.keys))
	for _, key := range s.keys {
		if text, ok := s.values[key].scalar(); ok {
			m[key] = text
		}
	}
	*dst = m
}
