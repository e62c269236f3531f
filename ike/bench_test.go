package ike_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// BenchmarkEstablish is both ends of a set-up with its first child.
func BenchmarkEstablish(b *testing.B) {
	for _, tt := range []struct {
		name  string
		group ipsec.GroupID
	}{{"x25519", ipsec.GroupX25519}, {"modp1024", ipsec.GroupMODP1024}, {"modp2048", ipsec.GroupMODP2048}} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				iketest.Establish(b, iketest.Suite("aes128-sha256", "aes128gcm", tt.group))
			}
		})
	}
}

// BenchmarkRekeyChild is both ends of a rekey without perfect forward secrecy,
// and of the Delete that follows.
func BenchmarkRekeyChild(b *testing.B) {
	p := iketest.Establish(b)
	b.ReportAllocs()
	for b.Loop() {
		rekeyChild(p.A)
		p.Pass(10 * time.Second)
	}
}

// BenchmarkSnapshot is what every change of state costs.
func BenchmarkSnapshot(b *testing.B) {
	p := iketest.Establish(b)
	b.ReportAllocs()
	b.ReportMetric(float64(len(p.A.Tunnel.Snapshot(p.Now))), "octets")
	for b.Loop() {
		p.A.Tunnel.Snapshot(p.Now)
	}
}

// BenchmarkRestore is what a standby pays for it.
func BenchmarkRestore(b *testing.B) {
	p := iketest.Establish(b)
	s := p.A.Tunnel.Snapshot(p.Now)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ike.Restore(p.A.Env, p.A.Policy, s, p.Now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCookie is what an IKE_SA_INIT of a flood costs us.
func BenchmarkCookie(b *testing.B) {
	p := iketest.New(b, func(c *iketest.Config) {
		c.Limits = ike.Limits{CookieAt: -1, SourceRate: 1 << 30, SourceBurst: 1 << 30}
	})
	p.A.Initiate()
	request := p.Hold()[0].Datagram
	b.ReportAllocs()
	for b.Loop() {
		d := request
		d.Payload = bytes.Clone(request.Payload)
		if r := p.B.Demux.Route(p.Now, d); len(r.Reply) != 1 {
			b.Fatal("no cookie")
		}
	}
}
