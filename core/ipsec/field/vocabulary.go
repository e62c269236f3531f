package field

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Here are the messages that both .proto files have alike: SAID, Encap,
// TrafficSelector, Limits and Sequence.

// SAID writes the name of an SA.
func (w *Writer) SAID(num uint64, id ipsec.SAID) {
	m := w.Begin(num)
	w.Fixed32(1, uint32(id.SPI))
	w.Addr(2, id.Dst)
	w.Uint(3, uint64(id.Proto))
	w.Uint(4, uint64(id.Port))
	w.End(m)
}

// SAID reads the name of an SA into id.
func (r *Reader) SAID(id *ipsec.SAID) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			id.SPI = ipsec.SPI(m.Fixed32())
		case 2:
			id.Dst = m.Addr("said.destination")
		case 3:
			id.Proto = Narrow[ipsec.Protocol](&m, "said.protocol")
		case 4:
			id.Port = Narrow[uint16](&m, "said.port")
		}
	}
}

// Encap writes the ports of ESP in UDP, nothing for nil.
func (w *Writer) Encap(num uint64, e *ipsec.Encap) {
	if e != nil {
		m := w.Begin(num)
		w.Uint(1, uint64(e.LocalPort))
		w.Uint(2, uint64(e.RemotePort))
		w.End(m)
	}
}

// Encap reads the ports of ESP in UDP into e.
func (r *Reader) Encap(e *ipsec.Encap) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			e.LocalPort = Narrow[uint16](&m, "encap.local_port")
		case 2:
			e.RemotePort = Narrow[uint16](&m, "encap.remote_port")
		}
	}
}

// Selectors writes a list of traffic selectors.
func (w *Writer) Selectors(num uint64, list []ipsec.TrafficSelector) {
	for i := range list {
		t := &list[i]
		m := w.Begin(num)
		w.Uint(1, uint64(t.Proto))
		w.Uint(2, uint64(t.PortMin))
		w.Uint(3, uint64(t.PortMax))
		w.Addr(4, t.Min)
		w.Addr(5, t.Max)
		w.End(m)
	}
}

// Selector reads one traffic selector.
func (r *Reader) Selector() (t ipsec.TrafficSelector) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			t.Proto = Narrow[uint8](&m, "traffic_selector.protocol")
		case 2:
			t.PortMin = Narrow[uint16](&m, "traffic_selector.port_min")
		case 3:
			t.PortMax = Narrow[uint16](&m, "traffic_selector.port_max")
		case 4:
			t.Min = m.Addr("traffic_selector.address_min")
		case 5:
			t.Max = m.Addr("traffic_selector.address_max")
		}
	}
	return t
}

// Limits writes the limits of an SA's use.
func (w *Writer) Limits(num uint64, l ipsec.Limits) {
	if l == (ipsec.Limits{}) {
		return
	}
	m := w.Begin(num)
	w.Int(1, int64(l.Time))
	w.Uint(2, l.Bytes)
	w.Uint(3, l.Packets)
	w.End(m)
}

// Limits reads the limits of an SA's use into l.
func (r *Reader) Limits(l *ipsec.Limits) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			l.Time = time.Duration(m.Int())
		case 2:
			l.Bytes = m.Uint()
		case 3:
			l.Packets = m.Uint()
		}
	}
}

// Sequence writes the state of an SA's sequence numbers.
func (w *Writer) Sequence(num uint64, s ipsec.Sequence) {
	m := w.Begin(num)
	w.Uint(1, s.Next)
	w.Uint(2, s.Ceiling)
	w.Uint(3, s.Highest)
	w.Bytes(4, s.Bitmap)
	w.End(m)
}

// Sequence reads the state of an SA's sequence numbers into s, with a bitmap of
// its own.
func (r *Reader) Sequence(s *ipsec.Sequence) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			s.Next = m.Uint()
		case 2:
			s.Ceiling = m.Uint()
		case 3:
			s.Highest = m.Uint()
		case 4:
			s.Bitmap = append([]byte(nil), m.Bytes()...)
		}
	}
}

// Body holds the parts of an SA's description that most have, so that they are
// allocated together: one selector for each side, and the ports. The SA keeps it.
type Body struct {
	local, remote [1]ipsec.TrafficSelector
	encap         ipsec.Encap
}

// Local adds a selector of our side to s.
func (b *Body) Local(s *ipsec.Selectors, t ipsec.TrafficSelector) {
	s.Local = add(&b.local, s.Local, t)
}

// Remote adds a selector of the peer's side to s.
func (b *Body) Remote(s *ipsec.Selectors, t ipsec.TrafficSelector) {
	s.Remote = add(&b.remote, s.Remote, t)
}

// Encap is where the ports of ESP in UDP go.
func (b *Body) Encap() *ipsec.Encap { return &b.encap }

func add(first *[1]ipsec.TrafficSelector, list []ipsec.TrafficSelector, t ipsec.TrafficSelector) []ipsec.TrafficSelector {
	if list == nil {
		list = first[:0:1]
	}
	return append(list, t)
}
