//go:build dpdk && nffgo

package dpdk

import (
	"fmt"
	"maps"
	"slices"

	"github.com/evergate/evergate/plugins/dpdk/loop"
	"github.com/evergate/evergate/plugins/dpdk/nffgo"
)

// graphFrame is the longest frame that fits into a buffer of nff-go's pools.
const graphFrame = 2048

// graph is a flow graph of nff-go.
type graph = nffgo.Graph

// checkGraph looks at what nff-go makes of the settings.
func (r *settingsReader) checkGraph(s *settings, from map[string]string) {
	usable, err := usableCPUs()
	switch {
	case err != nil:
	case len(s.cpus) == 0:
		s.cpus, err = nffgo.Choose(usable, len(s.ports))
	case len(s.cpus) != nffgo.Processors(len(s.ports)):
		r.refuse("cpus", from["cpus"], fmt.Sprintf("%d with engine nffgo: scheduler, a receiver for each port, host, burst function", nffgo.Processors(len(s.ports))))
	default:
		err = nffgo.Check(s.cpus, usable)
	}
	if err != nil {
		r.wrong = append(r.wrong, "engine is nffgo, and "+err.Error())
	}
	if least := nffgo.LeastBuffers(len(s.ports)); s.buffers < least {
		r.refuse("buffers", from["buffers"], fmt.Sprintf("at least %d for %d ports with engine nffgo", least, len(s.ports)))
	}
	if s.frame > graphFrame {
		r.refuse("frame", from["frame"], fmt.Sprintf("at most %d with engine nffgo", graphFrame))
	}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if want, fixed := map[string]string{"workers": "1", "idle": "spin"}[key]; fixed && from[key] != want {
			r.refuse(key, from[key], want+" with engine nffgo")
		}
	}
}

// startGraph lets a graph bring packets to a plane.
func startGraph(p *loop.Plane, s settings) (*graph, error) {
	var names []string
	for _, d := range s.ports {
		names = append(names, d.name)
	}
	return nffgo.Start(nffgo.Config{
		Ports: names, CPUs: s.cpus, Buffers: s.buffers,
		Fill: p.Fill, Carry: p.Carry, End: p.EndCarry,
	})
}
