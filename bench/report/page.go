package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

// WriteHTML writes reports as one page, without anything that it would have to
// fetch.
func WriteHTML(w io.Writer, reports ...Report) error {
	type section struct {
		Report
		Pictures []template.HTML
	}
	var sections []section
	for _, r := range reports {
		s := section{Report: r}
		for _, p := range r.Plots {
			svg, err := p.SVG()
			if err != nil {
				return err
			}
			s.Pictures = append(s.Pictures, template.HTML(svg)) //nolint:gosec // drawn here; the library escapes what it writes
		}
		sections = append(sections, s)
	}
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("report: parse the page: %w", err)
	}
	if err := page.Execute(w, sections); err != nil {
		return fmt.Errorf("report: write the page: %w", err)
	}
	return nil
}
