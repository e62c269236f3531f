package wire

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
	"github.com/evergate/evergate/ha"
)

func writeChild(w *field.Writer, num uint64, c *ha.Child) {
	m := w.Begin(num)
	writeSA(w, 1, &c.In)
	writeSA(w, 2, &c.Out)
	w.Uint(3, uint64(c.Holders))
	w.Uint(4, uint64(c.Barred))
	w.Uint(5, c.Bound)
	writeUsage(w, 6, c.InUsed)
	writeUsage(w, 7, c.OutUsed)
	w.Raw(c.Unknown)
	w.End(m)
}

func readChild(r *field.Reader, c *ha.Child) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			readSA(&m, &c.In)
		case 2:
			readSA(&m, &c.Out)
		case 3:
			c.Holders = field.Narrow[ha.Members](&m, "child.holders")
		case 4:
			c.Barred = field.Narrow[ha.Members](&m, "child.barred")
		case 5:
			c.Bound = m.Uint()
		case 6:
			readUsage(&m, &c.InUsed)
		case 7:
			readUsage(&m, &c.OutUsed)
		default:
			c.Unknown = append(c.Unknown, m.Raw()...)
		}
	}
}

func writeSA(w *field.Writer, num uint64, sa *ipsec.SA) {
	m := w.Begin(num)
	w.SAID(1, sa.ID)
	w.Uint(2, uint64(sa.Direction))
	w.Uint(3, uint64(sa.Mode))
	w.Fixed64(4, uint64(sa.Tunnel))
	w.Fixed32(5, uint32(sa.Pair))
	w.Uint(6, uint64(sa.Group))
	w.Uint(7, uint64(sa.Sender))
	w.Uint(8, sa.Generation)
	w.Uint(9, uint64(sa.Algorithms.Encryption))
	w.Uint(10, uint64(sa.Algorithms.KeyBits))
	w.Uint(11, uint64(sa.Algorithms.Integrity))
	w.Bool(12, sa.Algorithms.ESN)
	w.Bytes(13, sa.Encryption.Reveal())
	w.Bytes(14, sa.Integrity.Reveal())
	w.Addr(15, sa.Local)
	w.Addr(16, sa.Remote)
	w.Encap(17, sa.Encap)
	w.Selectors(18, sa.Selectors.Local)
	w.Selectors(19, sa.Selectors.Remote)
	w.Limits(20, sa.Lifetime.Soft)
	w.Limits(21, sa.Lifetime.Hard)
	w.Int(22, int64(sa.Lifetime.Age))
	w.Uint(23, uint64(sa.ReplayWindow))
	w.Sequence(24, sa.Sequence)
	w.Uint(25, uint64(sa.PathMTU))
	w.Uint(26, uint64(sa.Header.DF))
	w.Bool(27, sa.Header.HideDSCP)
	w.Uint(28, uint64(sa.Header.DSCP))
	w.End(m)
}

// readSA reads the present field into an empty SA, which has keys of its own.
func readSA(r *field.Reader, sa *ipsec.SA) {
	body := new(field.Body)
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			m.SAID(&sa.ID)
		case 2:
			sa.Direction = field.Narrow[ipsec.Direction](&m, "sa.direction")
		case 3:
			sa.Mode = field.Narrow[ipsec.Mode](&m, "sa.mode")
		case 4:
			sa.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 5:
			sa.Pair = ipsec.SPI(m.Fixed32())
		case 6:
			sa.Group = readMember(&m, "sa.group")
		case 7:
			sa.Sender = readMember(&m, "sa.sender")
		case 8:
			sa.Generation = m.Uint()
		case 9:
			sa.Algorithms.Encryption = field.Narrow[ipsec.EncryptionID](&m, "sa.encryption")
		case 10:
			sa.Algorithms.KeyBits = field.Narrow[uint16](&m, "sa.key_bits")
		case 11:
			sa.Algorithms.Integrity = field.Narrow[ipsec.IntegrityID](&m, "sa.integrity")
		case 12:
			sa.Algorithms.ESN = m.Bool()
		case 13:
			sa.Encryption = ipsec.CopyKey(m.Bytes())
		case 14:
			sa.Integrity = ipsec.CopyKey(m.Bytes())
		default:
			readTraffic(&m, sa, body)
		}
	}
}

// readTraffic reads the second half of an SA's fields: what it carries, from where
// to where, and for how long.
func readTraffic(m *field.Reader, sa *ipsec.SA, body *field.Body) {
	switch m.Field() {
	case 15:
		sa.Local = m.Addr("sa.local")
	case 16:
		sa.Remote = m.Addr("sa.remote")
	case 17:
		sa.Encap = body.Encap()
		m.Encap(sa.Encap)
	case 18:
		body.Local(&sa.Selectors, m.Selector())
	case 19:
		body.Remote(&sa.Selectors, m.Selector())
	case 20:
		m.Limits(&sa.Lifetime.Soft)
	case 21:
		m.Limits(&sa.Lifetime.Hard)
	case 22:
		sa.Lifetime.Age = time.Duration(m.Int())
	case 23:
		sa.ReplayWindow = field.Narrow[uint32](m, "sa.replay_window")
	case 24:
		m.Sequence(&sa.Sequence)
	case 25:
		sa.PathMTU = field.Narrow[uint16](m, "sa.path_mtu")
	case 26:
		sa.Header.DF = field.Narrow[ipsec.DFPolicy](m, "sa.df")
	case 27:
		sa.Header.HideDSCP = m.Bool()
	case 28:
		sa.Header.DSCP = field.Narrow[uint8](m, "sa.dscp")
	}
}

// readMember reads the id of a member.
func readMember(m *field.Reader, name string) ipsec.MemberID {
	id := field.Narrow[ipsec.MemberID](m, name)
	if id >= ipsec.MaxMembers {
		m.OutOfRange(name, id)
		return 0
	}
	return id
}
