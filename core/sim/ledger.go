package sim

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload/mem"
)

// ledger is what an observer of the whole cluster writes down.
type ledger struct {
	seed maphash.Seed
	// uses are the numbers that were sent on each outbound SA of members.
	uses map[uint64][]use // by their keys
	// ivs are those that were used with each key of ESP, and of IKE, where it
	// matters what was sent.
	ivs     map[espNonce]bool
	sealed_ map[ikeNonce]uint64
	// chains are the exchanges of IKEv1 after phase 1, and what was said in each.
	chains map[exchange]*chain
	// promises are the messages to clients that wait for other members.
	promises map[message]promise
	// ages are the places of all states of IKE SAs among those of one owner.
	ages map[uint64]age
	last map[line]int
	// taken are the numbers of inbound SAs that a life of a member has accepted.
	taken map[acceptance]bool
	// ended are the tunnels that were removed with their client's knowledge: the
	// members that knew of it, by their lives.
	ended map[ipsec.TunnelID]map[ipsec.MemberID]int
}

type espNonce struct {
	key uint64
	iv  uint64
}

type ikeNonce struct {
	spii, spir uint64
	initiator  bool
	iv         uint64
}

// exchange is one of IKEv1: its ISAKMP SA's cookies and its message ID.
type exchange struct {
	cookies [16]byte
	id      uint32
}

// chain is what each end said in an exchange, the cluster as one.
type chain struct {
	byClient bool // the client began
	client   map[uint64]bool
	cluster  map[uint64]answer
	// alone are the cluster's answers of which the next owner need not know, and
	// divided is that two held the tunnel to be theirs when one was given.
	alone   map[uint64]bool
	divided bool
	// first are the messages of the cluster by their first block of ciphertext.
	first map[[16]byte]uint64
}

// answer is who said something, and the state of the IKE SA that says so.
type answer struct {
	member ipsec.MemberID
	life   int
	state  uint64
}

// acceptance is a packet of a client that a dataplane has taken.
type acceptance struct {
	sa     ipsec.SAID
	seq    uint64
	member ipsec.MemberID
	boot   uint32
	// made is which installation of the SA: one that is installed anew knows what
	// the last checkpoint says.
	made uint64
}

// use is a run of numbers that one life of a member has sent on an SA.
type use struct {
	from, to uint64
	member   ipsec.MemberID
	boot     uint32
	life     int
	// maker: it made the SA, and nobody has owned the tunnel since epoch, which is 0
	// until it is known.
	maker bool
	epoch ha.Epoch
}

// message is one of a life of a member; another one may repeat it octet by octet.
type message struct {
	member ipsec.MemberID
	life   int
	sum    uint64
}

// line are the states that one life of a member gives the IKE SA of a tunnel; each has
// all that those before it have.
type line struct {
	tunnel ipsec.TunnelID
	member ipsec.MemberID
	life   int
}

// age is the place of a state in its line, which begins with 1.
type age struct {
	line line
	n    int
}

// promise is what a message tells a client.
type promise struct {
	tunnel ipsec.TunnelID
	state  uint64 // of the IKE SA, 0 where it did not change
	pairs  []engine.Pair
	over   bool
	final  bool
	at     time.Time
	kept   bool // it has been checked
}

func newLedger() ledger {
	return ledger{
		seed: maphash.MakeSeed(),
		uses: make(map[uint64][]use), ivs: make(map[espNonce]bool), chains: make(map[exchange]*chain), sealed_: make(map[ikeNonce]uint64),
		ages: make(map[uint64]age), last: make(map[line]int),
		promises: make(map[message]promise), taken: make(map[acceptance]bool),
		ended: make(map[ipsec.TunnelID]map[ipsec.MemberID]int),
	}
}

// sum stands for some octets.
func (l *ledger) sum(b []byte) uint64 { return maphash.Bytes(l.seed, b) }

// promised notes what the messages of a step tell.
func (l *ledger) promised(m *member, p engine.Publication) {
	if p.Over && p.Final {
		l.hushed(m, p.Tunnel) // the client has ended it, and does not wait for what was to come
	}
	pr := promise{at: m.c.clock.Now(), tunnel: p.Tunnel, pairs: p.Stored, over: p.Over, final: p.Final}
	if p.IKE != nil {
		pr.state = l.sum(p.IKE.State.Reveal())
		of := line{p.Tunnel, m.id, m.daemon.life}
		l.last[of]++
		l.ages[pr.state] = age{of, l.last[of]}
	}
	for _, dg := range p.Send {
		key := message{m.id, m.daemon.life, l.sum(dg.Payload)}
		if _, known := l.promises[key]; !known {
			l.promises[key] = pr
		}
	}
}

// hushed forgets what a member wanted to say of a tunnel that it has lost, or that has ended.
func (l *ledger) hushed(m *member, id ipsec.TunnelID) {
	for key, p := range l.promises {
		if key.member == m.id && p.tunnel == id {
			delete(l.promises, key)
		}
	}
}

// published notes who has made an SA, and as the owner of which epoch: its first
// use, of nothing.
func (l *ledger) published(m *member, p engine.Publication) {
	epoch, ok := m.node.EpochOf(p.Tunnel)
	if !ok || epoch.Member() != m.id {
		return
	}
	for _, pair := range p.Stored {
		key := l.sum(pair.Out.Encryption.Reveal())
		uses := l.uses[key]
		switch {
		case uses == nil:
			l.uses[key] = []use{{member: m.id, boot: m.plane.boot, life: m.daemon.life, maker: true, epoch: epoch}}
		case uses[0].epoch == 0:
			uses[0].epoch = epoch
		}
	}
}

// sealed checks that an IKE message of ours shares its nonce with no other one.
// The explicit IV follows the header of the Encrypted payload (RFC 5282).
func (l *ledger) sealed(c *Cluster, who string, payload []byte) {
	const header, encrypted = 28, 46
	if len(payload) < header+12 || payload[16] != encrypted {
		return
	}
	n := ikeNonce{
		spii: binary.BigEndian.Uint64(payload), spir: binary.BigEndian.Uint64(payload[8:]),
		initiator: payload[19]&0x08 != 0, iv: binary.BigEndian.Uint64(payload[header+4:]),
	}
	what := l.sum(payload)
	if before, used := l.sealed_[n]; used && before != what {
		c.breach("I1: %s: two IKE messages of %x/%x are sealed with the nonce %#x", who, n.spii, n.spir, n.iv)
	}
	l.sealed_[n] = what
}

// chained checks what the cluster, as one, encrypts in an exchange of IKEv1.
// "Subsequent messages MUST use the last CBC encryption block from the previous
// message as the initialization vector" (RFC 2409 appendix B): so it has one message
// between any two of the client's, which it may repeat. by is nil for the client's
// own.
//
// Only answers may share an IV, those of two owners to one message of the client,
// where the second cannot know of the first: nobody was told, or the group was
// divided, or all have died that were told, who are MinAcks and need not be more. CBC
// shows how many leading blocks of the two are alike, which is none.
// What the cluster begins has an IV of its own, whoever begins it.
func (l *ledger) chained(by *member, payload []byte) {
	const header, encrypted = 28, 0x01
	if len(payload) < header+16 || payload[17]>>4 != 1 || payload[19]&encrypted == 0 {
		return
	}
	x := exchange{[16]byte(payload), binary.BigEndian.Uint32(payload[20:])}
	if x.id == 0 {
		return // phase 1 is not synchronized
	}
	ch := l.chains[x]
	if ch == nil {
		ch = &chain{
			byClient: by == nil, client: make(map[uint64]bool), cluster: make(map[uint64]answer), alone: make(map[uint64]bool),
			first: make(map[[16]byte]uint64),
		}
		l.chains[x] = ch
	}
	sum := l.sum(payload)
	if by == nil {
		ch.client[sum] = true
		return
	}
	block := [16]byte(payload[header:])
	if before, known := ch.first[block]; known && before != sum {
		by.c.breach("I1: %s: two messages of exchange %08x of %x begin alike", by.name, x.id, x.cookies)
	}
	ch.first[block] = sum
	if ch.alone[sum] = ch.alone[sum] || ch.byClient && by.unprotected; ch.alone[sum] {
		return
	}
	p, known := l.promises[message{by.id, by.daemon.life, sum}]
	ch.divided = ch.divided || ch.byClient && (!known || by.c.owners(p.tunnel) != 1)
	if _, again := ch.cluster[sum]; !again {
		if ch.byClient {
			maps.DeleteFunc(ch.cluster, func(_ uint64, a answer) bool { return !by.c.remembers(a) })
		}
		ch.cluster[sum] = answer{by.id, by.daemon.life, p.state}
	}
	may := len(ch.client)
	if !ch.byClient {
		may++
	}
	if len(ch.cluster) > may && !ch.divided {
		by.c.breach("I1: %s: two messages of exchange %08x of %x are encrypted with one IV", by.name, x.id, x.cookies)
	}
}

// remembers tells whether a member that lives has said a, or was told that it was said.
func (c *Cluster) remembers(a answer) bool {
	for _, m := range c.members {
		if m.daemon.up && (m.id == a.member && m.daemon.life == a.life || m.memory.knowsState(m.c, a.state)) {
			return true
		}
	}
	return false
}

// owners counts the members that hold a tunnel to be theirs.
func (c *Cluster) owners(id ipsec.TunnelID) (n int) {
	for _, m := range c.members {
		if owner, ok := m.node.Owner(id); ok && m.daemon.up && owner == m.id {
			n++
		}
	}
	return n
}

// sent checks a packet that a member's dataplane has made.
func (l *ledger) sent(m *member, sa *planeSA, pkt mem.Packet) {
	c, id, key := m.c, sa.desc.ID, l.sum(sa.desc.Encryption.Reveal())
	n := espNonce{key, pkt.IV}
	if l.ivs[n] {
		c.breach("I1: %s: packet %d on %v has the IV %#x, as an earlier one", m.name, pkt.Seq, id, pkt.IV)
	}
	l.ivs[n] = true
	uses := l.uses[key]
	mine := use{from: pkt.Seq, to: pkt.Seq, member: m.id, boot: m.plane.boot, life: m.daemon.life}
	mine.maker = m.made(uses, sa.desc.Tunnel)
	for _, u := range uses {
		// Two that took the SA over from the same owner without knowing of each
		// other may use the same numbers where the IV holds the member.
		if (u.member != m.id || u.boot != m.plane.boot) && u.from <= pkt.Seq && pkt.Seq <= u.to && (c.disjoint || u.maker || mine.maker) {
			c.breach("I1, I2: %s sends number %d on %v, as member %d did", m.name, pkt.Seq, id, u.member)
		}
	}
	if mine.maker {
		c.checkHolders(m, id, key, pkt.Seq)
	}
	if len(uses) > 0 {
		last := &uses[len(uses)-1]
		if last.member == mine.member && last.boot == mine.boot && last.life == mine.life && last.maker == mine.maker && (last.to == 0 || last.to+1 == pkt.Seq) {
			if last.to = pkt.Seq; last.from == 0 {
				last.from = pkt.Seq
			}
			return
		}
	}
	l.uses[key] = append(uses, mine)
}

// made tells whether an SA was made by m, as the owner that it still is.
func (m *member) made(uses []use, tunnel ipsec.TunnelID) bool {
	if len(uses) == 0 {
		return true // it is new
	}
	first := uses[0]
	if !first.maker || first.member != m.id || first.life != m.daemon.life {
		return false
	}
	epoch, ok := m.node.EpochOf(tunnel)
	return first.epoch == 0 || ok && epoch == first.epoch
}

// accepted checks a packet that a member's dataplane has taken.
func (l *ledger) accepted(m *member, id ipsec.SAID, seq uint64) {
	a := acceptance{id, seq, m.id, m.plane.boot, m.plane.sas[id].made}
	if l.taken[a] {
		m.c.breach("I9: %s takes packet %d of %v again", m.name, seq, id)
	}
	l.taken[a] = true
	m.checkCheckpoint(id, seq)
}
