package wire

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
	"github.com/evergate/evergate/ha"
)

// What carries tunnels comes by the hundred thousand when a member joins, and
// counters every second: these records are written and read without the generated
// messages between (package field). The numbers are those of ha.proto.
const (
	kindPutIKE   = 2
	kindPutChild = 3
	kindSupply   = 7
	kindCounters = 16
	kindReturn   = 23
)

// writeTunnel writes a record that is of these kinds; it is false for another.
func writeTunnel(w *field.Writer, r ha.Record) bool {
	var m int
	switch r := r.(type) {
	case ha.PutIKE:
		m = w.Begin(kindPutIKE)
		writeOf(w, r.Tunnel, r.Version)
		writeTitle(w, 3, r.Title)
		for _, b := range r.Children {
			writeBound(w, 4, b)
		}
		writeIKE(w, 5, &r.IKE)
	case ha.PutChild:
		m = w.Begin(kindPutChild)
		writeOf(w, r.Tunnel, r.Version)
		writeChild(w, 3, &r.Child)
	case ha.Supply:
		m = w.Begin(kindSupply)
		writeOf(w, r.Tunnel, r.Version)
		writeIKE(w, 3, &r.IKE)
		for i := range r.Children {
			writeChild(w, 4, &r.Children[i])
		}
	case ha.Return:
		m = w.Begin(kindReturn)
		writeOf(w, r.Tunnel, r.Version)
		writeTitle(w, 3, r.Title)
		writeIKE(w, 4, &r.IKE)
		for i := range r.Children {
			writeChild(w, 5, &r.Children[i])
		}
		w.Bool(6, r.Behind)
	case ha.Counters:
		m = w.Begin(kindCounters)
		for i := range r.SAs {
			writeCounted(w, 1, &r.SAs[i])
		}
	default:
		return false
	}
	w.End(m)
	return true
}

// octets is about how long a record becomes.
func octets(r ha.Record) int {
	const few, child = 64, 512
	switch r := r.(type) {
	case ha.PutIKE:
		return 2*few + len(r.Children)*few + len(r.IKE.Class) + r.IKE.State.Len() + len(r.IKE.Facts)
	case ha.PutChild:
		return child
	case ha.Supply:
		return 2*few + len(r.Children)*child + r.IKE.State.Len() + len(r.IKE.Facts)
	case ha.Return:
		return 2*few + len(r.Children)*child + r.IKE.State.Len() + len(r.IKE.Facts)
	case ha.Counters:
		return len(r.SAs) * few
	default:
		return few
	}
}

// readTunnel reads the present field, one of these kinds.
func readTunnel(r *field.Reader) ha.Record {
	switch r.Field() {
	case kindPutIKE:
		return readPutIKE(r)
	case kindPutChild:
		return readPutChild(r)
	case kindSupply:
		return readSupply(r)
	case kindReturn:
		return readReturn(r)
	default:
		return readCounters(r)
	}
}

func readPutIKE(r *field.Reader) ha.PutIKE {
	var put ha.PutIKE
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			put.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 2:
			readVersion(&m, &put.Version)
		case 3:
			readTitle(&m, &put.Title)
		case 4:
			put.Children = append(put.Children, readBound(&m))
		case 5:
			readIKE(&m, &put.IKE)
		}
	}
	return put
}

func readPutChild(r *field.Reader) ha.PutChild {
	var put ha.PutChild
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			put.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 2:
			readVersion(&m, &put.Version)
		case 3:
			readChild(&m, &put.Child)
		}
	}
	return put
}

func readSupply(r *field.Reader) ha.Supply {
	var s ha.Supply
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			s.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 2:
			readVersion(&m, &s.Version)
		case 3:
			readIKE(&m, &s.IKE)
		case 4:
			s.Children = append(s.Children, ha.Child{})
			readChild(&m, &s.Children[len(s.Children)-1])
		}
	}
	return s
}

func readReturn(r *field.Reader) ha.Return {
	var back ha.Return
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			back.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 2:
			readVersion(&m, &back.Version)
		case 3:
			readTitle(&m, &back.Title)
		case 4:
			readIKE(&m, &back.IKE)
		case 5:
			back.Children = append(back.Children, ha.Child{})
			readChild(&m, &back.Children[len(back.Children)-1])
		case 6:
			back.Behind = m.Bool()
		}
	}
	return back
}

func readCounters(r *field.Reader) ha.Counters {
	var c ha.Counters
	for m := r.Message(); m.Next(); {
		if m.Field() == 1 {
			c.SAs = append(c.SAs, readCounted(&m))
		}
	}
	return c
}

// writeOf writes which tunnel a record is about, in which version: all have that in
// their first two fields.
func writeOf(w *field.Writer, t ipsec.TunnelID, v ha.Version) {
	w.Fixed64(1, uint64(t))
	m := w.Begin(2)
	w.Uint(1, uint64(v.Epoch))
	w.Uint(2, v.Change)
	w.End(m)
}

func readVersion(r *field.Reader, v *ha.Version) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			v.Epoch = ha.Epoch(m.Uint())
		case 2:
			v.Change = m.Uint()
		}
	}
}

func writeTitle(w *field.Writer, num uint64, t ha.Title) {
	m := w.Begin(num)
	w.Uint(1, uint64(t.Past))
	w.Int(2, int64(t.Quiet))
	w.Bool(3, t.Reclaimed)
	w.End(m)
}

func readTitle(r *field.Reader, t *ha.Title) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			t.Past = field.Narrow[ha.Members](&m, "title.past")
		case 2:
			t.Quiet = time.Duration(m.Int())
		case 3:
			t.Reclaimed = m.Bool()
		}
	}
}

func writeBound(w *field.Writer, num uint64, b ha.Bound) {
	m := w.Begin(num)
	w.SAID(1, b.Child)
	w.Uint(2, b.Bound)
	w.End(m)
}

func readBound(r *field.Reader) (b ha.Bound) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			m.SAID(&b.Child)
		case 2:
			b.Bound = m.Uint()
		}
	}
	return b
}

func writeIKE(w *field.Writer, num uint64, i *ha.IKE) {
	m := w.Begin(num)
	w.String(1, i.Class)
	w.Bytes(2, i.State.Reveal())
	w.Bytes(3, i.Facts)
	w.Raw(i.Unknown)
	w.End(m)
}

func readIKE(r *field.Reader, i *ha.IKE) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			i.Class = string(m.Bytes())
		case 2:
			i.State = ipsec.CopyKey(m.Bytes())
		case 3:
			i.Facts = append([]byte(nil), m.Bytes()...)
		default:
			i.Unknown = append(i.Unknown, m.Raw()...)
		}
	}
}

func writeUsage(w *field.Writer, num uint64, u ha.Usage) {
	m := w.Begin(num)
	w.Uint(1, u.Packets)
	w.Uint(2, u.Bytes)
	w.Int(3, int64(u.Idle))
	w.End(m)
}

func readUsage(r *field.Reader, u *ha.Usage) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			u.Packets = m.Uint()
		case 2:
			u.Bytes = m.Uint()
		case 3:
			u.Idle = time.Duration(m.Int())
		}
	}
}

func writeCounted(w *field.Writer, num uint64, c *ha.Counted) {
	m := w.Begin(num)
	w.SAID(1, c.ID)
	w.Sequence(2, c.Sequence)
	writeUsage(w, 3, c.Used)
	w.End(m)
}

func readCounted(r *field.Reader) (c ha.Counted) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			m.SAID(&c.ID)
		case 2:
			m.Sequence(&c.Sequence)
		case 3:
			readUsage(&m, &c.Used)
		}
	}
	return c
}
