package e2e_test

import (
	"encoding/hex"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestDiagnoseAgreesWithCharon compares the tunnel list with what charon says of
// the same SAs: SPIs, keys of both directions, algorithms, selectors, counters;
// and with what a third implementation makes of the packets with charon's keys.
func TestDiagnoseAgreesWithCharon(t *testing.T) { // F19
	t.Parallel()
	for esp, yaml := range map[string]string{"aes128-sha1": "aes128-sha1", "aes256ctr-sha512": "aes256ctr-sha512", "aes256gcm12": "aes256gcm12"} {
		t.Run(esp, func(t *testing.T) {
			t.Parallel()
			c := client()
			c.Children[0].Proposals = []string{esp}
			d := dialIn(t, config([]entry{server1()}, []entry{server2().with(entry{"proposal": yaml})}), strongswan.Settings{LogKeys: true}, c)
			capture := d.WAN.Capture("udp")
			d.up("net")
			d.ping()
			d.wantPackets("vpn1_0", 3)
			d.wantSameSA()
			d.wantDecrypted(capture)
			log := d.evergate.Log().Now()
			if err := d.charon.RekeyChild("net"); err != nil {
				t.Fatal(err)
			}
			// Until the client deletes the old pair, the gateway sends on it.
			log.Wait(`msg="child sa replaced"`, limit)
			d.ping()
			d.wantPackets("vpn1_0", 3) // on the old pair as on the new
			d.wantSameSA()
		})
	}
}

// wantSameSA compares the newest pair of SAs on both lists, after three pings.
func (d *ends) wantSameSA() {
	d.t.Helper()
	tunnel, child, ike := d.evergate.Tunnel("vpn1_0"), d.charon.Child("net"), d.charon.IKE("home")
	if len(tunnel.Proxies) != 1 {
		d.t.Fatalf("the tunnel has the phase 2 entries %+v, want one", tunnel.Proxies)
	}
	proxy := tunnel.Proxies[0]
	sa := proxy.SAs[0]
	type account struct {
		dec, enc       string
		in, out        uint64
		inside, beyond string // the networks of the client and of the gateway
		id, us, suite  string
	}
	got := account{
		sa.Dec.SPI, sa.Enc.SPI, sa.Packets.In, sa.Packets.Out,
		strings.Join(proxy.Dst, " "), strings.Join(proxy.Src, " "), tunnel.RemoteID, tunnel.LocalID, fmt.Sprint(tunnel.IKESPIs),
	}
	want := account{
		hexSPI(child.SPIOut), hexSPI(child.SPIIn), child.PacketsOut, child.PacketsIn,
		"0:10.10.1.0-10.10.1.255:0", "0:172.31.125.0-172.31.125.255:0", ike.LocalID, ike.RemoteID,
		fmt.Sprintf("[%016x %016x]", ike.InitiatorSPI, ike.ResponderSPI),
	}
	if got != want || got.in != 3 {
		d.t.Errorf("the tunnel list has %+v, charon %+v; want the same, with three packets each way", got, want)
	}
	// charon counts the inner octets: of three echo requests, 28 + 56 each.
	if sa.Bytes.In != child.BytesOut || sa.Bytes.Out != child.BytesIn {
		d.t.Errorf("the tunnel list counts %+v octets, charon %d out and %d in", sa.Bytes, child.BytesOut, child.BytesIn)
	}
	keys := map[string]netlab.ESPKey{}
	for _, key := range d.charon.ESPKeys() {
		keys[hexSPI(key.SPI)] = key
	}
	for name, half := range map[string]diag.Half{"dec": sa.Dec, "enc": sa.Enc} {
		key := keys[half.SPI]
		if half.Key != hex.EncodeToString(key.CipherKey) || half.HashKey != hex.EncodeToString(key.IntegrityKey) {
			d.t.Errorf("%s of SPI %s has other keys than charon's log", name, half.SPI)
		}
	}
	d.wantPrinted(sa)
}

// wantPrinted looks for the SPIs and keys in what the operator's tool prints.
func (d *ends) wantPrinted(sa diag.SA) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), programs.Path("evergate"), "--socket", d.evergate.Socket(),
		"diagnose", "vpn", "tunnel", "list", "name", "vpn1_0", "--show-keys")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("list the tunnel: %v\n%s", err, out)
	}
	for _, want := range []string{"dec: spi=" + sa.Dec.SPI, "enc: spi=" + sa.Enc.SPI, sa.Dec.Key, sa.Enc.Key, sa.Dec.HashKey, sa.Enc.HashKey} {
		if !strings.Contains(string(out), want) {
			d.t.Errorf("%q is not in the list:\n%s", want, out)
		}
	}
}

// wantDecrypted lets tshark open the ESP of three pings with charon's keys.
func (d *ends) wantDecrypted(capture *netlab.Capture) {
	d.t.Helper()
	var got []string
	for _, packet := range capture.Decrypt("icmp", d.charon.ESPKeys()...) {
		got = append(got, fmt.Sprintf("%d %s > %s", packet.Sequence, packet.Src, packet.Dst))
	}
	slices.Sort(got)
	var want []string
	for n := range 3 {
		want = append(want,
			fmt.Sprintf("%d %s > %s", n+1, gateway.ClientHost, gateway.ServerHost),
			fmt.Sprintf("%d %s > %s", n+1, gateway.ServerHost, gateway.ClientHost))
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		d.t.Errorf("tshark found %v inside ESP, want %v", got, want)
	}
}
