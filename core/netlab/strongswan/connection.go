package strongswan

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/evergate/evergate/core/netlab/vici"
)

// ID is an identity in charon's notation; the functions below make each type.
// The zero ID means the address, for Local, or any, for Remote.
type ID string

// FQDN returns an identity of type ID_FQDN. RFC 7296 section 3.5
func FQDN(name string) ID { return ID("fqdn:" + name) }

// RFC822 returns an identity of type ID_RFC822_ADDR.
func RFC822(address string) ID { return ID("email:" + address) }

// IPv4 returns an identity of type ID_IPV4_ADDR.
func IPv4(address string) ID { return ID(address) }

// IPv6 returns an identity of type ID_IPV6_ADDR.
func IPv6(address string) ID { return ID(address) }

// KeyID returns an identity of type ID_KEY_ID, opaque octets.
func KeyID(octets []byte) ID { return ID("keyid:#" + hex.EncodeToString(octets)) }

// DN returns an identity of type ID_DER_ASN1_DN from its readable form:
// "C=CH, O=example, CN=client". Charon knows it by its equals signs; behind a
// prefix it would send the text instead of its encoding.
func DN(name string) ID { return ID(name) }

// Auth says how one side authenticates. The zero value is a pre-shared key.
type Auth struct {
	ID     ID
	Method string // swanctl.conf's auth, default psk
}

// Connection is a connection of swanctl.conf. What is zero keeps strongSwan's
// default, except where a field says otherwise.
type Connection struct {
	Name                    string // required
	Version                 int    // 1 or 2; 0 means 2
	Aggressive              bool   // IKEv1
	LocalAddrs, RemoteAddrs []string
	LocalPort, RemotePort   int
	Proposals               []string // "aes128-sha256-x25519"
	Local, Remote           Auth
	PSK                     string // the pre-shared key of these two identities
	Fragmentation           string // yes, accept, force, no
	ForceEncap              bool   // claim a NAT that is not there
	MOBIKE                  bool   // off unless set
	DPDDelay, DPDTimeout    time.Duration
	RekeyTime, ReauthTime   time.Duration // RekeyTime 0 means never
	OverTime, RandTime      time.Duration
	KeyingTries             int // 0 means 1: a refusal ends the initiation
	Unique                  string
	VIPs                    []string
	Pools                   []string // addresses to assign, of LoadPool
	PushConfig              bool     // IKEv1: addresses are set, not asked for
	XAuth                   XAuth    // IKEv1
	Children                []Child
}

// XAuth is the user of a connection. The zero value is none.
type XAuth struct {
	Server         bool // ask the peer for a user; else we are it
	User, Password string
}

// Child is a child of a connection: the configuration of a Child SA.
type Child struct {
	Name              string // required
	LocalTS, RemoteTS []string
	Proposals         []string      // "aes128gcm16", "aes128-sha1-modp1024" for PFS
	Mode              string        // tunnel or transport
	RekeyTime         time.Duration // 0 means never
	LifeTime          time.Duration // 0 means never
	RekeyBytes        uint64
	LifeBytes         uint64
	RekeyPackets      uint64
	LifePackets       uint64
	StartAction       string // none, trap, start
	CloseAction       string
	DPDAction         string // clear, trap, restart
}

// message returns the connection as load-conn wants it.
func (c Connection) message() vici.Message {
	var m, root vici.Message
	m.Set("version", strconv.Itoa(orDefault(c.Version, 2)))
	m.SetList("local_addrs", c.LocalAddrs...)
	m.SetList("remote_addrs", c.RemoteAddrs...)
	m.Set("local_port", positive(uint64(max(c.LocalPort, 0))))
	m.Set("remote_port", positive(uint64(max(c.RemotePort, 0))))
	m.SetList("proposals", c.Proposals...)
	m.SetList("vips", c.VIPs...)
	m.Set("aggressive", yes(c.Aggressive))
	m.Set("fragmentation", c.Fragmentation)
	m.Set("encap", yes(c.ForceEncap))
	// MOBIKE moves a connection to port 4500 and to other addresses on its
	// own; a test that does not ask for it wants to see neither.
	m.Set("mobike", map[bool]string{true: "yes", false: "no"}[c.MOBIKE])
	m.Set("dpd_delay", lasting(c.DPDDelay))
	m.Set("dpd_timeout", lasting(c.DPDTimeout))
	m.Set("rekey_time", seconds(c.RekeyTime))
	m.Set("reauth_time", lasting(c.ReauthTime))
	m.Set("over_time", lasting(c.OverTime))
	m.Set("rand_time", seconds(c.RandTime))
	m.Set("keyingtries", strconv.Itoa(orDefault(c.KeyingTries, 1)))
	m.Set("unique", c.Unique)
	m.SetList("pools", c.Pools...)
	if c.PushConfig {
		m.Set("pull", "no")
	}
	m.SetSection("local", c.Local.message())
	m.SetSection("remote", c.Remote.message())
	if c.XAuth.User != "" {
		// A second round follows the first in the order of the sections.
		var user vici.Message
		user.Set("auth", "xauth")
		if c.XAuth.Server {
			m.SetSection("remote-user", user)
		} else {
			user.Set("xauth_id", c.XAuth.User)
			m.SetSection("local-user", user)
		}
	}
	var children vici.Message
	for _, child := range c.Children {
		children.SetSection(child.Name, child.message())
	}
	m.SetSection("children", children)
	root.SetSection(c.Name, m)
	return root
}

func (a Auth) message() vici.Message {
	var m vici.Message
	m.Set("id", string(a.ID))
	if a.Method == "" {
		a.Method = "psk"
	}
	m.Set("auth", a.Method)
	return m
}

func (c Child) message() vici.Message {
	var m vici.Message
	m.SetList("local_ts", c.LocalTS...)
	m.SetList("remote_ts", c.RemoteTS...)
	m.SetList("esp_proposals", c.Proposals...)
	m.Set("mode", c.Mode)
	m.Set("rekey_time", seconds(c.RekeyTime))
	m.Set("life_time", seconds(c.LifeTime))
	m.Set("rekey_bytes", positive(c.RekeyBytes))
	m.Set("life_bytes", positive(c.LifeBytes))
	m.Set("rekey_packets", positive(c.RekeyPackets))
	m.Set("life_packets", positive(c.LifePackets))
	if c.RekeyTime != 0 || c.RekeyBytes != 0 || c.RekeyPackets != 0 {
		// A test that names a lifetime means it exactly.
		m.Set("rand_time", "0s")
		m.Set("rand_bytes", "0")
		m.Set("rand_packets", "0")
	}
	m.Set("start_action", c.StartAction)
	m.Set("close_action", c.CloseAction)
	m.Set("dpd_action", c.DPDAction)
	return m
}

// secret returns the connection's pre-shared key as load-shared wants it.
func (c Connection) secret() vici.Message {
	var m vici.Message
	m.Set("id", "psk-"+c.Name)
	m.Set("type", "IKE")
	m.Set("data", c.PSK)
	var owners []string
	for _, id := range []ID{c.Local.ID, c.Remote.ID} {
		if id != "" {
			owners = append(owners, string(id))
		}
	}
	m.SetList("owners", owners...)
	return m
}

// userSecret returns the password of XAUTH as load-shared wants it.
func (c Connection) userSecret() vici.Message {
	var m vici.Message
	m.Set("id", "xauth-"+c.Name)
	m.Set("type", "XAUTH")
	m.Set("data", c.XAuth.Password)
	m.SetList("owners", c.XAuth.User)
	return m
}

// String returns the connection in the notation of swanctl.conf, without its key.
func (c Connection) String() string {
	return fmt.Sprintf("connections {\n%v}\n", c.message())
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func positive(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// seconds is a time of swanctl.conf, which knows whole seconds.
func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) + "s" }

// lasting is seconds, and nothing for 0.
func lasting(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return seconds(d)
}
