package cert

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// skew is how far the clocks of a new member and of the machine that issued
// its certificate may be apart.
const skew = time.Hour

// An Authority issues the certificates of one group's members.
type Authority struct {
	group uint8
	cert  *x509.Certificate
	key   crypto.Signer
}

// NewAuthority makes an authority for a group, with a new Ed25519 key, that is
// good for the given time from now on.
func NewAuthority(group uint8, now time.Time, valid time.Duration) (*Authority, error) {
	if valid <= 0 {
		return nil, fmt.Errorf("cert: make an authority: it would be valid for %v", valid)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cert: make a key: %w", err)
	}
	return selfSigned(group, key, now.Add(-skew), now.Add(valid))
}

func selfSigned(group uint8, key crypto.Signer, from, until time.Time) (*Authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("Evergate group %d", group)},
		NotBefore:             from,
		NotAfter:              until,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{groupURI(group)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cert: sign the authority of group %d: %w", group, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cert: read back the authority of group %d: %w", group, err)
	}
	return &Authority{group: group, cert: cert, key: key}, nil
}

// Group is the group that the authority is for.
func (a *Authority) Group() uint8 { return a.group }

// Expires is when the authority ends, and with it all that it issued.
func (a *Authority) Expires() time.Time { return a.cert.NotAfter }

// PEM encodes the certificate, which every member gets, and the key (PKCS #8),
// which stays with whoever issues.
func (a *Authority) PEM() (cert []byte, key ipsec.Key, err error) {
	key, err = keyPEM(a.key)
	return certPEM(a.cert.Raw), key, err
}

// ParseAuthority reads what PEM returns.
func ParseAuthority(cert []byte, key ipsec.Key) (*Authority, error) {
	pair, err := parsePair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert: read the authority: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("cert: read the authority: this is not the certificate of an authority (evergate ha init-ca makes one)")
	}
	for group := range 256 {
		same := func(u *url.URL) bool { return u.String() == groupURI(uint8(group)).String() }
		if slices.ContainsFunc(pair.Leaf.URIs, same) {
			return &Authority{group: uint8(group), cert: pair.Leaf, key: signer}, nil
		}
	}
	return nil, errors.New("cert: read the authority: its certificate names no group")
}

// Member is a certificate to be issued.
type Member struct {
	ID ipsec.MemberID
	// Addrs bind the certificate to addresses of the sync interface; with none
	// it is good at every address.
	Addrs []netip.Addr
	// Valid is how long from now on, at most as long as the authority itself.
	Valid time.Duration
}

// Issue makes a new key and a certificate for it, both encoded as PEM.
func (a *Authority) Issue(m Member, now time.Time) (cert []byte, key ipsec.Key, err error) {
	name := Name{Group: a.group, Member: m.ID}
	if err := name.check(); err != nil {
		return nil, ipsec.Key{}, fmt.Errorf("cert: issue: %w", err)
	}
	until := now.Add(m.Valid)
	switch {
	case m.Valid <= 0:
		return nil, ipsec.Key{}, fmt.Errorf("cert: issue %v: it would be valid for %v", name, m.Valid)
	case until.After(a.cert.NotAfter):
		return nil, ipsec.Key{}, fmt.Errorf("cert: issue %v: it would outlive its authority, which ends on %v", name, a.cert.NotAfter.Format(time.DateOnly))
	}
	der, signer, err := a.sign(name, m.Addrs, now.Add(-skew), until)
	if err != nil {
		return nil, ipsec.Key{}, err
	}
	key, err = keyPEM(signer)
	return certPEM(der), key, err
}

func (a *Authority) sign(name Name, addrs []netip.Addr, from, until time.Time) (der []byte, key crypto.Signer, err error) {
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("cert: make the key of %v: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Evergate group %d member %d", name.Group, name.Member)},
		NotBefore: from,
		NotAfter:  until,
		KeyUsage:  x509.KeyUsageDigitalSignature,
		// Members dial and answer.
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{name.uri()},
	}
	for _, addr := range addrs {
		template.IPAddresses = append(template.IPAddresses, addr.Unmap().AsSlice())
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("cert: sign the certificate of %v: %w", name, err)
	}
	return der, key, nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.Signer) (ipsec.Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return ipsec.Key{}, fmt.Errorf("cert: encode a key: %w", err)
	}
	return ipsec.NewKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}
