package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/xfrm/nl"
)

// The names in the table.
const (
	setTold  = "told"
	setNotes = "notes"
)

// standby names the chain of a group's standby SAs.
func standby(d ipsec.Direction, group uint8) string {
	return mapOf(d) + "-standby-" + strconv.Itoa(int(group))
}

// groups is how many groups there are.
const groups = ipsec.MaxMembers

// Gate is the table of one network namespace. Its methods, Wait aside, are for one
// goroutine at a time.
type Gate struct {
	table string
	group uint16
	ask   *nl.Socket // requests and their answers
	tells *nl.Socket // NFLOG
	guard *nl.Socket // changes of tables by others
	// device is the interface of tunnels; 0 where nothing is relayed.
	device uint32
}

// Open opens the gate of the calling thread's network namespace, with the table's
// name and the NFLOG group, which nobody else may use. It changes nothing. Errors
// say what the kernel lacks.
func Open(table string, group uint16) (*Gate, error) {
	g := &Gate{table: table, group: group}
	for _, s := range []**nl.Socket{&g.ask, &g.tells, &g.guard} {
		var err error
		if *s, err = nl.Open(unix.NETLINK_NETFILTER); err != nil {
			return nil, errors.Join(fmt.Errorf("gate: %w (CONFIG_NETFILTER_NETLINK)", err), g.Close())
		}
	}
	if err := g.guard.Join(unix.NFNLGRP_NFTABLES); err != nil {
		return nil, errors.Join(fmt.Errorf("gate: watch tables: %w", err), g.Close())
	}
	if err := g.bind(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Close lets go of the kernel. The gate stays as it is.
func (g *Gate) Close() error {
	var failed []error
	for _, s := range []*nl.Socket{g.ask, g.tells, g.guard} {
		if s != nil {
			failed = append(failed, s.Close())
		}
	}
	return errors.Join(failed...)
}

// Begin makes an empty transaction.
func (g *Gate) Begin() *Transaction {
	return &Transaction{table: g.table, family: inet, group: g.group}
}

// Build makes the table, as far as it is not there, with all groups disarmed. What
// is held back stays so, and notes stay.
func (g *Gate) Build() error {
	t := g.Begin()
	t.newTable()
	t.newSet(setTold, 1, setPlain)
	t.newSet(setNotes, 2, setPlain)
	t.newSet(setLate, 5, setPlain)
	t.newSet(setAside, 6, setCounting)
	for n := range uint8(groups) {
		t.newChain(standby(ipsec.Inbound, n))
		t.newChain(standby(ipsec.Outbound, n))
		t.Disarm(n)
	}
	for i, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
		t.newSet(mapOf(d), uint32(3+i), setVerdicts)
	}
	t.newBaseChain("prerouting", hookPrerouting, priority)
	t.newBaseChain("postrouting", hookPostrouting, priority)
	t.rules("prerouting", []expression{loadReqID(xfrmIn), follow("in")})
	t.rules("postrouting", []expression{loadReqID(xfrmOut), follow("out")})
	err := g.Apply(t)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("gate: build table %s: the kernel lacks nf_tables (CONFIG_NF_TABLES_INET), nft_xfrm, nft_limit or nft_log (NFLOG): %w", g.table, err)
	case err != nil:
		return fmt.Errorf("gate: build table %s: %w", g.table, err)
	case g.Relays():
		return g.BuildRelay(g.device)
	default:
		return nil
	}
}

// Apply makes the changes of t, all or none. Empty ones are free.
func (g *Gate) Apply(t *Transaction) error {
	if t.err != nil || len(t.requests) == 0 {
		return t.err
	}
	mark := func(typ netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
		}
	}
	all := append([]netlink.Message{mark(unix.NFNL_MSG_BATCH_BEGIN)}, t.requests...)
	last := &all[len(all)-1]
	last.Header.Flags |= netlink.Acknowledge
	answers, err := g.ask.Exchange(append(all, mark(unix.NFNL_MSG_BATCH_END))...)
	switch {
	case err != nil:
		return fmt.Errorf("gate: change table %s: %w", g.table, err)
	case len(answers) == 0:
		return fmt.Errorf("gate: change table %s: the kernel has no nf_tables (CONFIG_NF_TABLES)", g.table)
	default:
		return nil
	}
}

// Wait returns when Read or Lost may have something, or with an error after Close.
func (g *Gate) Wait() error { return g.tells.Wait() }

// Lost tells, once each time, that somebody removed the table. It does not wait.
func (g *Gate) Lost() (lost bool, err error) {
	overrun, err := g.guard.Read(func(m netlink.Message) {
		if uint16(m.Header.Type) == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE {
			lost = lost || g.ours(m.Data)
		}
	})
	if err != nil {
		return false, fmt.Errorf("gate: watch tables: %w", err)
	}
	if overrun && !lost {
		lost = g.missing()
	}
	return lost, nil
}

// GuardWait returns when Lost may have something, or with an error after Close.
func (g *Gate) GuardWait() error { return g.guard.Wait() }

// ours tells whether a message is about our table.
func (g *Gate) ours(b []byte) bool {
	name := ""
	each(b, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == unix.NFTA_TABLE_NAME {
			name = ad.String()
		}
	})
	return name == g.table
}

func (g *Gate) missing() bool {
	data, err := encode(func(ae *attributes) { ae.String(unix.NFTA_TABLE_NAME, g.table) })
	if err != nil {
		return false
	}
	_, err = g.ask.Exchange(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append([]byte{inet, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	return errors.Is(err, unix.ENOENT)
}

// each reads the attributes behind a message's header. What does not parse ends
// it.
func each(b []byte, read func(*netlink.AttributeDecoder)) {
	if len(b) < 4 {
		return
	}
	ad, err := netlink.NewAttributeDecoder(b[4:])
	if err != nil {
		return
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		read(ad)
	}
}
