package diag

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// StandalonePeers is what a member knows of its group.
type StandalonePeers struct {
	Group  uint8          `json:"group"`
	Member ipsec.MemberID `json:"member"`
	// Peers are all other members that are configured, in the configuration's order.
	Peers []StandalonePeer `json:"peers"`
	// Links are the interfaces of all members, this one included, by member id. A
	// member that is not there, or that never told, has none.
	Links [ipsec.MaxMembers][]Link `json:"links"`
}

// StandalonePeer is another member, seen from here.
type StandalonePeer struct {
	// Address is its peerip, and the port of the group.
	Address netip.AddrPort `json:"address"`
	// Member is nil as long as neither the configuration nor a certificate says it.
	Member *ipsec.MemberID `json:"member"`
	// Detected: it is alive, and has proved that it is a member of the group.
	Detected bool `json:"detected"`
	// Synced: it holds all that is ours, Complete: we hold all that is its.
	Synced   bool `json:"synced"`
	Complete bool `json:"complete"`
	// Sessions counts records of the state of tunnels, as they were sent to this
	// peer and taken from it, since the gateway started. FortiOS counts messages
	// about its sessions here.
	Sessions Exchanged `json:"sessions"`
	// Packets counts the packets of tunnels that were handed to this peer because it
	// owns the tunnel, and that it handed to us; since the gateway started. IKE
	// messages of clients are among them, and packets for clients, which go by Link.
	Packets Exchanged `json:"packets"`
	// Link carries packets of the second kind; nil where the members have not met.
	Link *MemberLink `json:"link,omitempty"`
	// Protocol is the version in which we tell it of our tunnels.
	Protocol uint16 `json:"protocol,omitempty"`
	// Queue is what waits for it.
	Queue MemberQueue `json:"queue"`
	// Trouble says what keeps us from being standbys of each other, one sentence
	// each: a phase 1 that differs, a peer that is another member than the
	// configuration says, one that is too slow. Empty where all is well.
	Trouble []string `json:"trouble,omitempty"`
}

// MemberQueue is what waits for another member: a client gets its answer, and an
// owner more sequence numbers, only once others have the record of it.
type MemberQueue struct {
	// Records and Octets are what it has not carried out yet.
	Records int `json:"records"`
	Octets  int `json:"octets"`
	// Lag is how long it takes for that, as it was measured last or is under way.
	Lag time.Duration `json:"lag_ns"`
	// FellOut is how often the queue was full: the member gets everything anew then.
	FellOut uint64 `json:"fell_out"`
	// Dropped are frames, of clients' packets for instance, for which there was no room
	// on the way to it.
	Dropped uint64 `json:"dropped"`
}

// slow is a lag that an operator should look at. A record takes a few milliseconds,
// and some hundred while a member gets all there is.
const slow = time.Second

// Trouble says that the member is too slow, empty when it is not.
func (q MemberQueue) Trouble() string {
	if q.Records == 0 || q.Lag < slow {
		return ""
	}
	return fmt.Sprintf("%d records (%d octets) wait for it, which takes %v; it fell out %d times", q.Records, q.Octets, q.Lag.Round(time.Millisecond), q.FellOut)
}

// Exchanged counts both ways.
type Exchanged struct {
	Sent     uint64 `json:"send"`
	Received uint64 `json:"recv"`
}

// Detected counts the peers that are there.
func (s StandalonePeers) Detected() int {
	n := 0
	for _, p := range s.Peers {
		if p.Detected {
			n++
		}
	}
	return n
}

// WriteStandalonePeers prints the members as FortiOS does, all 16 slots of them
// (F16-F18). A peer in trouble has lines that FortiOS does not know, below its own.
func WriteStandalonePeers(w io.Writer, s StandalonePeers) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "Group=%d, ID=%d\n", s.Group, s.Member)
	fmt.Fprintf(b, "Detected-peers=%d\n", s.Detected())
	fmt.Fprintf(b, "Kernel standalone-peers: num=%d.\n", len(s.Peers))
	for i, p := range s.Peers {
		p.write(b, i)
	}
	fmt.Fprintln(b, "Kernel standalone dev_base:")
	for id, links := range s.Links {
		fmt.Fprintf(b, "        standalone_id=%d:\n", id)
		for i, l := range links {
			fmt.Fprintf(b, "                phyindex=%d: mac=%s, linkfail=%d\n", i, l.MAC, bit(l.Up))
		}
	}
	return b.Flush()
}

// write prints one peer. There are no virtual domains: vfid is always 0.
func (p StandalonePeer) write(w io.Writer, i int) {
	id := "unknown"
	if p.Member != nil {
		id = fmt.Sprint(*p.Member)
	}
	fmt.Fprintf(w, "peer%d: vfid=0, peerip:port = %v, standalone_id=%s\n", i, endpoint(p.Address), id)
	fmt.Fprintf(w, "        session-type: send=%d, recv=%d\n", p.Sessions.Sent, p.Sessions.Received)
	fmt.Fprintf(w, "         packet-type: send=%d, recv=%d\n", p.Packets.Sent, p.Packets.Received)
	for _, t := range p.Trouble {
		fmt.Fprintf(w, "        trouble: %s\n", t)
	}
}
