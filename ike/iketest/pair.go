package iketest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Config is what a pair is made from. Options change it.
type Config struct {
	Seed uint64
	A, B *ike.Connection
	// Limits of B, which is the responder of Establish.
	Limits ike.Limits
	// NAT puts one in front of A.
	NAT bool
	// Path is the longest datagram that the network between the two carries, in
	// octets of UDP payload; 0 for any.
	Path int
	Log  *slog.Logger

	resume Resume
}

// Option changes a Config.
type Option func(*Config)

// Pair is two ends and the network between them.
type Pair struct {
	Network[*End]
	config Config
}

// Flight is a datagram on its way.
type Flight = FlightOf[*End]

// New makes a pair that has not talked yet.
func New(tb TB, options ...Option) *Pair {
	tb.Helper()
	c := Config{Seed: 1, A: Connection("a", AddrA, AddrB), B: Connection("b", AddrB, netip.Addr{}), Log: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&c)
	}
	p := &Pair{Network: NewNetwork[*End](tb), config: c}
	p.NAT, p.Path = c.NAT, c.Path
	p.A = newEnd(p, "A", 1, c.A, ike.Limits{})
	p.B = newEnd(p, "B", 2, c.B, c.Limits)
	return p
}

// Establish makes a pair in which A has dialled in to B.
func Establish(tb TB, options ...Option) *Pair {
	tb.Helper()
	p := New(tb, options...)
	p.A.Initiate()
	p.Deliver()
	p.WantUp()
	return p
}

// Connection is a plain connection with one child "net": X25519, AES-CBC, no
// perfect forward secrecy, no lifetimes.
func Connection(name string, local, remote netip.Addr) *ike.Connection {
	return &ike.Connection{
		Name: name, Local: local, Remote: remote,
		Proposals: []ipsec.Proposal{Must(ipsec.ParseIKEProposal("aes128-sha256")).WithGroups(ipsec.GroupX25519)},
		LocalID:   ike.Identity{Type: ike.IDFQDN, Data: name + ".example"},
		PSK:       ipsec.CopyKey([]byte("the secret of the two")),
		DPD:       ike.DPD{Mode: ike.DPDOff},
		Children: []*ike.Child{{
			Name:      "net",
			Proposals: []ipsec.Proposal{Must(ipsec.ParseESPProposal("aes128-sha256"))},
			Selectors: ipsec.Selectors{
				Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
				Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			},
		}},
	}
}

// Both changes both connections.
func Both(change func(*ike.Connection)) Option {
	return func(c *Config) {
		change(c.A)
		change(c.B)
	}
}

// Seed makes another run of the same conversation.
func Seed(n uint64) Option { return func(c *Config) { c.Seed = n } }

// BehindNAT puts a NAT in front of A.
func BehindNAT() Option { return func(c *Config) { c.NAT = true } }

// PFS gives the children a key exchange of their own.
func PFS(g ipsec.GroupID) Option {
	return Both(func(c *ike.Connection) {
		for _, child := range c.Children {
			for i, p := range child.Proposals {
				child.Proposals[i] = p.WithGroups(g)
			}
		}
	})
}

// Suite replaces the proposals of both ends, in the configuration's words.
func Suite(phase1, phase2 string, g ipsec.GroupID) Option {
	return Both(func(c *ike.Connection) {
		c.Proposals = []ipsec.Proposal{Must(ipsec.ParseIKEProposal(phase1)).WithGroups(g)}
		c.Children[0].Proposals = []ipsec.Proposal{Must(ipsec.ParseESPProposal(phase2))}
	})
}

// Must is v; an error is a mistake in the test.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// stream is the randomness of one end. Reads of 32 octets, the length of a
// nonce, start with the octets that Nonces has queued; key exchange methods
// whose private values have that length draw from the same queue.
type stream struct {
	chacha *rand.ChaCha8
	nonces []byte
}

func newStream(seed uint64, name string) *stream {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%s %d", name, seed))
	return &stream{chacha: rand.NewChaCha8(key)}
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.chacha.Read(b)
	if len(b) == 32 && len(s.nonces) > 0 {
		b[0], s.nonces = s.nonces[0], s.nonces[1:]
	}
	return n, err
}
