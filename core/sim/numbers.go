package sim

// offered checks the numbers that a member's dataplane may send on an outbound SA from
// now on: that nobody has sent them before. It says so when they are handed out, whether
// or not a packet ever takes one. fresh says that the SA was not there before.
//
// As in sent, two that took the SA over from the same owner without knowing of each
// other may have the same numbers where the IV holds the member. What one dataplane has
// sent before on an SA that it has still, it does not send again.
func (l *ledger) offered(m *member, sa *planeSA, fresh bool) {
	to := sa.ceiling
	if to == 0 {
		to = sa.desc.Algorithms.MaxSequence()
	}
	if sa.next > to {
		return // it has none
	}
	uses := l.uses[l.sum(sa.desc.Encryption.Reveal())]
	maker := m.made(uses, sa.desc.Tunnel)
	for _, u := range uses {
		same := u.member == m.id && u.boot == m.plane.boot
		if u.to < sa.next || u.from > to || u.to == 0 || same && !fresh {
			continue
		}
		if same || m.c.disjoint || u.maker || maker {
			m.c.breach("I1, I2: %s may send numbers %d to %d on %v, and member %d has sent %d to %d", m.name, sa.next, to, sa.desc.ID, u.member, u.from, u.to)
		}
	}
}
