package xfrmnl

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/xfrm/nl"
)

// Conn makes requests of the kernel. It is safe for concurrent use.
type Conn struct {
	requests *netlink.Conn
	ends     *nl.Socket // for Final
}

// Open opens a Conn in the network namespace of the calling thread. Errors say
// what the kernel lacks.
func Open() (*Conn, error) {
	requests, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return nil, fmt.Errorf("xfrmnl: open a socket: the kernel has no XFRM netlink (CONFIG_XFRM_USER, module xfrm_user): %w", err)
	case err != nil:
		return nil, fmt.Errorf("xfrmnl: open a socket: %w", err)
	}
	// Kernels since 4.12 say in words what they refuse; older ones go on without.
	_ = requests.SetOption(netlink.ExtendedAcknowledge, true)
	ends, err := nl.Open(unix.NETLINK_XFRM)
	if err != nil {
		return nil, errors.Join(err, requests.Close())
	}
	return &Conn{requests, ends}, nil
}

// Close ends the Conn.
func (c *Conn) Close() error { return errors.Join(c.requests.Close(), c.ends.Close()) }

func (c *Conn) do(what string, typ uint16, flags netlink.HeaderFlags, data []byte, err error) ([]netlink.Message, error) {
	if err != nil {
		return nil, fmt.Errorf("xfrmnl: %s: %w", what, err)
	}
	answer, err := c.requests.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request | flags}, Data: data,
	})
	if err != nil {
		return nil, fmt.Errorf("xfrmnl: %s: %w", what, plain(err))
	}
	return answer, nil
}

// plain leaves what the kernel said of an error, without the library's account of
// the socket.
func plain(err error) error {
	var op *netlink.OpError
	if !errors.As(err, &op) {
		return err
	}
	if op.Message != "" {
		return fmt.Errorf("%w (%s)", op.Err, op.Message)
	}
	return op.Err
}

// AddState installs a state; unix.EEXIST when one of its name is there.
func (c *Conn) AddState(s State) error {
	data, err := s.marshal()
	_, err = c.do(fmt.Sprintf("add state %v", s.SPI), msgNewSA, netlink.Acknowledge, data, err)
	return err
}

// UpdateState changes the limits, selector and UDP ports of a state, and nothing
// else of it. Limits that are reached already take effect at once.
func (c *Conn) UpdateState(s State) error {
	data, err := s.marshal()
	_, err = c.do(fmt.Sprintf("update state %v", s.SPI), msgUpdSA, netlink.Acknowledge, data, err)
	return err
}

// DeleteState removes a state; unix.ESRCH when it is not there.
func (c *Conn) DeleteState(s State) error {
	data, err := s.marshalID()
	_, err = c.do(fmt.Sprintf("delete state %v", s.SPI), msgDelSA, netlink.Acknowledge, data, err)
	return err
}

// State returns what the kernel has under the name of s: its SPI, destination,
// protocol and mark.
func (c *Conn) State(s State) (State, error) {
	data, err := s.marshalID()
	answer, err := c.do(fmt.Sprintf("get state %v", s.SPI), msgGetSA, 0, data, err)
	if err != nil {
		return State{}, err
	}
	if len(answer) != 1 {
		return State{}, fmt.Errorf("xfrmnl: get state %v: %d answers", s.SPI, len(answer))
	}
	return UnmarshalState(answer[0].Data)
}

// States yields all ESP states of the namespace. States that come or go meanwhile
// may be in it or not.
func (c *Conn) States(yield func(State)) error {
	answer, err := c.do("list states", msgGetSA, netlink.Dump, nil, nil)
	if err != nil {
		return err
	}
	for _, m := range answer {
		s, err := UnmarshalState(m.Data)
		if err != nil {
			return err
		}
		if s.Proto == ipsec.ESP {
			yield(s)
		}
	}
	return nil
}

// SetReplay replaces the sequence state of s. Packets that pass between its
// reading and this call are forgotten.
func (c *Conn) SetReplay(s State, r Replay) error {
	b := make([]byte, sizeEventID)
	s.putID(b)
	putAddr(b[24:], s.Src)
	native.PutUint32(b[44:], s.ReqID)
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(attrReplay, r.marshal())
	if s.Mark != (Mark{}) {
		ae.Bytes(attrMark, s.Mark.marshal())
	}
	attrs, err := ae.Encode()
	_, err = c.do(fmt.Sprintf("set sequence state of %v", s.SPI), msgNewAE, netlink.Acknowledge|netlink.Replace, append(b, attrs...), err)
	return err
}

// SetPolicy installs a policy, in the place of the one with the same selector,
// direction, mark and interface, if there is one.
func (c *Conn) SetPolicy(p Policy) error {
	data, err := p.marshal()
	_, err = c.do("set a policy", msgUpdPolicy, netlink.Acknowledge, data, err)
	return err
}

// DeletePolicy removes a policy; unix.ENOENT when it is not there.
func (c *Conn) DeletePolicy(p Policy) error {
	data, err := p.marshalID()
	_, err = c.do("delete a policy", msgDelPolicy, netlink.Acknowledge, data, err)
	return err
}

// Policies yields all policies of the namespace.
func (c *Conn) Policies(yield func(Policy)) error {
	answer, err := c.do("list policies", msgGetPolicy, netlink.Dump, nil, nil)
	if err != nil {
		return err
	}
	for _, m := range answer {
		p, err := UnmarshalPolicy(m.Data)
		if err != nil {
			return err
		}
		yield(p)
	}
	return nil
}

// Thresholds say how policies are found quickly, in each family: those whose local
// and remote prefixes are at least that long, by that many bits of them. Others are
// searched for.
type Thresholds struct{ Local4, Remote4, Local6, Remote6 uint8 }

// SetThresholds sets them for the namespace.
func (c *Conn) SetThresholds(t Thresholds) error {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(attrThreshold4, []byte{t.Local4, t.Remote4})
	ae.Bytes(attrThreshold6, []byte{t.Local6, t.Remote6})
	attrs, err := ae.Encode()
	_, err = c.do("set thresholds of policies", msgNewSPDInfo, netlink.Acknowledge, append(make([]byte, 4), attrs...), err)
	return err
}

// Final removes a state and returns how it was at its end: no packet has used it
// after what the answer says. Without ok the kernel did not tell. It is for one
// goroutine at a time.
func (c *Conn) Final(s State) (last State, ok bool, err error) {
	if err := c.ends.Join(uint32(GroupSA)); err != nil {
		return State{}, false, fmt.Errorf("xfrmnl: listen for the end of %v: %w", s.SPI, err)
	}
	err = c.DeleteState(s)
	// The kernel tells before it answers.
	overrun, failed := c.ends.Read(func(m netlink.Message) {
		ev, err := UnmarshalEvent(m)
		if end, is := ev.(Deleted); err == nil && is && end.State.SPI == s.SPI && end.State.Dst == s.Dst && end.State.Mark == s.Mark {
			last, ok = end.State, true
		}
	})
	if leave := c.ends.Leave(uint32(GroupSA)); leave != nil {
		failed = errors.Join(failed, fmt.Errorf("xfrmnl: stop to listen: %w", leave))
	}
	// What came between Read and Leave is of no interest, and holds keys.
	_, rest := c.ends.Read(func(netlink.Message) {})
	return last, ok && !overrun, errors.Join(err, failed, rest)
}
