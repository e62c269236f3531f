package strongswan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/vici"
)

// IKESA is an IKE SA as charon reports it.
type IKESA struct {
	Name                       string // of the connection
	ID                         uint32 // charon's own
	Version                    int
	State                      string // ESTABLISHED, CONNECTING, REKEYING, ...
	Local, Remote              netip.AddrPort
	LocalID, RemoteID          string
	Initiator                  bool
	InitiatorSPI, ResponderSPI uint64
	NATLocal, NATRemote        bool
	Encryption, Integrity      string // "AES_CBC-128", "HMAC_SHA2_256_128"
	PRF, DH                    string
	Established                time.Duration // since when, in whole seconds
	Children                   []ChildSA
}

// ChildSA is a pair of ESP SAs as charon reports it.
type ChildSA struct {
	Name                  string // of the child's configuration
	State                 string // INSTALLED, REKEYING, REKEYED, DELETING, ...
	Mode                  string // TUNNEL, TRANSPORT
	Encap                 bool   // in UDP
	SPIIn, SPIOut         uint32
	Encryption, Integrity string // "AES_GCM_16-128"
	DH                    string // of PFS
	BytesIn, PacketsIn    uint64
	BytesOut, PacketsOut  uint64
	LocalTS, RemoteTS     []string
}

// SAs returns all IKE SAs with their children. A value that charon reports in
// a form that is not understood ends the test.
func (d *Daemon) SAs() []IKESA {
	d.tb.Helper()
	var out []IKESA
	var parseErr error
	_, err := d.stream(commandLimit, "list-sas", vici.Message{}, "list-sa", func(m vici.Message) {
		for name, sa := range m.Sections {
			parsed, err := parseIKESA(name, sa)
			if err != nil && parseErr == nil {
				parseErr = err
			}
			out = append(out, parsed)
		}
	})
	if err == nil {
		err = parseErr
	}
	if err != nil {
		d.tb.Fatalf("strongswan: list SAs: %v", err)
	}
	return out
}

// Child returns the only Child SA of that configuration that is installed, and
// ends the test when there is none or more than one.
func (d *Daemon) Child(name string) ChildSA {
	d.tb.Helper()
	sa, err := onlyChild(d.SAs(), name)
	if err != nil {
		d.tb.Fatalf("strongswan: %v", err)
	}
	return sa
}

// WaitChild is Child that waits until it is so. An IKEv1 responder, for one,
// installs its Child SA only after its initiator.
func (d *Daemon) WaitChild(name string, limit time.Duration) ChildSA {
	d.tb.Helper()
	var sa ChildSA
	netlab.Eventually(d.tb, limit, "Child SA "+name+" is installed", func() (err error) {
		sa, err = onlyChild(d.SAs(), name)
		return err
	})
	return sa
}

func onlyChild(sas []IKESA, name string) (ChildSA, error) {
	var found []ChildSA
	for _, sa := range sas {
		for _, child := range sa.Children {
			if child.Name == name && child.State == "INSTALLED" {
				found = append(found, child)
			}
		}
	}
	if len(found) != 1 {
		return ChildSA{}, fmt.Errorf("%d Child SAs named %s are installed, want 1, among %+v", len(found), name, sas)
	}
	return found[0], nil
}

// IKE returns the only IKE SA of that connection that is established, and ends
// the test when there is none or more than one.
func (d *Daemon) IKE(connection string) IKESA {
	d.tb.Helper()
	var found []IKESA
	sas := d.SAs()
	for _, sa := range named(sas, connection) {
		if sa.State == "ESTABLISHED" {
			found = append(found, sa)
		}
	}
	if len(found) != 1 {
		d.tb.Fatalf("strongswan: %d IKE SAs named %s are established, want 1, among %+v", len(found), connection, sas)
	}
	return found[0]
}

func named(sas []IKESA, connection string) []IKESA {
	var out []IKESA
	for _, sa := range sas {
		if sa.Name == connection {
			out = append(out, sa)
		}
	}
	return out
}

// spisOf returns the inbound SPIs of the installed Child SAs of that name.
func spisOf(sas []IKESA, child string) map[uint32]bool {
	spis := map[uint32]bool{}
	for _, sa := range sas {
		for _, c := range sa.Children {
			if c.Name == child && c.State == "INSTALLED" {
				spis[c.SPIIn] = true
			}
		}
	}
	return spis
}

func parseIKESA(name string, m vici.Message) (IKESA, error) {
	r := reader{m: m}
	sa := IKESA{
		Name: name, ID: uint32(r.number("uniqueid", 10, 32)), Version: int(r.number("version", 10, 8)), State: m.Get("state"),
		Local: r.endpoint("local"), Remote: r.endpoint("remote"), LocalID: m.Get("local-id"), RemoteID: m.Get("remote-id"),
		Initiator:    m.Get("initiator") == "yes",
		InitiatorSPI: r.number("initiator-spi", 16, 64), ResponderSPI: r.number("responder-spi", 16, 64),
		NATLocal: m.Get("nat-local") == "yes", NATRemote: m.Get("nat-remote") == "yes",
		Encryption: algorithm(m, "encr"), Integrity: algorithm(m, "integ"), PRF: m.Get("prf-alg"), DH: m.Get("dh-group"),
		Established: time.Duration(r.number("established", 10, 31)) * time.Second,
	}
	for _, child := range m.Section("child-sas").Sections {
		parsed, err := parseChildSA(child)
		if err != nil && r.err == nil {
			r.err = err
		}
		sa.Children = append(sa.Children, parsed)
	}
	if r.err != nil {
		return sa, fmt.Errorf("parse IKE SA %s: %w", name, r.err)
	}
	return sa, nil
}

func parseChildSA(m vici.Message) (ChildSA, error) {
	r := reader{m: m}
	sa := ChildSA{
		Name: m.Get("name"), State: m.Get("state"), Mode: m.Get("mode"), Encap: m.Get("encap") == "yes",
		SPIIn: uint32(r.number("spi-in", 16, 32)), SPIOut: uint32(r.number("spi-out", 16, 32)),
		Encryption: algorithm(m, "encr"), Integrity: algorithm(m, "integ"), DH: m.Get("dh-group"),
		BytesIn: r.number("bytes-in", 10, 64), PacketsIn: r.number("packets-in", 10, 64),
		BytesOut: r.number("bytes-out", 10, 64), PacketsOut: r.number("packets-out", 10, 64),
		LocalTS: m.List("local-ts"), RemoteTS: m.List("remote-ts"),
	}
	if r.err != nil {
		return sa, fmt.Errorf("parse Child SA %s: %w", sa.Name, r.err)
	}
	return sa, nil
}

// algorithm returns name or name-keysize.
func algorithm(m vici.Message, prefix string) string {
	name, size := m.Get(prefix+"-alg"), m.Get(prefix+"-keysize")
	if size == "" {
		return name
	}
	return name + "-" + size
}

// reader keeps the first error.
type reader struct {
	m   vici.Message
	err error
}

// number reads a value that may be missing, which is 0: charon leaves out what
// an SA does not have yet.
func (r *reader) number(name string, base, bits int) uint64 {
	text := r.m.Get(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, base, bits)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
	return n
}

// endpoint reads side-host and side-port; an SA that waits may have neither.
func (r *reader) endpoint(side string) netip.AddrPort {
	host := strings.TrimPrefix(r.m.Get(side+"-host"), "%any")
	if host == "" {
		return netip.AddrPort{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s-host: %w", side, err)
	}
	return netip.AddrPortFrom(addr, uint16(r.number(side+"-port", 10, 16)))
}
