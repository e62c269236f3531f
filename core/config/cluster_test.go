package config_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/ipsec"
)

// cluster is minimal as a member of a group. The section is the last, so that
// tests can put lines behind it.
const cluster = `phase1:
  - name: vpn1
    type: dynamic
    local-gw: 192.0.2.1
    fgsp-sync: enable
    psksecret: a secret that nobody guesses
phase2:
  - name: net1
    phase1name: vpn1
standalone-cluster:
  group-member-id: 1
  interface: port4
  cluster-peers:
    - {peerip: 172.31.1.2, member-id: 2}
    - {peerip: 172.31.1.3}
  secret: another secret that nobody guesses
`

func TestMemberOfFortiOS(t *testing.T) { // F7, F13
	c := loadShipped(t, "fgsp-member.yaml")
	want(t, "standalone-group-id", c.Cluster.Group, 1)
	want(t, "group-member-id", c.Cluster.Member, 1)
	want(t, "the sync interface", c.Cluster.Interface, "port4")
	want(t, "the port", c.Cluster.Port, 708)
	want(t, "the heartbeats", fmt.Sprint(c.Cluster.Lost, c.Cluster.Heartbeat), "3 50ms")
	want(t, "the acknowledgements", fmt.Sprint(c.Cluster.Sync.MinAcks, c.Cluster.Sync.AckTimeout), "1 50ms")
	want(t, "the secret", string(c.Cluster.Secret.Reveal()), "a secret that nobody guesses")
	var peers []string
	for _, p := range c.Cluster.Peers {
		peers = append(peers, p.IP.String())
		if p.Member != nil {
			t.Errorf("The peer %v is member %d, though nobody said so.", p.IP, *p.Member)
		}
	}
	want(t, "the peers", strings.Join(peers, " "), "172.31.1.2 172.31.1.3 172.31.1.4")
	want(t, "what a router may send here", fmt.Sprint(c.SharedGateways()), "[192.168.202.31]")
}

func TestMemberWithEverything(t *testing.T) { // F7, F13
	c := loadShipped(t, "full-reference.yaml").Cluster
	want(t, "the member of the first peer", *c.Peers[0].Member, 2)
	if !strings.HasSuffix(c.CA, "/ca.pem") || !strings.HasSuffix(c.Cert, "/member-1.pem") || !strings.HasSuffix(c.Key, "/member-1.key") {
		t.Errorf("The certificates are %s, %s and %s, they should be the files beside the configuration.", c.CA, c.Cert, c.Key)
	}
	own, err := c.LocalAddress()
	if err != nil || own != netip.MustParseAddr("172.31.1.1") {
		t.Errorf("Our address is %v, %v; it should be the one that the configuration gives.", own, err)
	}
}

func TestSixteenMembersAreAGroup(t *testing.T) { // F13
	group := func(others int) string {
		var b strings.Builder
		b.WriteString(strings.Split(cluster, "    - {peerip")[0])
		for i := range others {
			fmt.Fprintf(&b, "    - {peerip: 172.31.1.%d}\n", i+10)
		}
		b.WriteString("  standalone-group-id: 255\n  sync: {min-acks: 15}\n  secret: another secret that nobody guesses\n")
		return b.String()
	}
	c := mustLoad(t, group(ipsec.MaxMembers-1))
	want(t, "the number of the others", len(c.Cluster.Peers), 15)
	want(t, "standalone-group-id", c.Cluster.Group, 255)
	wantProblems(t, group(ipsec.MaxMembers),
		"gw.yaml:13: standalone-cluster.cluster-peers: has 16 members; a group has 16, this one included")
}

func TestMistakesOfAMember(t *testing.T) {
	for _, m := range []struct{ line, want string }{
		{"standalone-group-id: 256", `standalone-group-id: "256" is not allowed; allowed: 0-255`},
		{"port: 0", `port: "0" is not allowed; allowed: 1-65535`},
		{"hb-interval: 5ms", `hb-interval: "5ms" is not allowed; allowed: 10-2000 milliseconds, or a duration with its unit, such as 1.5s`},
		{"hb-interval: 3s", `hb-interval: "3s" is not allowed; allowed: 10-2000 milliseconds, or a duration with its unit, such as 1.5s`},
		{"hb-interval: 20", "hb-interval: 20 could mean 20 ms, or 2s as with FortiOS, which counts in 100 ms; write the unit"},
		{"hb-lost-threshold: 61", `hb-lost-threshold: "61" is not allowed; allowed: 1-60`},
		{"hb-intervall: 3", "hb-intervall: unknown key; did you mean hb-interval?"},
		{"sync: {min-acks: 0}", `sync.min-acks: "0" is not allowed; allowed: 1-15`},
		{"sync: {min-acks: 3}", "sync: min-acks 3 can never be reached with 2 cluster-peers"},
		{"sync: {ack-timeout: 0}", `sync.ack-timeout: "0" is not allowed; allowed: 1-2000 milliseconds, or a duration with its unit, such as 1.5s`},
		{"local: 192.0.2.1", "local: 192.0.2.1 is the local-gw of phase 1 vpn1, which all members share; want one that a single member has"},
	} {
		t.Run(m.line, func(t *testing.T) {
			wantProblems(t, cluster+"  "+m.line+"\n", "gw.yaml:17: standalone-cluster."+m.want)
		})
	}
}

func TestMistakesBetweenMembers(t *testing.T) {
	for _, m := range []struct{ old, new, want string }{
		{"172.31.1.3", "172.31.1.2", "15: standalone-cluster.cluster-peers[1].peerip: 172.31.1.2 is that of standalone-cluster.cluster-peers[0] too"},
		{"172.31.1.3", "2001:db8::3", "15: standalone-cluster.cluster-peers[1].peerip: 2001:db8::3 and 172.31.1.2 are of different address families"},
		{"172.31.1.3", "192.0.2.1", "15: standalone-cluster.cluster-peers[1].peerip: 192.0.2.1 is the local-gw of phase 1 vpn1, which all members share; want one that a single member has"},
		{"172.31.1.3}", "172.31.1.3, member-id: 2}", "15: standalone-cluster.cluster-peers[1].member-id: 2 is that of standalone-cluster.cluster-peers[0] too"},
		{"member-id: 2}", "member-id: 1}", "14: standalone-cluster.cluster-peers[0].member-id: 1 is our own group-member-id"},
		{"member-id: 2}", "member-id: 16}", `14: standalone-cluster.cluster-peers[0].member-id: "16" is not allowed; allowed: 0-15`},
		{"peerip: 172.31.1.3", "member-id: 3", "15: standalone-cluster.cluster-peers[1].peerip: is missing: the address of another member on the sync interface"},
		{"interface: port4", "local: 172.31.1.2", "14: standalone-cluster.cluster-peers[0].peerip: 172.31.1.2 is our own address"},
		{"  interface: port4\n", "", "10: standalone-cluster.interface: is missing: the interface to the other members (or local, our address there)"},
		{"  group-member-id: 1\n", "", "10: standalone-cluster.group-member-id: is missing: which member of the group this is, 0-15; each has its own"},
		{"{peerip: 172.31.1.3}", "172.31.1.3", `15: standalone-cluster.cluster-peers[1]: want keys with values below it, got "172.31.1.3"`},
	} {
		t.Run(m.new, func(t *testing.T) {
			wantProblems(t, strings.Replace(cluster, m.old, m.new, 1), "gw.yaml:"+m.want)
		})
	}
}

func TestMembersTrustByCertificatesOrBySecret(t *testing.T) { // B4
	const secret = "  secret: another secret that nobody guesses\n"
	const files = "  ca: a.pem\n  cert: c.pem\n  key: k.pem\n"
	mustLoad(t, strings.Replace(cluster, secret, files, 1))
	for _, m := range []struct{ trust, want string }{
		{"", "10: standalone-cluster.secret: is missing: members trust each other by a secret, or by ca, cert and key; nothing is synchronized in the clear"},
		{secret + files, "16: standalone-cluster.secret: stands beside certificates; want either ca, cert and key, or a secret"},
		{"  secret: just 19 octets long\n", "16: standalone-cluster.secret: the group's secret has 19 octets and needs 20 at least; openssl rand -base64 32 makes a good one"},
		{"  ca: a.pem\n  cert: c.pem\n", "10: standalone-cluster.key: is missing: the key of this member's certificate"},
	} {
		wantProblems(t, strings.Replace(cluster, secret, m.trust, 1), "gw.yaml:"+m.want)
	}
}

func TestWhatAMemberIsWarnedOf(t *testing.T) {
	passive := strings.Replace(cluster, "type: dynamic\n", "type: static\n    remote-gw: 192.0.2.2\n", 1)
	for _, m := range []struct{ name, text, want string }{
		{"a member", cluster, ""},
		{"sync without a group", withPhase1(minimal, "fgsp-sync: enable"), "6: phase1[0].fgsp-sync: has no effect without a standalone-cluster: there is nobody to synchronize with"},
		{"a group without sync", strings.Replace(cluster, "fgsp-sync: enable", "fgsp-sync: disable", 1), "10: standalone-cluster: no phase 1 has fgsp-sync: enable, so nothing is synchronized"},
		{"two callers of one peer", passive, "6: phase1[0].fgsp-sync: wants passive-mode: enable on all members for a peer of type static: when two of them call it from the one local-gw, each breaks what the other negotiates, and so does the new owner after a failover"},
		{"a peer that calls", withPhase1(passive, "passive-mode: enable"), ""},
	} {
		t.Run(m.name, func(t *testing.T) {
			_, got, _ := strings.Cut(mustLoad(t, m.text).Warnings.Error(), "gw.yaml:")
			want(t, "the warning", got, m.want)
		})
	}
}

func TestAnotherGroupNeedsARestart(t *testing.T) {
	for _, m := range []struct{ old, new string }{
		{"group-member-id: 1", "group-member-id: 4"},
		{"172.31.1.3", "172.31.1.4"},
		{"another secret", "a third secret"},
		{"standalone-cluster:", "log: {level: debug}\nstandalone-cluster:\n  hb-lost-threshold: 5"},
	} {
		changes := config.Diff(mustLoad(t, cluster), mustLoad(t, strings.Replace(cluster, m.old, m.new, 1)))
		want(t, "what needs a restart with "+m.new, strings.Join(changes.Restart, " "), "standalone-cluster")
	}
	changes := config.Diff(mustLoad(t, minimal), mustLoad(t, minimal+strings.Split(cluster, "phase1name: vpn1\n")[1]))
	want(t, "what changed", strings.Join(changes.Lines(), ", "), "standalone-cluster changed, standalone-cluster takes effect with the next start of evergated")
}

func TestAddressOfTheSyncInterfaceIsFound(t *testing.T) { // F7
	lo := config.StandaloneCluster{Interface: "lo", Peers: []*config.ClusterPeer{{IP: netip.MustParseAddr("127.0.0.2")}}}
	own, err := lo.LocalAddress()
	if err != nil || own != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("The address of lo is %v, %v; it should be 127.0.0.1.", own, err)
	}
	lo.Interface = "evg-none"
	if _, err := lo.LocalAddress(); err == nil || !strings.Contains(err.Error(), "evg-none") {
		t.Errorf("An interface that is not there should be named, the error is %v.", err)
	}
}

func TestPlainHeartbeatsAreMilliseconds(t *testing.T) {
	c := mustLoad(t, cluster+"  hb-interval: 200\n  sync: {ack-timeout: 0.1s}\n")
	want(t, "hb-interval", c.Cluster.Heartbeat, 200*time.Millisecond)
	want(t, "sync.ack-timeout", c.Cluster.Sync.AckTimeout, 100*time.Millisecond)
}
