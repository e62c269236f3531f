package strongswan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Settings are those of strongswan.conf that a test may want to choose. Zero
// fields keep strongSwan's defaults.
type Settings struct {
	// FragmentSize bounds the IP packets of IKE messages, in octets.
	FragmentSize int
	// KeepAlive is the interval of NAT keepalives.
	KeepAlive time.Duration
	// RetransmitTimeout is the first one; each later one is 1.8 times as
	// long. RetransmitTries is their number.
	RetransmitTimeout time.Duration
	RetransmitTries   int
	// LogKeys writes keys to the log, for Daemon.ESPKeys and IKEKeys.
	LogKeys bool
	// AllowPeerTS lets a remote selector contain the peer's own address.
	AllowPeerTS bool
	// KernelESP leaves ESP to the kernel, which must have it. SAs are then as
	// the peers agree on them, with or without UDP and extended numbers.
	KernelESP bool
	// Quiet keeps the log to what went wrong, for measurements.
	Quiet bool
	// More are further settings below charon: "cisco_unity": "yes".
	More map[string]string
}

// plugins is an explicit list, with which charon starts in well under a
// second. kernel-libipsec stands before kernel-netlink, or SAs would go to a
// kernel that may have no ESP.
func (s Settings) plugins() string {
	const crypto = "random nonce aesni aes sha1 sha2 md5 hmac kdf gcm ctr chapoly openssl curve25519 pem x509 pubkey pkcs1"
	esp := "kernel-libipsec "
	if s.KernelESP {
		esp = ""
	}
	return crypto + " " + esp + "kernel-netlink socket-default updown counters xauth-generic vici"
}

// render returns strongswan.conf.
func (s Settings) render(log, socket string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "charon {\n  load = %s\n  threads = 16\n", s.plugins())
	option := func(name string, set bool, value any) {
		if set {
			fmt.Fprintf(&b, "  %s = %v\n", name, value)
		}
	}
	option("fragment_size", s.FragmentSize != 0, s.FragmentSize)
	option("keep_alive", s.KeepAlive != 0, int(s.KeepAlive.Seconds()))
	option("retransmit_timeout", s.RetransmitTimeout != 0, s.RetransmitTimeout.Seconds())
	option("retransmit_tries", s.RetransmitTries != 0, s.RetransmitTries)
	for _, name := range slices.Sorted(maps.Keys(s.More)) {
		option(name, true, s.More[name])
	}
	level := 1
	switch {
	case s.LogKeys:
		level = 4
	case s.Quiet:
		level = 0
	}
	fmt.Fprintf(&b, "  filelog {\n    log {\n      path = %s\n      flush_line = yes\n      ike_name = yes\n      default = %d\n      ike = %d\n      chd = %d\n    }\n  }\n", log, min(level, 1), level, level)
	peerTS := "no"
	if s.AllowPeerTS {
		peerTS = "yes"
	}
	fmt.Fprintf(&b, "  plugins {\n    vici {\n      socket = unix://%s\n    }\n", socket)
	fmt.Fprintf(&b, "    kernel-libipsec {\n      load = yes\n      allow_peer_ts = %s\n    }\n  }\n}\n", peerTS)
	return b.String()
}
