package diag

import (
	"net/netip"
	"time"
)

// Tunnel is one entry of the tunnel list.
type Tunnel struct {
	Name    string `json:"name"`
	Phase1  string `json:"phase1"`
	Version int    `json:"ike_version"`
	// Serial is a local number, not replicated.
	Serial uint64 `json:"serial"`
	// Index is that of a dialup instance.
	Index     int    `json:"index"`
	Dialup    bool   `json:"dialup"`
	Interface string `json:"interface,omitempty"`
	// BoundIf is the kernel's number of that interface, 0 when it has none.
	BoundIf int `json:"bound_if"`

	// Local and Remote are the outer addresses; the ports are 0 for raw ESP.
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// TunnelID is the remote gateway's address; TunnelID6 a number of the
	// tunnel, written as FortiOS does, ::10.0.0.15. Both are the same on all members.
	TunnelID  netip.Addr `json:"tun_id"`
	TunnelID6 netip.Addr `json:"tun_id6"`

	LocalID  string `json:"local_id"`
	RemoteID string `json:"remote_id"`
	// Suite are the algorithms of the IKE SA.
	Suite string `json:"ike_suite"`
	// SPIs of the IKE SA, initiator and responder.
	IKESPIs     [2]string     `json:"ike_spis"`
	Established time.Duration `json:"established_ns"`

	// Role is primary for a tunnel that no other member holds, sync-primary for one
	// that another does, standby for one that another owns.
	Role string `json:"role"`
	// AcceptTraffic is true for standbys too: the first packets of a failover come
	// before anybody knows of it.
	AcceptTraffic bool `json:"accept_traffic"`
	// PathMTU is the outer path MTU in octets, 0 for unknown.
	PathMTU int     `json:"dst_mtu"`
	Options Options `json:"options"`
	// IdleIn and IdleOut are the times since the last packet; negative for
	// never.
	IdleIn  time.Duration `json:"idle_in_ns"`
	IdleOut time.Duration `json:"idle_out_ns"`

	Packets Traffic `json:"packets"`
	Bytes   Traffic `json:"bytes"`

	DPD     DPD     `json:"dpd"`
	NATT    NATT    `json:"natt"`
	Proxies []Proxy `json:"proxies"`
	// Routes are the prefixes that point into the tunnel.
	Routes []netip.Prefix `json:"routes,omitempty"`
}

// Traffic counts in and out.
type Traffic struct {
	In  uint64 `json:"in"`
	Out uint64 `json:"out"`
}

// DPD is dead peer detection.
type DPD struct {
	Mode     string        `json:"mode"` // on-idle, on-demand, off
	Interval time.Duration `json:"interval_ns"`
	Retries  int           `json:"retries"`
	// Count is how many probes in a row are unanswered, Seqno how many were
	// sent.
	Count int    `json:"count"`
	Seqno uint64 `json:"seqno"`
}

// NATT is NAT traversal.
type NATT struct {
	// Mode is none; keepalive when we are behind a NAT and keep it open; silent
	// when ESP is in UDP and the peer keeps it open.
	Mode       string        `json:"mode"`
	Interval   time.Duration `json:"interval_ns"`
	RemotePort uint16        `json:"remote_port"`
}

// Proxy is a phase 2 entry of a tunnel with its SAs, the newest first.
type Proxy struct {
	Name string `json:"name"`
	// Serial is a local number, not replicated.
	Serial   uint64   `json:"serial"`
	Proto    uint8    `json:"proto"`
	AddRoute bool     `json:"add_route"`
	Mode     string   `json:"mode"`
	Src      []string `json:"src"`
	Dst      []string `json:"dst"`
	SAs      []SA     `json:"sas"`
}

// SA is a pair of SAs, one for each direction.
type SA struct {
	Options SAOptions `json:"options"`
	// MTU is the largest inner packet in octets.
	MTU int `json:"mtu"`
	// Expire is the time left until the SA is replaced; ExpireBytes the bytes
	// left, 0 for no such limit.
	Expire      time.Duration `json:"expire_ns"`
	ExpireBytes uint64        `json:"expire_bytes"`
	// Soft and Hard are the limits of time, Limit the one of bytes.
	Soft  time.Duration `json:"soft_ns"`
	Hard  time.Duration `json:"hard_ns"`
	Limit uint64        `json:"limit_bytes"`
	// SoftPassed: a successor is being made.
	SoftPassed   bool   `json:"soft_passed"`
	ReplayWindow uint32 `json:"replaywin"`
	// Seqno is the next outbound number, on a standby the one that it would begin
	// with; LastSeq is the highest inbound one.
	Seqno   uint64 `json:"seqno"`
	LastSeq uint64 `json:"replaywin_lastseq"`
	ESN     bool   `json:"esn"`
	// Ceiling is the last outbound number of the present lease.
	Ceiling  uint64  `json:"ceiling"`
	Dec      Half    `json:"dec"`
	Enc      Half    `json:"enc"`
	Packets  Traffic `json:"packets"`
	Bytes    Traffic `json:"bytes"`
	NPU      NPU     `json:"npu"`
	Rekeying bool    `json:"rekeying"`
	// Relayed are the packets that a standby has given to the owner over a link.
	Relayed uint64 `json:"relayed,omitempty"`
	// Drops of both directions, by reason; reasons without drops are left out.
	Drops map[string]uint64 `json:"drops,omitempty"`
}

// Half is one direction of an SA. The keys are there only when they were asked
// for.
type Half struct {
	SPI     string `json:"spi"`
	Cipher  string `json:"cipher"`
	KeyLen  int    `json:"key_len"`
	Key     string `json:"key,omitempty"`
	Hash    string `json:"hash"`
	HashLen int    `json:"hash_len"`
	HashKey string `json:"hash_key,omitempty"`
}

// NPU is where the two directions run.
type NPU struct {
	Flag     uint8  `json:"flag"`
	Selector uint32 `json:"selid"`
	Dec      uint32 `json:"dec_npuid"`
	Enc      uint32 `json:"enc_npuid"`
	// WhyNot says for each direction why it is in no NPU.
	WhyNotDec string `json:"dec_why_not,omitempty"`
	WhyNotEnc string `json:"enc_why_not,omitempty"`
}

// Options is the options[] mask of a tunnel. The bits that FortiOS prints
// without a name are not listed.
type Options uint32

// The bits, derived from the masks and names that FortiOS prints.
const (
	OptNPU            Options = 0x0008 // the dataplane has NPUs
	OptCreateDev      Options = 0x0010
	OptRemoteChanged  Options = 0x0080 // the peer's address was learned
	OptPortChanged    Options = 0x0100 // the peer's port was learned
	OptFragmentation  Options = 0x0200 // RFC 7383
	OptDialupInstance Options = 0x2000
)

// SAOptions is the options= mask of an SA. No public list of its bits exists;
// ours are below.
type SAOptions uint32

// The bits.
const (
	SAOptReplay    SAOptions = 0x002 // anti-replay
	SAOptUDP       SAOptions = 0x008 // UDP encapsulation
	SAOptESN       SAOptions = 0x020
	SAOptIKE       SAOptions = 0x080 // keyed by IKE
	SAOptTransport SAOptions = 0x100
	SAOptTunnel    SAOptions = 0x200
	SAOptDialup    SAOptions = 0x400
)
