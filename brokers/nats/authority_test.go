package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string // of its own certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	var der []byte
	der, a.key = a.sign("authority", true)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.file = file(t, encodePEM("CERTIFICATE", der))
	return a
}

// sign makes a key and a certificate of it; the first is the authority's own.
func (a *authority) sign(name string, isAuthority bool) (der []byte, key *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: isAuthority, BasicConstraintsValid: true,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer); err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

func (a *authority) pair(name string) tls.Certificate {
	a.t.Helper()
	der, key := a.sign(name, false)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files has a new certificate and its key in files.
func (a *authority) files(name string) (cert, key string) {
	a.t.Helper()
	der, private := a.sign(name, false)
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return file(a.t, encodePEM("CERTIFICATE", der)), file(a.t, encodePEM("EC PRIVATE KEY", encoded))
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// client trusts the authority and has a certificate by it.
func (a *authority) client() *tls.Config {
	a.t.Helper()
	return &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.pair("client")}, MinVersion: tls.VersionTLS12}
}
