package netlab

import (
	"net/netip"
	"slices"
	"testing"
)

func TestStreamTellsDuplicatesFromReorderingAndLoss(t *testing.T) {
	s := &Streaming{sent: 6}
	for _, sequence := range []uint64{0, 1, 3, 2, 1, 3, 5, maxStream, 1 << 63} {
		s.arrived(sequence)
	}
	r := s.Result()
	// RFC 4737 section 3: 2 came after 3. The second 1 and 3 are duplicates,
	// not reordered; 4 is missing; the last two are nobody's.
	if r.Received != 5 || r.Reordered != 1 || r.Duplicated != 2 || !slices.Equal(r.Lost, []uint64{4}) {
		t.Fatalf("the account is %+v, want 5 received, 1 reordered, 2 duplicated, number 4 lost", r)
	}
	if r.Err() == nil {
		t.Fatal("a stream with losses has no error")
	}
}

func TestParsePing(t *testing.T) {
	for out, want := range map[string]PingResult{
		"3 packets transmitted, 3 received, 0% packet loss, time 402ms\n":               {Sent: 3, Received: 3},
		"5 packets transmitted, 4 received, +2 duplicates, 20% packet loss, time 9ms\n": {Sent: 5, Received: 4, Duplicates: 2},
		"From 10.0.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1300)\n1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n": {
			Sent: 1, Errors: 1, MTU: 1300,
		},
		"ping: local error: message too long, mtu=1280\n2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1ms\n": {
			Sent: 2, Errors: 2, MTU: 1280,
		},
	} {
		got, err := parsePing(out)
		want.Output = out
		if err != nil || got != want {
			t.Errorf("parsed %+v (error %v), want %+v", got, err, want)
		}
	}
	if _, err := parsePing("ping: connect: Network is unreachable\n"); err == nil {
		t.Error("an output without a summary was parsed")
	}
}

func TestParseInnerFindsTheHeaderInsideESP(t *testing.T) {
	for name, c := range map[string]struct {
		row  Row
		want string // src, dst
		next uint8
	}{
		"IPv4 in IPv4": {
			Row{"0x01", "7", "4", "eth:ethertype:ip:udp:udpencap:esp:ip:icmp", "192.0.2.1,10.0.0.1", "192.0.2.2,10.0.0.2", "17,1", "", "", ""},
			"10.0.0.1 10.0.0.2", 1,
		},
		"IPv6 in IPv4": {
			Row{"0x01", "7", "41", "eth:ethertype:ip:esp:ipv6:icmpv6", "192.0.2.1", "192.0.2.2", "50", "fd00::1", "fd00::2", "58"},
			"fd00::1 fd00::2", 58,
		},
		"IPv4 in IPv6": {
			Row{"0x01", "7", "4", "eth:ethertype:ipv6:esp:ip:udp", "10.0.0.1", "10.0.0.2", "17", "2001:db8::1", "2001:db8::2", "50"},
			"10.0.0.1 10.0.0.2", 17,
		},
		"an error that quotes": {
			Row{"0x01", "7", "4", "eth:ethertype:ip:esp:ip:icmp:ip:udp", "192.0.2.1,10.0.0.1,10.9.9.9", "192.0.2.2,10.0.0.2,10.8.8.8", "50,1,17", "", "", ""},
			"10.0.0.1 10.0.0.2", 1,
		},
		"transport mode": {
			Row{"0x01", "7", "6", "eth:ethertype:ip:esp:tcp", "192.0.2.1", "192.0.2.2", "50", "", "", ""},
			"192.0.2.1 192.0.2.2", 6,
		},
		"transport mode over IPv6": {
			Row{"0x01", "7", "17", "eth:ethertype:ipv6:esp:udp", "", "", "", "fd00::1", "fd00::2", "50"},
			"fd00::1 fd00::2", 17,
		},
	} {
		p, err := parseInner(c.row)
		if got := p.Src.String() + " " + p.Dst.String(); err != nil || got != c.want || p.Protocol != c.next || p.SPI != 1 || p.Sequence != 7 {
			t.Errorf("%s: %+v (error %v), want %s and protocol %d", name, p, err, c.want, c.next)
		}
	}
	for _, row := range []Row{
		nil,
		{"1", "1"},
		{"x", "1", "4", "ip:esp:ip", "", "", "", "", "", ""},
		{"1", "1", "4", "ip:esp", "192.0.2.1", "192.0.2.2", "50", "", "", ""},
		{"1", "1", "6", "esp", "", "", "", "", "", ""},
	} {
		if p, err := parseInner(row); err == nil {
			t.Errorf("the row %q was read as %+v", row, p)
		}
	}
}

func TestRowsOfTsharkAreChecked(t *testing.T) {
	r := reader{row: Row{"1700000000.25", "192.0.2.1", "", "500", "", "2001:db8::1", "4500", "0x20", "7f"}}
	flow := r.flow()
	if flow.Src != netip.MustParseAddrPort("192.0.2.1:500") || flow.Dst != netip.MustParseAddrPort("[2001:db8::1]:4500") || flow.Time.UnixMilli() != 1700000000250 {
		t.Errorf("the flow is %+v, want the row's", flow)
	}
	if n, m := r.number(8), r.hex(64); n != 0x20 || m != 0x7f || r.err != nil {
		t.Errorf("read %#x and %#x (error %v), want 0x20 and 0x7f", n, m, r.err)
	}
	if r.next(); r.err == nil {
		t.Error("reading past the row is no error")
	}
	for _, bad := range []Row{{"now", "192.0.2.1", "", "", "192.0.2.2", "", ""}, {"1", "", "", "", "", "", ""}, {"1", "192.0.2.1", "", "70000", "192.0.2.2", "", ""}} {
		r := reader{row: bad}
		if r.flow(); r.err == nil {
			t.Errorf("the row %q was read as a flow", bad)
		}
	}
}

func TestParseCounter(t *testing.T) {
	n, err := parseCounter([]byte(`{"nftables": [{"metainfo": {}}, {"table": {}}, {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 7, "bytes": 9}}, {"drop": null}]}}]}`))
	if n != 7 || err != nil {
		t.Errorf("the counter is %d (error %v), want 7", n, err)
	}
	for _, bad := range []string{"", "{}", `{"nftables": [{"rule": {"expr": [{"drop": null}]}}]}`} {
		if n, err := parseCounter([]byte(bad)); err == nil {
			t.Errorf("%q was read as %d", bad, n)
		}
	}
}

// The example of RFC 1071 section 3 sums to ddf2.
func TestChecksum(t *testing.T) {
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("the checksum is %#04x, want %#04x", got, ^uint16(0xddf2))
	}
}
