package xfrm_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
)

// TestTransportModeByPolicies protects what two hosts say to each other, but for
// IKE.
func TestTransportModeByPolicies(t *testing.T) {
	w := newWire(t, 0, newEngine(t))
	t.Cleanup(w.close)
	t.Cleanup(func() { _ = w.Engine.Close() })
	info, err := w.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.local}, Settings: map[string]string{"interface": "none"}})
	if err != nil || !info.TransportMode || info.PlaintextInterface != "" {
		t.Fatalf("Without an interface there should be transport mode, got %+v (%v).", info, err)
	}
	in, out := pairOf(w, 1)
	for _, sa := range []*ipsec.SA{&in, &out} {
		sa.Mode = ipsec.Transport
		host := func(a netip.Addr) []ipsec.TrafficSelector {
			return []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(a, 32))}
		}
		sa.Selectors = ipsec.Selectors{Local: host(w.local), Remote: host(w.remote)}
	}
	out.Sequence = ipsec.Sequence{Next: 70, Ceiling: 1 << 20}
	w.install(t, offload.Active, in, out)
	w.say(t, 9)
	if s, err := w.arrived(out); err != nil || s.Seq != 70 {
		t.Errorf("The packet should be protected with number 70, got %d (%v).", s.Seq, err)
	}
	clear := w.hearIKE(t)
	w.say(t, 500)
	if err := clear.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatalf("No time can be set: %v.", err)
	}
	if _, _, err := clear.ReadFrom(make([]byte, 100)); err != nil {
		t.Errorf("IKE should pass in the clear: %v.", err)
	}
}

// TestSegmentsTakeTheirOwnNumbers sends what TCP hands down in large packets, which are
// cut where the policies protect them.
func TestSegmentsTakeTheirOwnNumbers(t *testing.T) { // I2
	policies := map[string]string{"interface": "none"}
	w := newLab(t, policies)
	far := newEngine(t)
	t.Cleanup(func() { _ = far.Close() })
	err := w.peer.Do(func() error {
		_, err := far.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.remote}, Settings: policies})
		return err
	})
	if err != nil {
		t.Fatalf("The peer has no dataplane: %v.", err)
	}
	in, out := pairOf(w, 1)
	host := func(a netip.Addr) []ipsec.TrafficSelector {
		return []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(a, 32))}
	}
	var there []ipsec.SA
	for _, sa := range []*ipsec.SA{&in, &out} {
		sa.Mode, sa.ReplayWindow = ipsec.Transport, 4096
		sa.Sequence = ipsec.Sequence{}
		sa.Selectors = ipsec.Selectors{Local: host(w.local), Remote: host(w.remote)}
		other := *sa
		other.Direction, other.Local, other.Remote = ipsec.Inbound+ipsec.Outbound-sa.Direction, sa.Remote, sa.Local
		other.Selectors = ipsec.Selectors{Local: sa.Selectors.Remote, Remote: sa.Selectors.Local}
		there = append(there, other)
	}
	out.Sequence, there[0].Sequence = ipsec.Sequence{Next: 1, Ceiling: 1 << 24}, ipsec.Sequence{Next: 1, Ceiling: 1 << 24}
	w.install(t, offload.Active, in, out)
	if placed, err := far.Install(t.Context(), epoch, offload.Active, there...); err != nil || placed[0].Err != nil || placed[1].Err != nil {
		t.Fatalf("The peer has no SAs: %v, %+v.", err, placed)
	}
	_, err = netlab.Transfer{From: w.gateway, Source: w.local.String(), To: w.peer, Dest: w.remote.String(), Bytes: 256 << 10}.Run(t.Context())
	if err != nil {
		t.Fatalf("256 KiB do not pass: %v.", err)
	}
	sent := w.all(t)[out.ID]
	for c, err := range far.Export(t.Context(), offload.AllGroups) {
		if err != nil {
			t.Fatalf("The peer cannot be asked: %v.", err)
		}
		if c.ID == out.ID && (c.Sequence.Highest != sent.Sequence.Next-1 || c.Packets != c.Sequence.Highest || c.Drops != (offload.Drops{})) {
			t.Errorf("Up to number %d each should have come once, the peer counts %d up to %d and dropped %+v.",
				sent.Sequence.Next-1, c.Packets, c.Sequence.Highest, c.Drops)
		}
	}
	if n := sent.Sequence.Next - 1; n < 256<<10/1460 {
		t.Errorf("256 KiB should have taken a number for each segment, they took %d.", n)
	}
}

// say sends a datagram from one of the gateway's ports to the same one of the peer.
func (w *wire) say(t *testing.T, port int) {
	t.Helper()
	err := w.gateway.Do(func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: w.local.AsSlice(), Port: port}, &net.UDPAddr{IP: w.remote.AsSlice(), Port: port})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("in the clear or not"))
		return err
	})
	if err != nil {
		t.Fatalf("The gateway cannot send from port %d: %v.", port, err)
	}
}

// hearIKE listens on the peer's port 500.
func (w *wire) hearIKE(t *testing.T) (c *net.UDPConn) {
	t.Helper()
	err := w.peer.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: w.remote.AsSlice(), Port: 500})
		return err
	})
	if err != nil {
		t.Fatalf("The peer cannot listen: %v.", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
