package v1

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Transactions: XAUTH and mode config (draft-beaulieu-ike-xauth,
// draft-dukes-ike-mode-cfg). Both ask with a REQUEST that a REPLY answers, or tell
// with a SET that an ACK answers.

// purpose is what a transaction of ours is for.
type purpose uint8

const (
	askUser  purpose = iota + 1 // who is there
	tellUser                    // whether he is let in
	askAddress
	tellAddress
)

// transaction is what we remember of one that we began.
type transaction struct {
	purpose purpose
	// user is whom tellUser lets in; empty for a refusal.
	user string
}

// transact starts a transaction.
func (t *Tunnel) transact(sa *isakmpSA, tr transaction, kind wire.ConfigType, list ...wire.Attribute) {
	x := t.begin(sa, wire.Transaction, task{})
	x.transaction = &tr
	if !t.emitHashed(x, true, nil, &wire.Config{Kind: kind, Identifier: uint16(x.id), Attributes: list}) {
		t.dropExchanges(func(o *exchange) bool { return o == x })
	}
}

// answer ends a transaction that the peer began.
func (t *Tunnel) answer(x *exchange, kind wire.ConfigType, identifier uint16, list ...wire.Attribute) {
	t.emitHashed(x, false, nil, &wire.Config{Kind: kind, Identifier: identifier, Attributes: list})
	t.over(x)
}

// onTransaction handles an authentic message of a transaction.
func (t *Tunnel) onTransaction(x *exchange, payloads []wire.Payload) {
	c := wire.Find[*wire.Config](payloads)
	if c == nil {
		t.drop(ike.DropMalformed)
		t.heardLast(x)
		return
	}
	if x.initiator {
		t.heardLast(x)
		switch x.transaction.purpose {
		case askUser:
			t.checkUser(x.sa, c)
		case tellUser:
			t.userTold(x)
		case askAddress:
			t.onAddress(x.sa, c)
		case tellAddress:
			t.take(x.sa)
		}
		return
	}
	_, user := c.Get(wire.XAuthUserName)
	_, password := c.Get(wire.XAuthUserPassword)
	status, ended := c.Get(wire.XAuthStatus)
	switch {
	case c.Kind == wire.CFGRequest && (user || password):
		t.sayUser(x, c)
	case c.Kind == wire.CFGSet && ended:
		t.onStatus(x, c, status)
	case c.Kind == wire.CFGRequest:
		t.serveAddress(x, c)
	case c.Kind == wire.CFGSet:
		t.acceptAddress(x, c)
	default:
		t.drop(ike.DropUnexpected)
		t.heardLast(x)
	}
}

// askUser asks who is there.
func (t *Tunnel) askUser(sa *isakmpSA) {
	t.transact(sa, transaction{purpose: askUser}, wire.CFGRequest,
		wire.Attribute{Type: wire.XAuthUserName}, wire.Attribute{Type: wire.XAuthUserPassword})
}

// checkUser looks whether the user is one of ours, and tells him.
func (t *Tunnel) checkUser(sa *isakmpSA, c *wire.Config) {
	name, _ := c.Get(wire.XAuthUserName)
	given, _ := c.Get(wire.XAuthUserPassword)
	password := ipsec.CopyKey(given.Value)
	defer password.Wipe()
	in := false
	for _, u := range t.users() {
		if u.Name == string(name.Value) && u.Password.Len() > 0 && u.Password.Equal(password) {
			in = true
		}
	}
	if in && t.setup == nil && t.user != string(name.Value) {
		in = false // a rekeying is by the same user
	}
	if !in {
		t.log.Warn("user was not let in", "user", string(name.Value), "remote", t.remote, "check", "the name and password of the user")
		t.transact(sa, transaction{purpose: tellUser}, wire.CFGSet, wire.Number(wire.XAuthStatus, 0))
		return
	}
	t.transact(sa, transaction{purpose: tellUser, user: string(name.Value)}, wire.CFGSet, wire.Number(wire.XAuthStatus, 1))
}

// users are those whom we let in today: they may have changed since the tunnel was
// made, and whoever is not one of them any more ends with his phase 1.
func (t *Tunnel) users() []ike.User {
	if c := t.policy.Named(t.conn.Name); c != nil && c.V1 != nil {
		return c.V1.XAuth.Users
	}
	return t.conn.V1.XAuth.Users
}

// userTold goes on when the user knows whether he is let in.
func (t *Tunnel) userTold(x *exchange) {
	if x.transaction.user == "" {
		t.deleteISAKMP(x.sa)
		t.refusePhase1(x.sa, ike.FailIdentity, errRefused)
		return
	}
	t.user = x.transaction.user
	t.configure(x.sa)
}

// sayUser tells who we are.
func (t *Tunnel) sayUser(x *exchange, c *wire.Config) {
	as := t.conn.V1.XAuth.As
	if as == nil || x.sa.stage != stageXAuth {
		t.drop(ike.DropUnexpected)
		t.heardLast(x)
		return
	}
	var list []wire.Attribute
	for _, a := range c.Attributes {
		switch a.Type {
		case wire.XAuthUserName:
			list = append(list, wire.Attribute{Type: a.Type, Value: []byte(as.Name)})
		case wire.XAuthUserPassword:
			list = append(list, wire.Attribute{Type: a.Type, Value: as.Password.Reveal()})
		case wire.XAuthType:
			list = append(list, a)
		}
	}
	t.answer(x, wire.CFGReply, c.Identifier, list...)
}

// onStatus learns whether we are let in.
func (t *Tunnel) onStatus(x *exchange, c *wire.Config, status wire.Attribute) {
	if t.conn.V1.XAuth.As == nil || x.sa.stage != stageXAuth {
		t.drop(ike.DropUnexpected)
		t.heardLast(x)
		return
	}
	t.answer(x, wire.CFGAck, c.Identifier, wire.Attribute{Type: wire.XAuthStatus, Short: true, Value: []byte{0, 0}})
	if v, ok := status.Uint(); !ok || v != 1 {
		t.log.Warn("peer does not let us in", "user", t.conn.V1.XAuth.As.Name, "check", "the name and password of the user")
		t.refusePhase1(x.sa, ike.FailIdentity, errRefused)
		return
	}
	t.configure(x.sa)
}

// configure goes on with mode config when the peer, and where XAUTH is used the
// user, is known. A rekeying has its address already.
func (t *Tunnel) configure(sa *isakmpSA) {
	c := t.conn.V1.Config
	if t.setup == nil || c.Role == ike.ModeConfigNone || t.predecessor() != nil {
		t.take(sa)
		return
	}
	switch {
	case c.Role == ike.ModeConfigClient:
		sa.stage = stageConfig
		t.state = ike.StateAuth
		if !c.Push {
			t.transact(sa, transaction{purpose: askAddress}, wire.CFGRequest,
				wire.Attribute{Type: wire.InternalIP4Address}, wire.Attribute{Type: wire.InternalIP4Netmask}, wire.Attribute{Type: wire.InternalIP4DNS})
		}
	case c.Push:
		sa.stage = stageConfig
		t.state = ike.StateAuth
		list := t.assigned(nil, true)
		if list == nil {
			t.deleteISAKMP(sa)
			t.refusePhase1(sa, ike.FailOther, errNoAddress)
			return
		}
		t.transact(sa, transaction{purpose: tellAddress}, wire.CFGSet, list...)
	default:
		t.take(sa)
	}
}

// onAddress learns our address from the answer to our request.
func (t *Tunnel) onAddress(sa *isakmpSA, c *wire.Config) {
	if !t.adopt(c) {
		t.log.Warn("peer assigns no address", "remote", t.remote, "check", "the peer's pool")
		t.deleteISAKMP(sa)
		t.refusePhase1(sa, ike.FailOther, errNoAddress)
		return
	}
	t.take(sa)
}

// acceptAddress learns our address unasked.
func (t *Tunnel) acceptAddress(x *exchange, c *wire.Config) {
	role := t.conn.V1.Config
	if role.Role != ike.ModeConfigClient || !role.Push || !t.adopt(c) {
		t.drop(ike.DropUnexpected)
		t.heardLast(x)
		return
	}
	list := make([]wire.Attribute, len(c.Attributes))
	for i, a := range c.Attributes {
		list[i] = wire.Attribute{Type: a.Type} // an ACK lists what was accepted, without values
	}
	t.answer(x, wire.CFGAck, c.Identifier, list...)
	if x.sa.stage == stageConfig {
		t.take(x.sa)
	}
}

// adopt takes the address that the peer assigns to us.
func (t *Tunnel) adopt(c *wire.Config) bool {
	a, ok := c.Get(wire.InternalIP4Address)
	addr, valid := netip.AddrFromSlice(a.Value)
	if !ok || !valid || !addr.Is4() || addr.IsUnspecified() {
		return false
	}
	t.internal = addr
	t.log.Info("internal address assigned", "address", addr.String())
	return true
}

// serveAddress answers a request for an address.
func (t *Tunnel) serveAddress(x *exchange, c *wire.Config) {
	if t.conn.V1.Config.Role != ike.ModeConfigServer || x.sa.stage != stageUp {
		t.answer(x, wire.CFGReply, c.Identifier)
		return
	}
	t.answer(x, wire.CFGReply, c.Identifier, t.assigned(c.Attributes, false)...)
}

// assigned are the attributes that we assign: those that are asked for, or all.
func (t *Tunnel) assigned(asked []wire.Attribute, all bool) []wire.Attribute {
	var wish netip.Addr
	wants := func(kind uint16) bool {
		for _, a := range asked {
			if a.Type == kind {
				return true
			}
		}
		return all
	}
	for _, a := range asked {
		if addr, ok := netip.AddrFromSlice(a.Value); ok && a.Type == wire.InternalIP4Address && addr.Is4() {
			wish = addr
		}
	}
	if !wants(wire.InternalIP4Address) || !t.assign(wish) {
		return nil
	}
	list := []wire.Attribute{{Type: wire.InternalIP4Address, Value: t.internal.AsSlice()}}
	if wants(wire.InternalIP4Netmask) {
		list = append(list, wire.Attribute{Type: wire.InternalIP4Netmask, Value: []byte{255, 255, 255, 255}})
	}
	for _, dns := range t.conn.V1.Config.DNS {
		if wants(wire.InternalIP4DNS) && dns.Is4() {
			list = append(list, wire.Attribute{Type: wire.InternalIP4DNS, Value: dns.AsSlice()})
		}
	}
	for _, p := range t.conn.V1.Config.Subnets {
		if wants(wire.InternalIP4Subnet) && p.Addr().Is4() {
			s := ipsec.SelectorOf(p)
			list = append(list, wire.Attribute{Type: wire.InternalIP4Subnet, Value: append(s.Min.AsSlice(), netmask(p)...)})
		}
	}
	return list
}

func netmask(p netip.Prefix) []byte {
	b := make([]byte, 4)
	for i := range p.Bits() {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// assign gives the peer an address, the one that it has already where it has one.
func (t *Tunnel) assign(wish netip.Addr) bool {
	if t.internal.IsValid() {
		return true
	}
	if t.pool == nil {
		return false
	}
	addr, ok := t.pool.Assign(t.id, t.conn, wish)
	if !ok {
		t.env.Stats.Failures[ike.FailOther]++
		t.log.Warn("no internal address is free", "remote", t.remote, "check", "the size of the pool")
		return false
	}
	t.internal = addr
	t.log.Info("internal address assigned", "address", addr.String(), "user", t.user)
	return true
}
