package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// authority is the CA of one trust domain: a root, and an intermediate that signs, as a SPIRE server with an upstream has it.
type authority struct {
	root, intermediate       *x509.Certificate
	rootKey, intermediateKey *ecdsa.PrivateKey
	// others are further roots of the bundle, DER after DER: of the authority before or after this one.
	others []byte
}

// bundle is what the trust domain's workloads trust.
func (a *authority) bundle() []byte {
	return append(append([]byte{}, a.root.Raw...), a.others...)
}

func newAuthority(domain spiffeid.TrustDomain) (*authority, error) {
	a := &authority{}
	var err error
	if a.rootKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	template := caTemplate(domain, "root")
	if a.root, err = sign(template, template, &a.rootKey.PublicKey, a.rootKey); err != nil {
		return nil, err
	}
	if a.intermediateKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	a.intermediate, err = sign(caTemplate(domain, "intermediate"), a.root, &a.intermediateKey.PublicKey, a.rootKey)
	return a, err
}

// issue makes an SVID with a key of its own: the chain, DER after DER, and the key as PKCS #8.
func (a *authority) issue(id spiffeid.ID, life time.Duration) (chain, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		// What SPIRE writes.
		Subject:               pkix.Name{Country: []string{"US"}, Organization: []string{"SPIRE"}},
		URIs:                  []*url.URL{id.URL()},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		NotAfter:              time.Now().Add(life),
	}
	leaf, err := sign(template, a.intermediate, &private.PublicKey, a.intermediateKey)
	if err != nil {
		return nil, nil, err
	}
	key, err = x509.MarshalPKCS8PrivateKey(private)
	return append(leaf.Raw, a.intermediate.Raw...), key, err
}

func caTemplate(domain spiffeid.TrustDomain, name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"SPIRE"}, CommonName: name + " of " + domain.Name()},
		URIs:                  []*url.URL{domain.ID().URL()},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		NotAfter:              time.Now().Add(24 * time.Hour),
	}
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-10 * time.Second)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
