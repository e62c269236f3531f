package cert

import (
	"crypto/ed25519"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

const (
	// MinSecret is the length in octets of the shortest group secret.
	MinSecret = 16
	// rounds makes one guess at a secret cost about a tenth of a second.
	rounds = 600_000
)

// FromSecret makes the Identity of a member from the secret of its group. All
// members that know it derive the same authority, and each issues itself a
// certificate with a new key; see the package's documentation for what that is
// worth. It takes about a tenth of a second.
func FromSecret(secret ipsec.Key, name Name) (*Identity, error) {
	if err := name.check(); err != nil {
		return nil, fmt.Errorf("cert: derive the identity of %v: %w", name, err)
	}
	if secret.Len() < MinSecret {
		return nil, fmt.Errorf("cert: derive the identity of %v: the group's secret has %d octets, fewer than %d (openssl rand -base64 32 makes a good one)", name, secret.Len(), MinSecret)
	}
	a, err := derive(secret, name.Group)
	if err != nil {
		return nil, err
	}
	from, until := always()
	der, key, err := a.sign(name, nil, from, until)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cert: read back the certificate of %v: %w", name, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return &Identity{name: name, pair: pair, roots: roots}, nil
}

// derive makes the authority of a group. Its certificate differs from member
// to member in nothing that is checked: subject and key are the same.
func derive(secret ipsec.Key, group uint8) (*Authority, error) {
	salt := []byte(groupURI(group).String() + " authority")
	seed, err := pbkdf2.Key(sha256.New, string(secret.Reveal()), salt, rounds, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("cert: derive the authority of group %d: %w", group, err)
	}
	defer clear(seed)
	from, until := always()
	return selfSigned(group, ed25519.NewKeyFromSeed(seed), from, until)
}

// always is the time that a derived certificate is good for: who knows the
// secret could issue another one at any time.
//
// "To indicate that a certificate has no well-defined expiration date, the
// notAfter SHOULD be assigned the GeneralizedTime value of 99991231235959Z."
// RFC 5280 section 4.1.2.5.
func always() (from, until time.Time) {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}
