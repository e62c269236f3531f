package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// documentPath is where the statements stand, from the module's root.
const documentPath = "core/requirements.md"

func main() {
	write := flag.Bool("write", false, "write the Tests column of "+documentPath+" and list the statements without a test")
	flag.Parse()
	ok, err := run(".", *write, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "requirements:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// run compares the document of the module at root with its tests, and reports
// to out. It returns whether they agree; err is for what could not be read or
// written.
func run(root string, write bool, out io.Writer) (bool, error) {
	module, err := os.OpenRoot(root)
	if err != nil {
		return false, err
	}
	defer module.Close()

	text, err := module.ReadFile(documentPath)
	if err != nil {
		return false, err
	}
	doc, err := parseDocument(string(text))
	if err != nil {
		return false, fmt.Errorf("parse %s: %w", documentPath, err)
	}
	covered, err := scan(module.FS())
	if err != nil {
		return false, err
	}

	if write {
		doc = doc.withTests(covered)
		if next := doc.String(); next != string(text) {
			if err := module.WriteFile(documentPath, []byte(next), 0o644); err != nil {
				return false, err
			}
		}
	}
	found := compare(doc, covered)
	for _, sentence := range found {
		fmt.Fprintln(out, sentence)
	}
	summarize(out, doc, covered, write)
	return len(found) == 0, nil
}

// compare returns one sentence for each point in which the document and the
// tests differ.
func compare(doc document, covered coverage) []string {
	var found []string
	known := make(map[string]bool)
	for _, s := range doc.statements {
		known[s.id] = true
		found = append(found, s.compare(covered.tests(s.id))...)
	}
	for _, c := range covered {
		if !known[c.id] {
			found = append(found, fmt.Sprintf("%s:%d: %s names %s, which is no statement of %s.", c.file, c.line, c.test, c.id, documentPath))
		}
	}
	return found
}

// compare returns what is wrong with one statement, given the tests that
// claim it.
func (s statement) compare(tests []string) []string {
	var found []string
	report := func(format string, args ...any) {
		found = append(found, fmt.Sprintf("%s:%d: %s", documentPath, s.line, fmt.Sprintf(format, args...)))
	}
	for _, test := range s.tests {
		if !slices.Contains(tests, test) {
			report("%s says that %s holds it, but no test of that name claims it.", s.id, test)
		}
	}
	for _, test := range tests {
		if !slices.Contains(s.tests, test) {
			report("%s does not name %s, which claims it: run make requirements.", s.id, test)
		}
	}
	if s.state == stateDone && len(tests) == 0 {
		report("%s is done, but no test claims it.", s.id)
	}
	return found
}

// summarize writes how far the project is, and on request each statement that
// no test claims.
func summarize(out io.Writer, doc document, covered coverage, list bool) {
	var done, untested int
	var rows strings.Builder
	for _, s := range doc.statements {
		if s.state == stateDone {
			done++
		}
		if len(covered.tests(s.id)) == 0 {
			untested++
			fmt.Fprintf(&rows, "  %-4s %s\n", s.id, s.text)
		}
	}
	if list && untested > 0 {
		fmt.Fprintf(out, "Without a test:\n%s", rows.String())
	}
	fmt.Fprintf(out, "%d statements: %d done, %d without a test.\n", len(doc.statements), done, untested)
}
