package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Plot is a picture of numbers: lines, or bars side by side when Groups has
// names. On a logarithmic axis, where a bar would have no foot, groups have dots.
type Plot struct {
	Title string
	// X and Y say what is on the axes, with the unit.
	X, Y string
	// Groups are the names below the bars, one for each number of a series.
	Groups []string
	Series []Series
	// LogX and LogY ask for logarithmic axes; only numbers above 0 are shown then.
	LogX, LogY bool
}

// Series is numbers of one kind. X is for lines alone, and as long as Y.
type Series struct {
	Name string
	X, Y []float64
	// Low and High are the spread of each Y, where there is one: nil, or as long
	// as Y.
	Low, High []float64
}

// Size of a plot.
const (
	plotWidth  = 20 * vg.Centimeter
	plotHeight = 9 * vg.Centimeter
	barWidth   = 0.45 * vg.Centimeter
)

// SVG draws p.
func (p Plot) SVG() (string, error) {
	if err := p.check(); err != nil {
		return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
	}
	g := plot.New()
	g.Title.Text, g.X.Label.Text, g.Y.Label.Text = p.Title, p.X, p.Y
	g.Title.Padding = vg.Points(6)
	for _, f := range []*font.Font{
		&g.Title.TextStyle.Font, &g.Legend.TextStyle.Font, &g.X.Label.TextStyle.Font, &g.Y.Label.TextStyle.Font,
		&g.X.Tick.Label.Font, &g.Y.Tick.Label.Font,
	} {
		f.Variant = "Sans"
	}
	g.Legend.Top, g.Legend.Left, g.Legend.Padding = true, true, vg.Points(3)
	g.Add(plotter.NewGrid())
	if p.LogX {
		g.X.Scale, g.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if p.LogY {
		g.Y.Scale, g.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	add := p.lines
	if len(p.Groups) > 0 {
		add = p.bars
		if p.LogY {
			add = p.dots
		}
		g.NominalX(p.Groups...)
	}
	if err := add(g); err != nil {
		return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
	}
	p.makeRoom(g)
	out, err := g.WriterTo(plotWidth, plotHeight, "svg")
	if err != nil {
		return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
	}
	var b bytes.Buffer
	if _, err := out.WriteTo(&b); err != nil {
		return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
	}
	// Within a page the picture begins with its element.
	_, body, found := strings.Cut(b.String(), "<svg")
	if !found {
		return "", fmt.Errorf("report: plot %q: no picture was drawn", p.Title)
	}
	return "<svg" + body, nil
}

// makeRoom leaves a part of the picture to the legend.
func (p Plot) makeRoom(g *plot.Plot) {
	legend := 0.07 * float64(len(p.Series)+1)
	if p.LogY {
		g.Y.Min /= 1.5
		g.Y.Max *= math.Pow(1.5*g.Y.Max/g.Y.Min, legend/(1-legend))
		return
	}
	g.Y.Min = 0
	g.Y.Max /= 1 - legend
}

// colour of series i: told apart with any eyesight (Okabe and Ito).
func colour(i int) color.Color {
	colours := [...]color.RGBA{
		{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
		{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
		{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
		{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
		{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
		{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	}
	return colours[i%len(colours)]
}

// check refuses what cannot be drawn.
func (p Plot) check() error {
	for _, s := range p.Series {
		switch {
		case len(s.Y) == 0:
			return fmt.Errorf("series %q is empty", s.Name)
		case len(p.Groups) > 0 && len(s.Y) != len(p.Groups):
			return fmt.Errorf("series %q has %d numbers for %d groups", s.Name, len(s.Y), len(p.Groups))
		case len(p.Groups) == 0 && len(s.X) != len(s.Y):
			return fmt.Errorf("series %q has %d places for %d numbers", s.Name, len(s.X), len(s.Y))
		case len(s.Low) != len(s.High) || len(s.Low) != 0 && len(s.Low) != len(s.Y):
			return fmt.Errorf("the spread of series %q is not one of each number", s.Name)
		}
		if p.LogY && !above(s.Y) || p.LogX && !above(s.X) {
			return fmt.Errorf("series %q has numbers that a logarithmic axis does not", s.Name)
		}
	}
	if len(p.Series) == 0 {
		return errors.New("there is nothing to draw")
	}
	return nil
}

// above reports whether all of vs are above 0.
func above(vs []float64) bool {
	for _, v := range vs {
		if !(v > 0) {
			return false
		}
	}
	return true
}

func (p Plot) bars(g *plot.Plot) error {
	for i, s := range p.Series {
		bars, err := plotter.NewBarChart(plotter.Values(s.Y), barWidth)
		if err != nil {
			return err
		}
		bars.LineStyle.Width = 0
		bars.Color = colour(i)
		bars.Offset = barWidth * vg.Length(float64(i)-float64(len(p.Series)-1)/2)
		g.Add(bars)
		if err := s.whiskers(g, places(len(s.Y)), bars.Offset); err != nil {
			return err
		}
		if len(p.Series) > 1 {
			g.Legend.Add(s.Name, bars)
		}
	}
	g.X.Min, g.X.Max = -0.5, float64(len(p.Groups))-0.5
	return nil
}

// dots are as far apart as bars would be.
func (p Plot) dots(g *plot.Plot) error {
	for i, s := range p.Series {
		xys := make(plotter.XYs, len(s.Y))
		for n, y := range s.Y {
			xys[n] = plotter.XY{X: float64(n), Y: y}
		}
		points, err := plotter.NewScatter(xys)
		if err != nil {
			return err
		}
		points.Color, points.Shape, points.Radius = colour(i), draw.CircleGlyph{}, vg.Points(4)
		offset := barWidth * vg.Length(float64(i)-float64(len(p.Series)-1)/2)
		g.Add(&shifted{points, offset})
		if err := s.whiskers(g, places(len(s.Y)), offset); err != nil {
			return err
		}
		if len(p.Series) > 1 {
			g.Legend.Add(s.Name, points)
		}
	}
	g.X.Min, g.X.Max = -0.5, float64(len(p.Groups))-0.5
	return nil
}

func (p Plot) lines(g *plot.Plot) error {
	for i, s := range p.Series {
		xys := make(plotter.XYs, len(s.Y))
		for n := range s.Y {
			xys[n] = plotter.XY{X: s.X[n], Y: s.Y[n]}
		}
		line, points, err := plotter.NewLinePoints(xys)
		if err != nil {
			return err
		}
		line.Color = colour(i)
		line.Width, points.Color, points.Shape = vg.Points(1.5), line.Color, draw.CircleGlyph{}
		g.Add(line, points)
		if err := s.whiskers(g, s.X, 0); err != nil {
			return err
		}
		if len(p.Series) > 1 {
			g.Legend.Add(s.Name, line, points)
		}
	}
	return nil
}

// places are those of n groups of bars.
func places(n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = float64(i)
	}
	return xs
}

// whiskers draws the spread of s, offset to the right of xs.
func (s Series) whiskers(g *plot.Plot, xs []float64, offset vg.Length) error {
	if len(s.Low) == 0 {
		return nil
	}
	spread := struct {
		plotter.XYs
		plotter.YErrors
	}{make(plotter.XYs, len(s.Y)), make(plotter.YErrors, len(s.Y))}
	for i, y := range s.Y {
		spread.XYs[i] = plotter.XY{X: xs[i], Y: y}
		spread.YErrors[i] = struct{ Low, High float64 }{y - s.Low[i], s.High[i] - y}
	}
	bars, err := plotter.NewYErrorBars(spread)
	if err != nil {
		return err
	}
	g.Add(&shifted{bars, offset})
	return nil
}
