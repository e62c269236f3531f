package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Changes are what differs between two configurations.
type Changes struct {
	// Phase1 and Phase2 are by name, in the order of the new configuration, the
	// removed ones last.
	Phase1, Phase2 []Change
	// Sections are the other top-level keys that changed, such as "log".
	Sections []string
	// Restart are those of the Sections that are read when the gateway starts: what
	// they say now holds after its next start. A member's id is part of its SPIs and
	// IVs, so a running one cannot become another.
	Restart []string
}

// Change is one entry that differs.
type Change struct {
	Name           string
	Added, Removed bool
	// Keys that changed, for an entry that is in both.
	Keys []string
}

// Diff compares configurations. Where an entry stands in the file is no
// difference, except that the order of phase 1 entries is one of "phase1" in
// Sections, because it decides which one a peer gets.
func Diff(from, to *Config) Changes {
	var c Changes
	c.Phase1 = compare(from.Phase1, to.Phase1, func(p *Phase1) string { return p.Name }, changedPhase1)
	c.Phase2 = compare(from.Phase2, to.Phase2, func(p *Phase2) string { return p.Name },
		func(a, b *Phase2) []string { return changedKeys(a, b) })
	for _, key := range changedKeys(from, to) {
		if key != "phase1" && key != "phase2" {
			c.changed(key)
		}
	}
	if !sameSecrets(from.Cluster, to.Cluster) {
		c.changed("standalone-cluster")
	}
	if from.HA != nil && to.HA != nil && !from.HA.Password.Equal(to.HA.Password) {
		c.changed("ha")
	}
	if !samePasswords(from.BGP, to.BGP) {
		c.changed("bgp")
	}
	if !slices.EqualFunc(from.Users, to.Users, func(a, b *User) bool { return a.Password.Equal(b.Password) }) {
		c.changed("user-local")
	}
	if !from.State.SealKey.Equal(to.State.SealKey) {
		c.changed("state")
	}
	slices.Sort(c.Sections)
	if from.Log.JSON != to.Log.JSON {
		c.Restart = append(c.Restart, "log")
	}
	for _, key := range []string{"admin", "bgp", "ha", "health", "ike-restart", "metrics", "plugin-dirs", "standalone-cluster", "state", "state-dir"} {
		if slices.Contains(c.Sections, key) {
			c.Restart = append(c.Restart, key)
		}
	}
	if len(c.Phase1) == 0 && !slices.EqualFunc(from.Phase1, to.Phase1, func(a, b *Phase1) bool { return a.Name == b.Name }) {
		c.Sections = append(c.Sections, "phase1")
	}
	return c
}

func (c *Changes) changed(section string) {
	if !slices.Contains(c.Sections, section) {
		c.Sections = append(c.Sections, section)
	}
}

// sameSecrets compares what JSON leaves out.
func sameSecrets(a, b *StandaloneCluster) bool {
	return a == nil || b == nil || a.Secret.Equal(b.Secret)
}

func samePasswords(a, b *BGP) bool {
	return a == nil || b == nil || slices.EqualFunc(a.Neighbors, b.Neighbors,
		func(x, y *BGPNeighbor) bool { return x.Password.Equal(y.Password) })
}

// Empty tells whether nothing changed.
func (c Changes) Empty() bool { return len(c.Phase1)+len(c.Phase2)+len(c.Sections) == 0 }

// Lines say what changed, for people.
func (c Changes) Lines() []string {
	var out []string
	for _, ch := range c.Phase1 {
		out = append(out, "phase1 "+ch.String())
	}
	for _, ch := range c.Phase2 {
		out = append(out, "phase2 "+ch.String())
	}
	for _, s := range c.Sections {
		if s == "phase1" {
			s = "order of phase1"
		}
		out = append(out, s+" changed")
	}
	for _, s := range c.Restart {
		out = append(out, s+" takes effect with the next start of evergated")
	}
	return out
}

// String is "vpn1 changed: keylife, proposal".
func (c Change) String() string {
	switch {
	case c.Added:
		return c.Name + " added"
	case c.Removed:
		return c.Name + " removed"
	default:
		return fmt.Sprintf("%s changed: %s", c.Name, strings.Join(c.Keys, ", "))
	}
}

func compare[T any](from, to []T, name func(T) string, changed func(a, b T) []string) []Change {
	find := func(in []T, n string) (T, bool) {
		i := slices.IndexFunc(in, func(e T) bool { return name(e) == n })
		if i < 0 {
			var none T
			return none, false
		}
		return in[i], true
	}
	var out []Change
	for _, e := range to {
		old, ok := find(from, name(e))
		if !ok {
			out = append(out, Change{Name: name(e), Added: true})
		} else if keys := changed(old, e); len(keys) > 0 {
			out = append(out, Change{Name: name(e), Keys: keys})
		}
	}
	for _, e := range from {
		if _, ok := find(to, name(e)); !ok {
			out = append(out, Change{Name: name(e), Removed: true})
		}
	}
	return out
}

func changedPhase1(a, b *Phase1) []string {
	keys := changedKeys(a, b)
	if !a.PSK.Equal(b.PSK) {
		keys = append(keys, "psksecret")
	}
	if !a.Password.Equal(b.Password) {
		keys = append(keys, "authpasswd")
	}
	return keys
}

// changedKeys compares two values of one type key by key, in alphabetical order.
func changedKeys(a, b any) []string {
	before, after := byKey(a), byKey(b)
	var out []string
	for key := range after {
		if !bytes.Equal(before[key], after[key]) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// byKey is a value of this package by the keys of the file. Its types hold
// nothing that JSON has no form for.
func byKey(v any) map[string]json.RawMessage {
	b, _ := json.Marshal(v)
	m := make(map[string]json.RawMessage)
	_ = json.Unmarshal(b, &m)
	return m
}
