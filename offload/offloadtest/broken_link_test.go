package offloadtest_test

import (
	"context"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
)

// SendOver sends by the SA that the hook chooses.
func (b *broken) SendOver(ctx context.Context, sa ipsec.SA, n int, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	if b.sendOver != nil {
		sa = b.sendOver(sa, links)
	}
	return played{b.Engine}.SendOver(ctx, sa, n, links...)
}

// DeliverOver carries on by the SA that the hook chooses.
func (b *broken) DeliverOver(ctx context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	if b.deliverOver != nil {
		sa = b.deliverOver(sa, links)
	}
	return played{b.Engine}.DeliverOver(ctx, link, seqs, sa, links...)
}

func linkBugs() []bug {
	takesLast := func(_ context.Context, b *broken) {
		b.sendOver = func(_ ipsec.SA, links []ipsec.SA) ipsec.SA { return links[len(links)-1] }
	}
	returns := func(_ context.Context, b *broken) {
		b.deliverOver = func(_ ipsec.SA, links []ipsec.SA) ipsec.SA { return links[0] }
	}
	return []bug{
		{"link.invalid", "takes links with selectors", changesSAs(func(sa *ipsec.SA) { sa.Selectors = ipsec.Selectors{} })},
		{"link.groups", "takes SAs of links for those of the owner's group", func(_ context.Context, b *broken) {
			b.exported = func(c *offload.Counters) { c.Link = nil }
		}},
		{"link.carries", "drops what it could relay", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				for i := range sas {
					if sas[i].Link != nil {
						sas[i].Link = &ipsec.Link{Member: 15}
					}
				}
				return b.Engine.Install(ctx, e, r, sas...)
			}
		}},
		{"link.newest", "takes the first link", func(_ context.Context, b *broken) {
			b.sendOver = func(_ ipsec.SA, links []ipsec.SA) ipsec.SA { return links[0] }
		}},
		{"link.armed", "relays what should start the tunnel", takesLast},
		{"link.arrives", "sends packets back where they came from", returns},
		{"link.once", "sends packets back where they came from", returns},
	}
}
