package main

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
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// issuer signs certificates, and keeps all in a directory: NAME.pem, NAME.key.
type issuer struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	a := &issuer{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca")
	return a
}

func (a *issuer) file(name string) string { return filepath.Join(a.dir, name) }

// sign makes a certificate for a common name, the first of which is the issuer's own.
func (a *issuer) sign(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: a.cert == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	by, byKey := a.cert, a.key
	if by == nil {
		by, byKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write(a.t, a.dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(a.t, a.dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// TestRolesOfCertificates: a server and a checker are known by their certificates' common names.
func TestRolesOfCertificates(t *testing.T) {
	a := newIssuer(t)
	a.sign("etcd")
	endpoint := startEtcd(t, "https", func(c *embed.Config) {
		c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = a.file("etcd.pem"), a.file("etcd.key")
		c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = a.file("ca.pem"), true
	})
	as := func(c *EtcdConfig, user string) {
		a.sign(user)
		*c = EtcdConfig{Endpoints: []string{endpoint}, Prefix: "/gslb", CAFile: a.file("ca.pem"), CertFile: a.file(user + ".pem"), KeyFile: a.file(user + ".key")}
	}
	flags := func(user string) []string {
		return []string{"--etcd-endpoints=" + endpoint, "--etcd-ca-file=" + a.file("ca.pem"), "--etcd-cert-file=" + a.file(user+".pem"), "--etcd-key-file=" + a.file(user+".key")}
	}
	a.sign("root")
	pair, err := tls.LoadX509KeyPair(a.file("root.pem"), a.file("root.key"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(a.cert)
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: trusted}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	for _, user := range []string{"root", "ns1", "fra1"} {
		if _, err := root.UserAddWithOptions(t.Context(), user, "", &clientv3.UserAddOptions{NoPassword: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.UserGrantRole(t.Context(), "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	for user, role := range map[string][]string{"ns1": {"server", "ns1"}, "fra1": {"checker", "fra1"}} {
		if out, _, err := run(t, "", append(append([]string{"roles", "--apply"}, role...), flags("root")...)...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := root.UserGrantRole(t.Context(), user, "gslb:"+role[0]+":"+role[1]); err != nil {
			t.Fatal(err)
		}
	}

	in := startInstanceWith(t, t.TempDir(), func(c *Config) { as(&c.Etcd, "ns1"); c.Checker.Enabled = false })
	in.etcd.Close()
	in.etcd = root
	startChecker(t, in, "fra1", "fra", func(c *Config) { as(&c.Etcd, "fra1") })
	in.web(`{"http":{},"interval":"100ms","rise":1,"fall":1}`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 3`)
	in.liveKey("/gslb-live/server/ns1", true)

	_, _, err = run(t, "", append([]string{"export", "--zone", "example.com"}, flags("fra1")...)...)
	if want := `reading the registry: etcd does not permit user "fra1" to read /gslb/…`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
