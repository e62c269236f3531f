package report

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Report is what one benchmark found.
type Report struct {
	// Title is a line.
	Title string
	// Conditions under which it was measured, a line each.
	Conditions []string
	Tables     []Table
	// Plots are for the page alone.
	Plots []Plot
	// Samples are what benchstat compares between two runs. Those of one name are
	// repetitions.
	Samples []Sample
	// Result is the whole, for [Report.WriteJSON].
	Result any
}

// Table is rows of cells below a header, whose first cell says what the rows are.
type Table struct {
	Header []string
	Rows   [][]string
}

// Add appends a row, one argument per cell, each as [fmt.Sprint] prints it.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// Sample is what was measured once. Name has the form of a Go benchmark's
// without its prefix: Failover/inbound.
type Sample struct {
	Name   string
	Values []Value
}

// Value is a number with its unit, which has no space and says by its name what
// is better: benchstat takes what ends in "/s" for a speed.
type Value struct {
	Number float64
	Unit   string
}

// Write writes the tables and then the result as one line of JSON.
func (r Report) Write(w io.Writer) error {
	p := &printer{w: w}
	p.printf("%s\n", r.Title)
	for _, c := range r.Conditions {
		p.printf("%s\n", c)
	}
	for _, t := range r.Tables {
		p.printf("\n")
		p.table(t)
	}
	p.printf("\n")
	if p.err != nil {
		return fmt.Errorf("report: write the result: %w", p.err)
	}
	return r.WriteJSON(w)
}

// WriteJSON writes the result as one line.
func (r Report) WriteJSON(w io.Writer) error {
	line, err := json.Marshal(r.Result)
	if err != nil {
		return fmt.Errorf("report: encode the result: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
		return fmt.Errorf("report: write the result: %w", err)
	}
	return nil
}

// WriteSamples writes the format that benchstat reads.
//
// "The file consists of lines of text, encoded in UTF-8. [...] A benchmark
// result line has the general form <name> <iterations> <value> <unit>
// [<value> <unit>...]". Go Benchmark Data Format.
func (r Report) WriteSamples(w io.Writer) error {
	p := &printer{w: w}
	p.printf("goos: %s\ngoarch: %s\n", runtime.GOOS, runtime.GOARCH)
	for _, s := range r.Samples {
		p.printf("Benchmark%s 1", strings.ReplaceAll(s.Name, " ", "-"))
		for _, v := range s.Values {
			p.printf(" %g %s", v.Number, v.Unit)
		}
		p.printf("\n")
	}
	if p.err != nil {
		return fmt.Errorf("report: write the samples: %w", p.err)
	}
	return nil
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) table(t Table) {
	if p.err != nil {
		return
	}
	tw := tabwriter.NewWriter(p.w, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		fmt.Fprintln(tw, strings.Join(row, "\t")) // the error comes with Flush
	}
	p.err = tw.Flush()
}
