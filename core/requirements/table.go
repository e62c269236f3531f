package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The columns of the table, in their order.
const (
	columnID = iota
	columnStatement
	columnState
	columnTests
	columns
)

// The states of a statement.
const (
	statePlanned = "planned" // also when some of it is built and tested
	stateDone    = "done"    // all of it is built; tests hold it
)

// A statement is one numbered row of the table.
type statement struct {
	line  int // in the document, from 1
	id    string
	text  string
	state string
	tests []string // as the document names them: "ike.TestRekey"
}

// A document is requirements.md: its lines, and the statements among them.
type document struct {
	lines      []string
	statements []statement
}

// parseDocument finds the rows of the tables whose first cell is an id. It
// fails on a row that has not four cells, on an unknown state and on an id
// that two rows claim.
func parseDocument(text string) (document, error) {
	doc := document{lines: strings.Split(text, "\n")}
	id := regexp.MustCompile(`^[A-Z][1-9][0-9]?$`)
	seen := make(map[string]int)
	for i, line := range doc.lines {
		cells := cells(line)
		if len(cells) == 0 || !id.MatchString(cells[columnID]) {
			continue
		}
		if len(cells) != columns {
			return document{}, fmt.Errorf("line %d: %s has %d cells instead of %d", i+1, cells[columnID], len(cells), columns)
		}
		s := statement{
			line:  i + 1,
			id:    cells[columnID],
			text:  cells[columnStatement],
			state: cells[columnState],
			tests: strings.FieldsFunc(cells[columnTests], func(r rune) bool { return r == ',' || r == ' ' }),
		}
		if s.state != statePlanned && s.state != stateDone {
			return document{}, fmt.Errorf("line %d: %s is %q; a statement is %s or %s", s.line, s.id, s.state, statePlanned, stateDone)
		}
		if first := seen[s.id]; first != 0 {
			return document{}, fmt.Errorf("line %d: %s stands on line %d already", s.line, s.id, first)
		}
		seen[s.id] = s.line
		doc.statements = append(doc.statements, s)
	}
	return doc, nil
}

// cells returns the trimmed cells of a table row, none for any other line.
func cells(line string) []string {
	row, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
	if !ok {
		return nil
	}
	parts := strings.Split(strings.TrimSuffix(row, "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// withTests returns the document with the Tests column that covered says, and
// everything else as it was.
func (doc document) withTests(covered coverage) document {
	next := document{lines: slices.Clone(doc.lines), statements: slices.Clone(doc.statements)}
	for i := range next.statements {
		s := &next.statements[i]
		s.tests = covered.tests(s.id)
		next.lines[s.line-1] = s.row()
	}
	return next
}

func (s statement) row() string {
	row := fmt.Sprintf("| %s | %s | %s | %s", s.id, s.text, s.state, strings.Join(s.tests, ", "))
	return strings.TrimRight(row, " ") + " |"
}

// String returns the text of the document.
func (doc document) String() string { return strings.Join(doc.lines, "\n") }
