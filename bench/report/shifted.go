package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// shifted draws what stands beside the middle of its group.
type shifted struct {
	of interface {
		plot.Plotter
		plot.DataRanger
	}
	offset vg.Length
}

// DataRange implements [plot.DataRanger].
func (s *shifted) DataRange() (xmin, xmax, ymin, ymax float64) { return s.of.DataRange() }

// Plot implements [plot.Plotter].
func (s *shifted) Plot(c draw.Canvas, p *plot.Plot) {
	c.Min.X += s.offset
	c.Max.X += s.offset
	s.of.Plot(c, p)
}
