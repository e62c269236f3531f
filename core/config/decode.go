package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is one key of a section and how its value gets into the section's type.
// set notes what is wrong and then leaves the type as it was.
type field[T any] struct {
	key string
	set func(*T, value)
}

// section is a mapping of the document.
type section struct {
	path   string
	at     position
	keys   []string // in the order of the file
	values map[string]value
}

// has tells whether the configuration says something for a key.
func (s section) has(key string) bool { _, ok := s.values[key]; return ok }

// where is the position of a key, or of the section where the key is absent.
func (s section) where(key string) position {
	if v, ok := s.values[key]; ok {
		return v.at
	}
	return s.at
}

// name is the path of one of its keys.
func (s section) name(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

// decode sets the fields of dst that s has, and notes keys that are none.
func decode[T any](s section, dst *T, fields []field[T]) {
	for _, key := range s.keys {
		v := s.values[key]
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.key == key })
		if i < 0 {
			known := make([]string, len(fields))
			for i, f := range fields {
				known[i] = f.key
			}
			v.problem("unknown key%s", hint(key, known))
			continue
		}
		if v.node.Tag == "!!null" {
			v.problem("has no value; leave the key out for the default")
			continue
		}
		fields[i].set(dst, v)
	}
}

// subsection reads a mapping of its own.
func subsection[T any](v value, dst *T, fields []field[T]) {
	if s, ok := sectionOf(v); ok {
		decode(s, dst, fields)
	}
}

// optional reads a mapping that the configuration may be without: *dst stays nil
// then.
func optional[T any, P interface {
	*T
	entry
}](v value, dst *P, fresh func() P, fields []field[T]) {
	if s, ok := sectionOf(v); ok {
		*dst = fresh()
		(*dst).readFrom(s)
		decode(s, (*T)(*dst), fields)
	}
}

// entries reads a list of mappings.
func entries[T any, P interface {
	*T
	entry
}](v value, dst *[]P, fresh func() P, fields []field[T]) {
	if v.node.Kind != yaml.SequenceNode {
		v.problem("want a list of entries, each beginning with '- %s: ...', got %s", fields[0].key, v.kind())
		return
	}
	for i, n := range v.node.Content {
		s, ok := sectionOf(v.below(fmt.Sprintf("%s[%d]", v.path, i), n))
		if !ok {
			continue
		}
		p := fresh()
		p.readFrom(s)
		decode(s, (*T)(p), fields)
		*dst = append(*dst, p)
	}
}

// entry is a mapping that remembers where its keys stand.
type entry interface{ readFrom(section) }

func (p *Phase1) readFrom(s section)            { p.file = s }
func (p *Phase2) readFrom(s section)            { p.file = s }
func (u *User) readFrom(s section)              { u.file = s }
func (g *UserGroup) readFrom(s section)         { g.file = s }
func (c *StandaloneCluster) readFrom(s section) { c.file = s }
func (p *ClusterPeer) readFrom(s section)       { p.file = s }
func (h *HA) readFrom(s section)                { h.file = s }
func (p *HAPeer) readFrom(s section)            { p.file = s }
func (a *UnitAddresses) readFrom(s section)     { a.file = s }
func (b *BGP) readFrom(s section)               { b.file = s }
func (n *BGPNeighbor) readFrom(s section)       { n.file = s }

// maxDepth bounds how deep anchors may refer to each other.
const maxDepth = 16

// sectionOf reads a mapping; ok is false for what is none.
func sectionOf(v value) (section, bool) {
	s := section{path: v.path, at: v.at, values: make(map[string]value)}
	if v.node.Kind != yaml.MappingNode {
		v.problem("want keys with values below it, got %s", v.kind())
		return s, false
	}
	s.read(v, v.node, 0)
	for _, o := range v.over {
		s.put(v, o)
	}
	return s, true
}

// put lets a value of the environment win over the file's.
func (s *section) put(of, o value) {
	key, rest, deeper := strings.Cut(strings.TrimPrefix(o.path, s.path+"."), ".")
	v, there := s.values[key]
	if !there {
		s.keys = append(s.keys, key)
		v = of.below(s.name(key), &yaml.Node{Kind: yaml.MappingNode, Line: s.at.line})
	}
	if deeper && rest != "" {
		v.over = append(v.over, o)
	} else {
		v = o
	}
	s.values[key] = v
}

// read takes in the keys of a mapping. Those of a merge key (<<) are the weaker
// ones.
func (s *section) read(of value, n *yaml.Node, depth int) {
	var merge *yaml.Node
	here := make(map[string]int)
	each(n, func(key, val *yaml.Node) {
		name := key.Value
		v := of.below(s.name(name), val)
		v.at.line = key.Line
		if first, twice := here[name]; twice {
			v.problem("given twice, first in line %d", first)
			return
		}
		here[name] = key.Line
		if key.Tag == "!!merge" {
			merge = resolve(val)
		} else if !s.has(name) {
			s.keys = append(s.keys, name)
			s.values[name] = v
		}
	})
	switch {
	case merge == nil:
	case merge.Kind != yaml.MappingNode || depth == maxDepth:
		of.below(s.name("<<"), merge).problem("want one anchor of a mapping, such as *defaults")
	default:
		s.read(of, merge, depth+1)
	}
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		if n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return n
}

// hint says what an unknown key may have been meant to be.
func hint(key string, known []string) string {
	if why, ok := notHere(key); ok {
		return ": " + why
	}
	return suggest(key, known, "known here")
}

// suggest names the nearest of the known words, or all of them.
func suggest(word string, known []string, all string) string {
	best, distance := "", len(word)/2+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %s?", best)
	case len(known) == 0:
		return ""
	default:
		return fmt.Sprintf("; %s: %s", all, strings.Join(slices.Sorted(slices.Values(known)), ", "))
	}
}

// keysOf are the paths of the fields of a section.
func keysOf[T any](path string, fields []field[T]) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = path + "." + f.key
	}
	return out
}

// editDistance is Levenshtein's: how many letters to change, add or take away.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// notHere explains keys of FortiOS that an operator may bring along.
func notHere(key string) (string, bool) {
	why, ok := map[string]string{
		"authmethod":   "the pre-shared key (psksecret) is the only method",
		"certificate":  "the pre-shared key (psksecret) is the only method",
		"distance":     "a route of Linux has one preference: priority",
		"dst-subnet6":  "dst-subnet takes IPv6 too",
		"eap":          "EAP is not supported",
		"mode":         "IKEv1 is not supported",
		"mode-cfg":     "mode-cfg is not supported: clients bring their own addresses",
		"local-gw6":    "local-gw takes IPv6 too",
		"remote-gw6":   "remote-gw takes IPv6 too",
		"src-subnet6":  "src-subnet takes IPv6 too",
		"src-end-ip":   "write the range into src-subnet: 10.0.0.1-10.0.0.9",
		"src-start-ip": "write the range into src-subnet: 10.0.0.1-10.0.0.9",
		"dst-end-ip":   "write the range into dst-subnet: 10.0.0.1-10.0.0.9",
		"dst-start-ip": "write the range into dst-subnet: 10.0.0.1-10.0.0.9",
		"xauthtype":    "XAuth belongs to IKEv1, which is not supported",
	}[key]
	return why, ok
}
