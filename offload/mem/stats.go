package mem

import (
	"context"

	"github.com/evergate/evergate/offload"
)

// stats count played packets that belong to no SA.
type stats struct {
	noSA      uint64 // Acquire: selected by none
	unknownSA uint64 // Inbound and Outbound for one that is not there
}

// Stats implements offload.Engine.
func (e *Engine) Stats(ctx context.Context) (list []offload.Stat, err error) {
	err = e.call(ctx, CallStats, nil, func() error {
		list = []offload.Stat{
			{Name: "no-sa", Value: e.stats.noSA},
			{Name: "unknown-sa", Value: e.stats.unknownSA},
		}
		return nil
	})
	return list, err
}
