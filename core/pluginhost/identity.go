package pluginhost

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

const (
	// envClientCert hands our certificate to the plugin, which admits nobody else
	// and tells its own in its handshake. This is go-plugin's AutoMTLS, which every
	// plugin speaks, with a key that is ours to keep: go-plugin's own is lost with
	// the daemon, and a plugin that lives on could never be reached again.
	envClientCert = "PLUGIN_CLIENT_CERT"
	// serverName is what certificates of plugins are made out to.
	serverName = "localhost"
	// certLife is longer than any process lives.
	certLife = 30 * 365 * 24 * time.Hour
)

// identity is by what a daemon and one process know each other. It is made for
// the process, and ends with it.
type identity struct {
	// Certificate and Key are the daemon's, in PEM.
	Certificate, Key []byte
	// Plugin is the process's certificate in DER, nil before the first handshake.
	Plugin []byte
}

// newIdentity draws a key.
func newIdentity() (identity, error) {
	id, err := drawIdentity()
	if err != nil {
		return identity{}, fmt.Errorf("pluginhost: make a certificate for a plugin: %w", err)
	}
	return id, nil
}

func drawIdentity() (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return identity{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serverName, Organization: []string{"Evergate"}}, DNSNames: []string{serverName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLife),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true, // it is its own authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return identity{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, err
	}
	return identity{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// tlsConfig is for connections to the process. Where its certificate is not known
// yet, go-plugin adds the one of the handshake, and seen hears of it.
func (i identity) tlsConfig(seen *seenCert) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(i.Certificate, i.Key)
	if err != nil {
		return nil, fmt.Errorf("pluginhost: read our certificate for a plugin: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, ServerName: serverName, VerifyConnection: seen.note}
	if i.Plugin != nil {
		cert, err := x509.ParseCertificate(i.Plugin)
		if err != nil {
			return nil, fmt.Errorf("pluginhost: read the certificate of a plugin: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AddCert(cert)
	}
	return c, nil
}

// seenCert is the certificate that a process has proved to be its own.
type seenCert struct {
	mu  sync.Mutex
	der []byte
}

// note is tls.Config.VerifyConnection: the chain has been verified before.
func (s *seenCert) note(c tls.ConnectionState) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("pluginhost: the plugin has no certificate")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.der = c.PeerCertificates[0].Raw
	return nil
}

func (s *seenCert) get() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.der
}
