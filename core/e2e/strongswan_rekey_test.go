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
	"github.com/evergate/evergate/core/netlab/vici"
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

// TestRekeyNeedsACommonGroup rekeys a child with perfect forward secrecy where
// the client guesses the wrong group first, and where it wants none.
func TestRekeyNeedsACommonGroup(t *testing.T) { // B7
	t.Parallel()
	for _, row := range []struct{ name, proposal, group string }{
		{"wrong guess", "aes128gcm16-x25519-modp2048", "MODP_2048"},
		{"none", "aes128gcm16", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := client()
			c.Children[0].Proposals = []string{row.proposal}
			d := dialIn(t, config([]entry{server1()}, []entry{server2().with(entry{"pfs": "enable", "dhgrp": "[14]"})}), strongswan.Settings{}, c)
			d.up("net")
			if row.group == "" {
				d.wantRekeyRefused()
				return
			}
			if err := d.charon.RekeyChild("net"); err != nil {
				t.Fatal(err)
			}
			if got := d.charon.Child("net").DH; got != row.group {
				t.Errorf("the new keys come from %q, want %s", got, row.group)
			}
			d.ping()
		})
	}
}

// wantRekeyRefused has charon try; the old keys stay in use.
func (d *ends) wantRekeyRefused() {
	d.t.Helper()
	var m vici.Message
	m.Set("child", "net")
	before := keysOf(d.evergate.Tunnel(d.name), false)
	if _, err := d.charon.Call("rekey", m); err != nil {
		d.t.Fatal(err)
	}
	d.charon.Log().Wait("received NO_PROPOSAL_CHOSEN notify", limit)
	d.evergate.Log().Wait(`level=WARN msg="child sa refused" .*notify=NO_PROPOSAL_CHOSEN .*key exchange.*check="phase 2 proposal and pfs group against the peer's"`, limit)
	d.ping()
	if after := keysOf(d.evergate.Tunnel(d.name), false); after != before {
		d.t.Errorf("the gateway receives with %s, want still %s", after, before)
	}
}

// TestTrafficWearsKeysOut moves more than keys of 5 MiB may carry. TCP notices
// what gets lost, so the file is whole in any case; that it took several keys is
// the gateway's doing, since charon has no limit.
func TestTrafficWearsKeysOut(t *testing.T) {
	t.Parallel()
	d := dialIn(t, config([]entry{server1()}, []entry{server2().with(entry{"keylife-type": "kbs", "keylifekbs": "5120"})}), strongswan.Settings{}, client())
	d.up("net")
	_, err := netlab.Transfer{
		From: d.Client, Source: gateway.ClientHost, To: d.Server, Dest: gateway.ServerHost, Bytes: 24 << 20, Seed: 1,
	}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := d.evergate.Stat("ike.child_rekeys"); n < 3 {
		t.Errorf("24 MiB took %d new keys, want at least 3", n)
	}
	d.wantAgreement()
	d.ping()
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
