package xfrm_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// SendOver implements offloadtest.Links.
func (w *wire) SendOver(ctx context.Context, sa ipsec.SA, n int, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	return w.leaving(ctx, append(links, sa), n, []ipsec.SAID{sa.ID}, func(int) error {
		_, err := w.plain.WriteToUDPAddrPort([]byte("inner"), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort))
		return err
	})
}

// DeliverOver implements offloadtest.Links.
func (w *wire) DeliverOver(ctx context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	inner := udpPacket(netip.AddrPortFrom(suiteInner, suitePort), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort), []byte("inner"))
	return w.leaving(ctx, append(links, sa), len(seqs), []ipsec.SAID{link.ID, sa.ID}, func(i int) error {
		b, err := esptest.KeysOf(link).Seal(esptest.Packet{SPI: link.ID.SPI, Seq: seqs[i], Payload: inner, Next: 4})
		if err != nil {
			return err
		}
		_, err = w.esp.WriteToIP(b, &net.IPAddr{IP: w.local.AsSlice()})
		return err
	})
}

// leaving plays n packets one by one, and reads what the SAs send meanwhile. One of
// those that are named last tells what became of each.
func (w *wire) leaving(ctx context.Context, sas []ipsec.SA, n int, fates []ipsec.SAID, play func(int) error) ([]offloadtest.Sent, error) {
	var sent []offloadtest.Sent
	for i := range n {
		before, err := w.counts(ctx)
		if err != nil {
			return nil, err
		}
		if err := play(i); err != nil {
			return nil, err
		}
		after := before
		err = netlab.Poll(ctx, patience, func() (err error) {
			if after, err = w.counts(ctx); err != nil {
				return err
			}
			if met(after, fates) == met(before, fates) {
				return fmt.Errorf("packet %d has come to nothing", i)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, sa := range sas {
			for range after[sa.ID].Packets - before[sa.ID].Packets {
				s, err := w.left(sas)
				if err != nil {
					return nil, err
				}
				sent = append(sent, s)
			}
		}
	}
	return sent, nil
}

func (w *wire) counts(ctx context.Context) (map[ipsec.SAID]offload.Counters, error) {
	out := make(map[ipsec.SAID]offload.Counters)
	for c, err := range w.Export(ctx, offload.AllGroups) {
		if err != nil {
			return nil, err
		}
		out[c.ID] = c
	}
	return out, nil
}

// met is how many packets have met their fate: sent, relayed or dropped.
func met(all map[ipsec.SAID]offload.Counters, of []ipsec.SAID) (n uint64) {
	for _, id := range of {
		c := all[id]
		n += dealtWith(c) + c.Relayed + c.Drops.Selector
		if c.Direction == ipsec.Inbound {
			n -= c.Packets // which go on
		}
	}
	return n
}

// left reads one packet that one of the SAs has sent.
func (w *wire) left(sas []ipsec.SA) (offloadtest.Sent, error) {
	if err := w.esp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return offloadtest.Sent{}, err
	}
	b := make([]byte, 2048)
	n, _, err := w.esp.ReadFromIP(b)
	if err != nil {
		return offloadtest.Sent{}, fmt.Errorf("read ESP from the wire: %w", err)
	}
	for _, sa := range sas {
		if p, err := esptest.KeysOf(sa).Open(b[:n], 0); err == nil && p.SPI == sa.ID.SPI {
			return offloadtest.Sent{SPI: p.SPI, Seq: p.Seq, IV: p.IV}, nil
		}
	}
	return offloadtest.Sent{}, fmt.Errorf("the wire has a packet of none of %d SAs", len(sas))
}
