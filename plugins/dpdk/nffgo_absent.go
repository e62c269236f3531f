//go:build dpdk && !nffgo

package dpdk

import (
	"errors"

	"github.com/evergate/evergate/plugins/dpdk/loop"
)

var errNoGraph = errors.New("engine is nffgo, and this plugin was built without nff-go (tag nffgo)")

// graph stands for a flow graph of nff-go where there is none.
type graph struct{}

func (*graph) Stop() error { return errNoGraph }

func (r *settingsReader) checkGraph(*settings, map[string]string) {
	r.wrong = append(r.wrong, errNoGraph.Error())
}

func startGraph(*loop.Plane, settings) (*graph, error) { return nil, errNoGraph }
