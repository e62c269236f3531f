package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Why a certificate is not that of a member of our group.
var (
	// ErrUntrusted: nobody that the group trusts has issued it, or not for this
	// use, or it is not valid at this time.
	ErrUntrusted = errors.New("its certificate is not good")
	// ErrUnnamed: it does not say, or not clearly, which member it is.
	ErrUnnamed = errors.New("its certificate does not name a member")
	// ErrGroup: it is of another group.
	ErrGroup = errors.New("its certificate is of another group")
	// ErrAddress: it is bound to other addresses.
	ErrAddress = errors.New("its certificate is for other addresses")
)

// Identity is a member's own certificate and key, and whom it trusts. It does
// not change and is safe for concurrent use.
type Identity struct {
	name  Name
	pair  tls.Certificate
	roots *x509.CertPool
}

// New makes an Identity from PEM: the certificates of the authorities that the
// group trusts, this member's certificate with what leads to one of them, and
// its key. Several authorities are what a change from one to the next needs. A
// certificate that the other members would refuse now is an error.
func New(authorities, cert []byte, key ipsec.Key, now time.Time) (*Identity, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, errors.New("cert: read the authority: it holds no certificate in PEM")
	}
	pair, err := parsePair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert: read the member's certificate: %w", err)
	}
	return newIdentity(roots, pair, now)
}

func newIdentity(roots *x509.CertPool, pair tls.Certificate, now time.Time) (*Identity, error) {
	chain := []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("cert: read the chain of the member's certificate: %w", err)
		}
		chain = append(chain, c)
	}
	i := &Identity{pair: pair, roots: roots}
	if err := i.trust(chain, now); err != nil {
		return nil, fmt.Errorf("cert: check our own certificate: %w", err)
	}
	name, err := nameIn(pair.Leaf.URIs)
	if err != nil {
		return nil, fmt.Errorf("cert: check our own certificate: %w", err)
	}
	i.name = name
	return i, nil
}

// parsePair reads a certificate with its key, Leaf included.
func parsePair(cert []byte, key ipsec.Key) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key.Reveal())
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	return pair, err
}

// Name is who we are.
func (i *Identity) Name() Name { return i.name }

// Expires is when the others will begin to refuse us.
func (i *Identity) Expires() time.Time { return i.pair.Leaf.NotAfter }

// TLS returns the certificate and key for a handshake. It must not be changed.
func (i *Identity) TLS() tls.Certificate { return i.pair }

// Verify tells which member of our group shows this chain, the leaf first, at
// this address and time. The error is one of ErrUntrusted, ErrUnnamed, ErrGroup
// and ErrAddress with its cause.
func (i *Identity) Verify(chain []*x509.Certificate, at netip.Addr, now time.Time) (Name, error) {
	if len(chain) == 0 {
		return Name{}, fmt.Errorf("%w: it shows none", ErrUntrusted)
	}
	if err := i.trust(chain, now); err != nil {
		return Name{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	name, err := nameIn(chain[0].URIs)
	switch {
	case err != nil:
		return Name{}, fmt.Errorf("%w: %w", ErrUnnamed, err)
	case name.Group != i.name.Group:
		return name, fmt.Errorf("%w: it is of %v, and this is group %d", ErrGroup, name, i.name.Group)
	}
	if bound := chain[0].IPAddresses; len(bound) > 0 {
		here := net.IP(at.Unmap().WithZone("").AsSlice())
		if !slices.ContainsFunc(bound, here.Equal) {
			return name, fmt.Errorf("%w: %v is bound to %v", ErrAddress, name, bound)
		}
	}
	return name, nil
}

func (i *Identity) trust(chain []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         i.roots,
		Intermediates: between,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return err
}
