package sim

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// sealedV1 is a message of quick mode with two blocks of ciphertext.
func sealedV1(id, first, second byte) []byte {
	b := make([]byte, 28, 60)
	b[0], b[8], b[17], b[18], b[19], b[23] = 1, 2, 0x10, 32, 1, id
	b = append(b, bytes.Repeat([]byte{first}, 16)...)
	return append(b, bytes.Repeat([]byte{second}, 16)...)
}

// TestAnswersAreForgottenWithThoseWhoKnow: an answer is remembered by the life that gave
// it, and by whoever was told.
func TestAnswersAreForgottenWithThoseWhoKnow(t *testing.T) { // B2
	c := New(Config{Seed: 1, Members: 2, Clients: 1, Dialect: IKEv1, Calm: true})
	c.Start()
	c.Play(time.Second)
	const state = 7
	said := answer{member: 0, life: c.members[0].daemon.life, state: state}
	if !c.remembers(said) {
		t.Error("A member that lives does not remember its answer.")
	}
	c.Crash(0)
	if c.remembers(said) {
		t.Error("An answer is remembered although its member is dead and nobody was told.")
	}
	c.members[1].memory.learn(c, state)
	if !c.remembers(said) {
		t.Error("An answer is forgotten although a member that lives was told.")
	}
	c.Boot(0, true)
	c.Crash(1)
	if c.remembers(said) {
		t.Error("The next life remembers what the last one said.")
	}
}

// TestLaterStateHasAllThatIsBefore: a member that is told of the last state of an IKE SA
// needs none of those that its owner gave it before; one that has an earlier one lacks it.
func TestLaterStateHasAllThatIsBefore(t *testing.T) { // B2
	c := New(Config{Seed: 1, Members: 2, Clients: 1, Calm: true})
	of := line{tunnel: 1, member: 0, life: 1}
	for n := 1; n <= 3; n++ {
		c.ledger.ages[uint64(n)] = age{of, n}
	}
	k := newMemory()
	k.learn(c, 2)
	if !k.knowsState(c, 1) || !k.knowsState(c, 2) {
		t.Error("A state, or the one before it, is not known although it was learned.")
	}
	if k.knowsState(c, 3) {
		t.Error("A state is known that comes after all that were learned.")
	}
}

// TestMessagesOfOneIVAreFound has members say what must not be said with one IV.
func TestMessagesOfOneIVAreFound(t *testing.T) { // B1
	const client, member = true, false
	type said struct {
		byClient bool
		payload  []byte
	}
	for _, tt := range []struct {
		what string
		all  []said
		want string // "" for no breach
	}{
		{"each answers once", []said{{client, sealedV1(1, 1, 1)}, {member, sealedV1(1, 2, 2)}, {client, sealedV1(1, 3, 3)}, {member, sealedV1(1, 4, 4)}}, ""},
		{"an answer is repeated", []said{{client, sealedV1(1, 1, 1)}, {member, sealedV1(1, 2, 2)}, {member, sealedV1(1, 2, 2)}}, ""},
		{"two owners answer one message", []said{{client, sealedV1(1, 1, 1)}, {member, sealedV1(1, 2, 2)}, {member, sealedV1(1, 3, 3)}}, ""},
		{"their answers begin alike", []said{{client, sealedV1(1, 1, 1)}, {member, sealedV1(1, 2, 2)}, {member, sealedV1(1, 2, 3)}}, "begin alike"},
		{"two exchanges of ours", []said{{member, sealedV1(1, 1, 1)}, {member, sealedV1(2, 2, 2)}}, ""},
		{"two exchanges of ours with one ID", []said{{member, sealedV1(1, 1, 1)}, {member, sealedV1(1, 2, 2)}}, "one IV"},
		{"two confirmations", []said{{member, sealedV1(1, 1, 1)}, {client, sealedV1(1, 2, 2)}, {member, sealedV1(1, 3, 3)}, {member, sealedV1(1, 4, 4)}}, "one IV"},
	} {
		c := New(Config{Seed: 1, Members: 2, Clients: 1, Dialect: IKEv1, Calm: true})
		for _, s := range tt.all {
			by := c.members[0]
			if s.byClient {
				by = nil
			}
			c.ledger.chained(by, s.payload)
		}
		switch err := c.Err(); {
		case tt.want == "" && err != nil:
			t.Errorf("When %s, there is a breach: %v.", tt.what, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("When %s, the breach is %v, want one that says %q.", tt.what, err, tt.want)
		}
	}
}

// TestNumbersThatWereSentAreFoundWhereTheyAreOffered has a dataplane get numbers on an SA
// on which member 1, who made it, has sent 1 to 64, and member 0 65 to 70 after that.
func TestNumbersThatWereSentAreFoundWhereTheyAreOffered(t *testing.T) { // B1
	const theirs, ours, before = 1, 0, 3
	for _, tt := range []struct {
		what          string
		boot          uint32 // of member 0's dataplane
		next, ceiling uint64
		fresh, want   bool
	}{
		{"numbers that nobody had", 4, 71, 128, true, false},
		{"none", 4, 1 << 32, 1<<32 - 1, true, false},
		{"another member's numbers", 4, 1, 64, true, true},
		{"another member's numbers, later", 4, 64, 128, false, true},
		{"no ceiling, below another member's numbers", 4, 1, 0, true, true},
		{"the numbers of an earlier dataplane", 4, 65, 128, false, true},
		{"its own numbers, for an SA that it lost", before, 65, 128, true, true},
		{"its own numbers, for one that it has", before, 65, 128, false, false},
	} {
		c := New(Config{Seed: 1, Members: 2, Clients: 1, Calm: true})
		m, key := c.members[ours], ipsec.NewKey([]byte("secret"))
		c.disjoint, m.plane.boot = true, tt.boot
		c.ledger.uses[c.ledger.sum(key.Reveal())] = []use{
			{from: 1, to: 64, member: theirs, maker: true}, {from: 65, to: 70, member: ours, boot: before},
		}
		c.ledger.offered(m, &planeSA{desc: ipsec.SA{Encryption: key}, next: tt.next, ceiling: tt.ceiling}, tt.fresh)
		if err := c.Err(); (err != nil) != tt.want {
			t.Errorf("A dataplane that is offered %s: the breach is %v, want one: %t.", tt.what, err, tt.want)
		}
	}
}
