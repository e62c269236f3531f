package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func example() Report {
	t := Table{Header: []string{"packet", "Gbit/s"}}
	t.Add("64 octets", 1.25)
	t.Add("<1420>", 9)
	return Report{
		Title: "Throughput & more", Conditions: []string{"4 cores"}, Tables: []Table{t},
		Plots: []Plot{
			{Title: "bars", Y: "Gbit/s", Groups: []string{"a", "b"}, Series: []Series{
				{Name: "one", Y: []float64{1, 2}, Low: []float64{0.5, 1.5}, High: []float64{2, 3}}, {Name: "two", Y: []float64{3, 4}},
			}},
			{Title: "dots", Y: "ms", Groups: []string{"a", "b"}, LogY: true, Series: []Series{
				{Name: "one", Y: []float64{0.01, 20}, Low: []float64{0.005, 15}, High: []float64{0.02, 30}}, {Name: "two", Y: []float64{3, 4}},
			}},
			{Title: "lines", X: "octets", Y: "Gbit/s", LogX: true, LogY: true, Series: []Series{
				{Name: "one", X: []float64{64, 1420}, Y: []float64{1, 9}},
			}},
		},
		Samples: []Sample{{Name: "Throughput/64 octets", Values: []Value{{1.25e9, "bit/s"}, {12, "drops"}}}},
		Result:  struct{ Gbits float64 }{1.25},
	}
}

func TestTheTerminalGetsTablesAndALine(t *testing.T) {
	var b strings.Builder
	if err := example().Write(&b); err != nil {
		t.Fatalf("The report was not written: %v.", err)
	}
	want := `Throughput & more
4 cores

packet      Gbit/s
64 octets   1.25
<1420>      9

{"Gbits":1.25}
`
	if b.String() != want {
		t.Errorf("The report should be\n%s, but is\n%s", want, b.String())
	}
}

func TestBenchstatGetsALineASample(t *testing.T) {
	var b strings.Builder
	if err := example().WriteSamples(&b); err != nil {
		t.Fatalf("The samples were not written: %v.", err)
	}
	if want := "BenchmarkThroughput/64-octets 1 1.25e+09 bit/s 12 drops\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("The samples should end in %q, but are %q.", want, b.String())
	}
}

func TestThePageHasTablesAndPictures(t *testing.T) {
	var b strings.Builder
	if err := WriteHTML(&b, example(), example()); err != nil {
		t.Fatalf("The page was not written: %v.", err)
	}
	page := b.String()
	for what, n := range map[string]int{"<h2>Throughput &amp; more</h2>": 2, "<td>&lt;1420&gt;</td>": 2, "<svg": 6, "</svg>": 6, "<th>Gbit/s</th>": 2} {
		if got := strings.Count(page, what); got != n {
			t.Errorf("The page should have %q %d times, but has it %d times.", what, n, got)
		}
	}
	for _, link := range []string{"src=", "@import", "<script", "<link"} {
		if strings.Contains(page, link) {
			t.Errorf("The page should need nothing but itself, but has %q.", link)
		}
	}
}

// TestPicturesAreWellFormed reads what was drawn: every bar and every whisker
// is there.
func TestPicturesAreWellFormed(t *testing.T) {
	for _, p := range example().Plots {
		svg, err := p.SVG()
		if err != nil {
			t.Fatalf("The plot was not drawn: %v.", err)
		}
		d := xml.NewDecoder(strings.NewReader(svg))
		elements := map[string]int{}
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("The picture %q is no XML: %v.", p.Title, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				elements[e.Name.Local]++
			}
		}
		if elements["svg"] != 1 || elements["path"] < 4 || !strings.Contains(svg, ">"+p.Title+"<") {
			t.Errorf("The picture %q lacks something: %v.", p.Title, elements)
		}
	}
}

func TestWhatCannotBeDrawnIsNamed(t *testing.T) {
	for want, p := range map[string]Plot{
		"there is nothing to draw":                {},
		`series "s" is empty`:                     {Series: []Series{{Name: "s"}}},
		`series "s" has 1 numbers for 2 groups`:   {Groups: []string{"a", "b"}, Series: []Series{{Name: "s", Y: []float64{1}}}},
		`series "s" has 0 places for 1 numbers`:   {Series: []Series{{Name: "s", Y: []float64{1}}}},
		`that a logarithmic axis does not`:        {LogY: true, Groups: []string{"a"}, Series: []Series{{Name: "s", Y: []float64{0}}}},
		`spread of series "s" is not one of each`: {Groups: []string{"a"}, Series: []Series{{Name: "s", Y: []float64{1}, Low: []float64{1}}}},
	} {
		if _, err := p.SVG(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("The error should say %q, but is %v.", want, err)
		}
	}
}
