package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// rekeyRounds is how often each side rekeys each kind of SA.
const rekeyRounds = 3

// TestRekeyLosesNothing replaces all keys again and again, by either side and by
// both at once, under numbered streams in both directions.
func TestRekeyLosesNothing(t *testing.T) {
	t.Parallel()
	for name, pfs := range map[string]string{"with pfs": "-x25519", "without pfs": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client()
			c.Children[0].Proposals = []string{"aes128gcm16" + pfs}
			phase2 := server2().with(entry{"pfs": map[string]string{"-x25519": "enable", "": "disable"}[pfs]})
			d := dialIn(t, config([]entry{server1()}, []entry{phase2}), strongswan.Settings{}, c)
			d.up("net")
			d.ping()
			first := d.evergate.Tunnel(d.name)
			streams := d.streams()
			for range rekeyRounds {
				for _, step := range []struct {
					who string
					do  func() error
				}{
					{"the client rekeys the child", func() error { return d.charon.RekeyChild("net") }},
					{"the gateway rekeys the child", func() error { return d.rekeyed(false) }},
					{"the client rekeys the IKE SA", func() error { return d.charon.RekeyIKE("home") }},
					{"the gateway rekeys the IKE SA", func() error { return d.rekeyed(true) }},
					{"both rekey the child", func() error { return d.bothRekey(false) }},
					{"both rekey the IKE SA", func() error { return d.bothRekey(true) }},
				} {
					if err := step.do(); err != nil {
						t.Fatalf("%s: %v", step.who, err)
					}
					streams.flow()
				}
			}
			streams.wantWhole()
			d.wantAgreement()
			last := d.evergate.Tunnel(d.name)
			if last.Serial != first.Serial || last.IKESPIs == first.IKESPIs {
				t.Errorf("the tunnel went from %d %v to %d %v, want the same tunnel with other keys", first.Serial, first.IKESPIs, last.Serial, last.IKESPIs)
			}
			if group := d.charon.Child("net").DH; (group == "") != (pfs == "") {
				t.Errorf("the child's keys come from a key exchange of their own: %q", group)
			}
			if n := d.evergate.Stat("ike.started.responder"); n != 1 {
				t.Errorf("%d IKE SAs were negotiated, want the first one only", n)
			}
		})
	}
}

// bothRekey has both sides rekey at once, and waits until they agree again.
func (d *ends) bothRekey(ike bool) error {
	old := keysOf(d.evergate.Tunnel(d.name), ike)
	done := make(chan error, 1)
	go func() {
		if ike {
			done <- d.charon.RekeyIKE("home")
		} else {
			done <- d.charon.RekeyChild("net")
		}
	}()
	err := errors.Join(d.evergate.Rekey(d.name, ike), <-done)
	if err != nil {
		return err
	}
	return netlab.Poll(d.t.Context(), limit, func() error {
		if now := keysOf(d.evergate.Tunnel(d.name), ike); now == old {
			return fmt.Errorf("the gateway still has %s", now)
		}
		return d.agreement()
	})
}

// keysOf names the SPIs of a tunnel's IKE SA, or of its newest child.
func keysOf(t diag.Tunnel, ike bool) string {
	if ike {
		return fmt.Sprint(t.IKESPIs)
	}
	return t.Proxies[0].SAs[0].Dec.SPI
}

// wantAgreement waits until both sides have the same SAs and no others. For some
// seconds the gateway goes on decrypting with keys that were replaced.
func (d *ends) wantAgreement() {
	d.t.Helper()
	netlab.Eventually(d.t, limit, "both sides have the same SAs, and no others", func() error {
		if tunnel := d.evergate.Tunnel(d.name); len(tunnel.Proxies) != 1 || len(tunnel.Proxies[0].SAs) != 1 {
			return fmt.Errorf("the gateway has %+v, want one child", tunnel.Proxies)
		}
		return d.agreement()
	})
}

// agreement returns nil when charon has one IKE SA with one child, and the
// gateway the same two.
func (d *ends) agreement() error {
	tunnel, sas := d.evergate.Tunnel(d.name), d.charon.SAs()
	if len(sas) != 1 || sas[0].State != "ESTABLISHED" {
		return fmt.Errorf("charon has %+v, want one IKE SA", sas)
	}
	// A rekeyed child stays on charon's list for a while, too.
	children := slices.DeleteFunc(sas[0].Children, func(c strongswan.ChildSA) bool { return c.State != "INSTALLED" })
	if len(children) != 1 {
		return fmt.Errorf("charon has the children %+v, want one", children)
	}
	if want := [2]string{fmt.Sprintf("%016x", sas[0].InitiatorSPI), fmt.Sprintf("%016x", sas[0].ResponderSPI)}; tunnel.IKESPIs != want {
		return fmt.Errorf("the gateway has the IKE SA %v, charon %v", tunnel.IKESPIs, want)
	}
	child := children[0]
	for _, sa := range tunnel.Proxies[0].SAs {
		if sa.Dec.SPI == hexSPI(child.SPIOut) && sa.Enc.SPI == hexSPI(child.SPIIn) {
			return nil
		}
	}
	return fmt.Errorf("charon sends with %08x and receives with %08x, the gateway has %+v", child.SPIOut, child.SPIIn, tunnel.Proxies[0].SAs)
}

// streams run in both directions through the tunnel.
type streams struct {
	t       *testing.T
	out, in *netlab.Streaming
}

func (d *ends) streams() streams {
	d.t.Helper()
	s := streams{d.t, d.stream(), netlab.Stream{From: d.Server, To: d.Client, Dest: gateway.ClientHost}.Start(d.t)}
	s.flow()
	return s
}

// flow waits until something more arrives at both ends.
func (s streams) flow() {
	s.t.Helper()
	s.out.WaitFor(20, limit)
	s.in.WaitFor(20, limit)
}

// wantWhole ends the streams: every datagram must have arrived once and in order.
func (s streams) wantWhole() {
	s.t.Helper()
	if err := s.out.Stop().Err(); err != nil {
		s.t.Errorf("from the client: %v", err)
	}
	if err := s.in.Stop().Err(); err != nil {
		s.t.Errorf("to the client: %v", err)
	}
}
