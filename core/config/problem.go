package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake, as an error.
type Problem struct {
	// Source is the file, or the environment variable as "$NAME".
	Source string
	// Line in the file, from 1; 0 where there is none.
	Line int
	// Key is the path of the key, such as "phase1[0].dhgrp".
	Key string
	// Text says what is wrong and what is allowed.
	Text string
}

// Error is "gw.yaml:17: phase1[0].dhgrp: 3 is not a group; ...".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		fmt.Fprintf(&b, ": %s", p.Key)
	}
	fmt.Fprintf(&b, ": %s", p.Text)
	return b.String()
}

// Problems are all mistakes of a configuration, as an error with one line for
// each, in the order of the file.
type Problems []Problem

// Error implements error.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// position is where a key or value stands.
type position struct {
	source string
	line   int
}

// report gathers what is found while a configuration is read.
type report struct {
	problems, warnings Problems
}

func (r *report) problem(at position, key, format string, args ...any) {
	r.problems = append(r.problems, Problem{at.source, at.line, key, fmt.Sprintf(format, args...)})
}

func (r *report) warning(at position, key, format string, args ...any) {
	r.warnings = append(r.warnings, Problem{at.source, at.line, key, fmt.Sprintf(format, args...)})
}

// sorted is ps in the order of the lines; what was found first in a line stays
// first.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Line, b.Line))
	})
	return ps
}
