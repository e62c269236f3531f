package report

import (
	"fmt"
	"slices"
)

// Span is a median with the least and the greatest value; zero of none.
type Span struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpanOf is that of values, which it sorts.
func SpanOf(vs []float64) Span {
	if len(vs) == 0 {
		return Span{}
	}
	slices.Sort(vs)
	return Span{Median: vs[len(vs)/2], Min: vs[0], Max: vs[len(vs)-1]}
}

// String is what a table shows.
func (s Span) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Min, s.Max) }
