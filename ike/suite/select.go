package suite

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
)

// Select chooses from what a peer offers, as the responder (RFC 7296 section
// 2.7), and returns one transform per type and which of the offered proposals
// it comes from. Our order decides: of our proposals, then of the transforms in
// each. Weak algorithms are chosen only where ours names them.
//
// The answer has exactly the types that the peer's proposal has: where the peer
// spelled out integrity or key exchange NONE, so does the answer.
//
// An AEAD goes with no integrity algorithm, absent or NONE; a plain cipher needs
// one. A key exchange is optional for Child SAs: absent and NONE are the same
// (section 3.3.3), so PFS must be offered by both or by neither. Absent ESN
// means NoESN on either side: section 3.3.3 makes the transform mandatory for
// ESP, but peers that follow RFC 4306's optional reading leave it out, and no
// other meaning is possible. An IKE proposal, one with a PRF, is never matched
// with an ESP proposal.
//
// The error tells an operator, type by type, what was offered and what we
// accept.
func Select(ours, offered []ipsec.Proposal) (ipsec.Proposal, int, error) {
	for _, our := range ours {
		for i, offer := range offered {
			if chosen, ok := match(our, offer); ok {
				return chosen, i, nil
			}
		}
	}
	return ipsec.Proposal{}, 0, errors.New("no common proposal: " + disagreement(ours, offered))
}

// Verify checks the responder's answer to the proposals that we sent, as the
// initiator. index is the one that the answer names, from 0.
//
// "The initiator of an exchange MUST check that the accepted offer is consistent
// with one of its proposals, and if not MUST terminate the exchange." RFC 7296
// section 3.3.6.
func Verify(sent []ipsec.Proposal, index int, answer ipsec.Proposal) error {
	if index < 0 || index >= len(sent) {
		return fmt.Errorf("suite: the peer accepted proposal %d, we sent %d", index+1, len(sent))
	}
	if _, err := single(answer); err != nil {
		return err
	}
	if _, ok := match(sent[index], answer); !ok {
		return fmt.Errorf("suite: the peer's choice is not what we offered: %s", disagreement(sent[index:index+1], []ipsec.Proposal{answer}))
	}
	return nil
}

// WithoutKE returns ps without key exchange transforms: the proposals of a first
// Child SA, whose keys come from the IKE SA's own exchange.
//
// "the SA payloads in the IKE_AUTH exchange cannot contain Transform Type 4
// (Diffie-Hellman group) with any value other than NONE. Implementations SHOULD
// omit the whole transform substructure instead of sending value NONE." RFC
// 7296 section 1.2.
func WithoutKE(ps []ipsec.Proposal) []ipsec.Proposal {
	out := make([]ipsec.Proposal, len(ps))
	for i, p := range ps {
		for _, t := range p.Transforms {
			if t.Type != ipsec.TypeKE {
				out[i].Transforms = append(out[i].Transforms, t)
			}
		}
	}
	return out
}

// match chooses one transform per type of offer, the first ones of our that it
// contains.
func match(our, offer ipsec.Proposal) (ipsec.Proposal, bool) {
	if !knownTypes(offer) || isIKE(our) != isIKE(offer) {
		return ipsec.Proposal{}, false
	}
	for _, e := range our.OfType(ipsec.TypeEncryption) {
		if !slices.Contains(offer.Transforms, e) {
			continue
		}
		if chosen, ok := matchWith(e, our, offer); ok {
			return chosen, true
		}
	}
	return ipsec.Proposal{}, false
}

// matchWith is match for one encryption algorithm, which decides whether an
// integrity algorithm is needed.
func matchWith(e ipsec.Transform, our, offer ipsec.Proposal) (ipsec.Proposal, bool) {
	chosen := ipsec.Proposal{Transforms: []ipsec.Transform{e}}
	for _, t := range []ipsec.TransformType{ipsec.TypePRF, ipsec.TypeIntegrity, ipsec.TypeKE, ipsec.TypeESN} {
		mine := accepted(our, t)
		if t == ipsec.TypeIntegrity {
			mine = integrityFor(ipsec.EncryptionID(e.ID), mine)
		}
		theirs := accepted(offer, t)
		if len(mine) == 0 && len(theirs) == 0 {
			continue // PRF of an ESP proposal
		}
		i := slices.IndexFunc(mine, func(m ipsec.Transform) bool { return slices.Contains(theirs, m) })
		if i < 0 {
			return ipsec.Proposal{}, false
		}
		if slices.Contains(offer.Transforms, mine[i]) {
			chosen.Transforms = append(chosen.Transforms, mine[i])
		}
	}
	return chosen, true
}

// accepted returns the transforms of one type; for the optional types, none is
// the same as the value 0: NONE, or NoESN.
func accepted(p ipsec.Proposal, t ipsec.TransformType) []ipsec.Transform {
	ts := p.OfType(t)
	if len(ts) == 0 && t != ipsec.TypePRF && t != ipsec.TypeEncryption {
		return []ipsec.Transform{{Type: t}}
	}
	return ts
}

// integrityFor narrows what may go beside e to NONE for AEADs, even where a
// proposal names integrity algorithms for the plain ciphers in it, and to all
// but NONE for the others.
func integrityFor(e ipsec.EncryptionID, ts []ipsec.Transform) []ipsec.Transform {
	if e.AEAD() {
		return []ipsec.Transform{{Type: ipsec.TypeIntegrity, ID: uint16(ipsec.AuthNone)}}
	}
	return slices.DeleteFunc(slices.Clone(ts), func(t ipsec.Transform) bool { return t.ID == uint16(ipsec.AuthNone) })
}

func isIKE(p ipsec.Proposal) bool { return len(p.OfType(ipsec.TypePRF)) > 0 }

// knownTypes tells whether p has only transform types that belong to its
// protocol.
//
// A responder that finds a transform type which it does not understand must
// consider the whole proposal unacceptable (RFC 7296 section 3.3.6).
func knownTypes(p ipsec.Proposal) bool {
	ike := isIKE(p)
	return !slices.ContainsFunc(p.Transforms, func(t ipsec.Transform) bool {
		return t.Type < ipsec.TypeEncryption || t.Type > ipsec.TypeESN || ike && t.Type == ipsec.TypeESN
	})
}

// disagreement says for each type in which nothing is common what both sides
// have; when every type by itself has something, the whole proposals.
func disagreement(ours, offered []ipsec.Proposal) string {
	if len(offered) == 0 {
		return "the peer offered none"
	}
	var parts []string
	for _, t := range []ipsec.TransformType{
		ipsec.TypeEncryption, ipsec.TypePRF, ipsec.TypeIntegrity, ipsec.TypeKE, ipsec.TypeESN,
	} {
		mine, theirs := union(ours, t), union(offered, t)
		if common := slices.ContainsFunc(mine, func(m ipsec.Transform) bool { return slices.Contains(theirs, m) }); common ||
			len(mine)+len(theirs) == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: peer offered %s, we accept %s", typeName(t), names(theirs), names(mine)))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("no combination fits: peer offered %s, we accept %s", list(offered), list(ours))
	}
	return strings.Join(parts, "; ")
}

func union(ps []ipsec.Proposal, t ipsec.TransformType) []ipsec.Transform {
	var out []ipsec.Transform
	for _, p := range ps {
		for _, tr := range accepted(p, t) {
			if !slices.Contains(out, tr) {
				out = append(out, tr)
			}
		}
	}
	return out
}

func typeName(t ipsec.TransformType) string {
	switch t {
	case ipsec.TypeEncryption:
		return "encryption"
	case ipsec.TypePRF:
		return "prf"
	case ipsec.TypeIntegrity:
		return "integrity"
	case ipsec.TypeKE:
		return "key exchange"
	case ipsec.TypeESN:
		return "sequence numbers"
	default:
		return fmt.Sprintf("transform type %d", t)
	}
}

// maxNames bounds what of a peer's offer goes into an error.
const maxNames = 16

func names(ts []ipsec.Transform) string {
	if len(ts) == 0 {
		return "nothing"
	}
	return join(ts, ", ", func(t ipsec.Transform) string {
		if _, err := ipsec.EncryptionKeyLen(ipsec.EncryptionID(t.ID), 128); t.Type == ipsec.TypeEncryption && t.KeyBits == 0 && err == nil {
			return t.String() + " without a key length"
		}
		return t.String()
	})
}

func list(ps []ipsec.Proposal) string { return join(ps, " or ", ipsec.Proposal.String) }

func join[T any](items []T, sep string, format func(T) string) string {
	var b strings.Builder
	for i, item := range items {
		if i == maxNames {
			fmt.Fprintf(&b, "%sand %d more", sep, len(items)-i)
			break
		}
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(format(item))
	}
	return b.String()
}
