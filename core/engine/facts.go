package engine

import (
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
)

// facts are what the engine must know of a tunnel to go on with it elsewhere. They
// travel as octets that nobody else reads, and a member that joins reads those of
// every tunnel: as a protobuf message, so that a later version may add some.
type facts struct {
	Name  string
	Index int
	// Number is of tun_id6.
	Number uint64
	// SPIs are those by which its IKE messages are known.
	SPIs []ipsec.IKESPI
	// Version is of IKE; 0 is 2.
	Version int
	// Address is what the peer was assigned.
	Address netip.Addr
	// Peer is where a peer of IKEv1 is, and Called where it was when it began phase 1.
	Peer, Called netip.AddrPort
	// Hash is that of the connection. Other members have hashes of their own.
	Hash string
}

// The numbers of the fields. They are never used for anything else.
const (
	factName = iota + 1
	factIndex
	factNumber
	factSPI
	factVersion
	factAddress
	factHash
	factPeer
	factPeerPort
	factCalled
	factCalledPort
)

func (f facts) marshal() []byte {
	w := field.NewWriter(make([]byte, 0, 64))
	w.String(factName, f.Name)
	w.Uint(factIndex, uint64(f.Index))
	w.Uint(factNumber, f.Number)
	for _, spi := range f.SPIs {
		w.Fixed64(factSPI, uint64(spi))
	}
	w.Uint(factVersion, uint64(f.Version))
	w.Addr(factAddress, f.Address)
	w.String(factHash, f.Hash)
	w.Addr(factPeer, f.Peer.Addr())
	w.Uint(factPeerPort, uint64(f.Peer.Port()))
	w.Addr(factCalled, f.Called.Addr())
	w.Uint(factCalledPort, uint64(f.Called.Port()))
	return w.Message()
}

// readFacts keeps nothing of b.
func readFacts(b []byte) (f facts, err error) {
	f.SPIs = make([]ipsec.IKESPI, 0, 1) // most often one
	for r := field.NewReader(b, &err); r.Next(); {
		switch r.Field() {
		case factName:
			f.Name = string(r.Bytes())
		case factIndex:
			f.Index = int(field.Narrow[uint32](&r, "index"))
		case factNumber:
			f.Number = r.Uint()
		case factSPI:
			f.SPIs = append(f.SPIs, ipsec.IKESPI(r.Fixed64()))
		case factVersion:
			f.Version = int(field.Narrow[uint8](&r, "version"))
		case factAddress:
			f.Address = r.Addr("address")
		case factHash:
			f.Hash = string(r.Bytes())
		case factPeer:
			f.Peer = netip.AddrPortFrom(r.Addr("peer"), f.Peer.Port())
		case factPeerPort:
			f.Peer = netip.AddrPortFrom(f.Peer.Addr(), field.Narrow[uint16](&r, "peer_port"))
		case factCalled:
			f.Called = netip.AddrPortFrom(r.Addr("called"), f.Called.Port())
		case factCalledPort:
			f.Called = netip.AddrPortFrom(f.Called.Addr(), field.Narrow[uint16](&r, "called_port"))
		}
	}
	if err != nil {
		return facts{}, fmt.Errorf("engine: read the facts of a tunnel: %w", err)
	}
	return f, nil
}
