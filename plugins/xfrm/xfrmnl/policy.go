package xfrmnl

import (
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
)

// Direction of a policy.
type Direction uint8

// The directions. Forward is for arriving packets that are not for this host.
const (
	In Direction = iota
	Out
	Forward
)

// MaxTemplates is how many templates a policy may have.
const MaxTemplates = 6

// Policy is what becomes of the packets that a selector selects. The selector,
// the direction, the mark and the interface tell policies apart.
type Policy struct {
	Selector Selector
	Dir      Direction
	Mark     Mark
	IfID     uint32
	// Priority orders policies that select the same packet: the lowest wins.
	Priority uint32
	// Block drops what is selected.
	Block     bool
	Templates []Template
	// Offload gives the policy to a device, as states that are there as whole packets
	// need; nil for none.
	Offload *Offload
	// Index is the kernel's number of the policy.
	Index uint32
}

// Template names the SA that a policy asks for.
type Template struct {
	Dst, Src netip.Addr // invalid means any, inbound only
	Mode     uint8
	ReqID    uint32
	// Optional templates need not be met; of an inbound policy with several, one
	// must be, as nothing that came through a tunnel passes without.
	Optional bool
}

// anyAlgorithm lets a template take what the state has.
const anyAlgorithm = 1<<32 - 1

// marshal makes a message of type NEWPOLICY or UPDPOLICY.
func (p Policy) marshal() ([]byte, error) {
	if len(p.Templates) > MaxTemplates {
		return nil, fmt.Errorf("%d templates, at most %d", len(p.Templates), MaxTemplates)
	}
	b := make([]byte, sizePolicy)
	p.Selector.put(b)
	NoLimits().put(b[56:])
	native.PutUint32(b[152:], p.Priority)
	native.PutUint32(b[156:], p.Index)
	b[160] = uint8(p.Dir)
	if p.Block {
		b[161] = 1
	}
	var templates []byte
	for _, t := range p.Templates {
		templates = append(templates, t.marshal(p.Selector)...)
	}
	return p.attributes(b, templates)
}

// marshalID makes a message that names the policy: DELPOLICY, GETPOLICY.
func (p Policy) marshalID() ([]byte, error) {
	b := make([]byte, sizePolicyID)
	p.Selector.put(b)
	native.PutUint32(b[56:], p.Index)
	b[60] = uint8(p.Dir)
	return p.attributes(b, nil)
}

func (p Policy) attributes(b, templates []byte) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	if len(templates) > 0 {
		ae.Bytes(attrTemplates, templates)
	}
	if p.Mark != (Mark{}) {
		ae.Bytes(attrMark, p.Mark.marshal())
	}
	if p.IfID != 0 {
		ae.Uint32(attrIfID, p.IfID)
	}
	if p.Offload != nil {
		ae.Bytes(attrOffload, p.Offload.marshal())
	}
	attrs, err := ae.Encode()
	return append(b, attrs...), err
}

// marshal writes struct xfrm_user_tmpl. Without addresses it is of the family of
// the packets.
func (t Template) marshal(s Selector) []byte {
	b := make([]byte, sizeTemplate)
	putAddr(b, t.Dst)
	b[20] = uint8(ipsec.ESP)
	fam := family(t.Dst)
	if fam == unix.AF_UNSPEC {
		fam = family(s.Dst.Addr())
	}
	native.PutUint16(b[24:], fam)
	putAddr(b[28:], t.Src)
	native.PutUint32(b[44:], t.ReqID)
	b[48] = t.Mode
	if t.Optional {
		b[50] = 1
	}
	for _, at := range []int{52, 56, 60} {
		native.PutUint32(b[at:], anyAlgorithm)
	}
	return b
}

// UnmarshalPolicy reads what the kernel tells of a policy: struct
// xfrm_userpolicy_info and the attributes behind it.
func UnmarshalPolicy(b []byte) (Policy, error) {
	if len(b) < sizePolicy {
		return Policy{}, fmt.Errorf("xfrmnl: parse a policy: %w", errShort)
	}
	p := Policy{
		Selector: selectorOf(b),
		Priority: native.Uint32(b[152:]), Index: native.Uint32(b[156:]),
		Dir: Direction(b[160]), Block: b[161] != 0,
	}
	if err := p.readAttributes(b[sizePolicy:]); err != nil {
		return Policy{}, fmt.Errorf("xfrmnl: parse policy %d: %w", p.Index, err)
	}
	return p, nil
}

func (p *Policy) readAttributes(b []byte) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		switch ad.Type() {
		case attrTemplates:
			for b := ad.Bytes(); len(b) >= sizeTemplate; b = b[sizeTemplate:] {
				p.Templates = append(p.Templates, templateOf(b))
			}
		case attrMark:
			ad.Do(func(b []byte) (err error) { p.Mark, err = markOf(b); return err })
		case attrIfID:
			p.IfID = ad.Uint32()
		case attrOffload:
			ad.Do(func(b []byte) (err error) { p.Offload, err = offloadOf(b); return err })
		}
	}
	return ad.Err()
}

func templateOf(b []byte) Template {
	fam := native.Uint16(b[24:])
	return Template{
		Dst: specified(addrOf(b, fam)), Src: specified(addrOf(b[28:], fam)),
		ReqID: native.Uint32(b[44:]), Mode: b[48], Optional: b[50] != 0,
	}
}

// specified is the invalid address for that which stands for any.
func specified(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
