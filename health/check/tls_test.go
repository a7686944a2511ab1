package check

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
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

// authority signs the certificates of the tests. The system's roots are it alone: TestMain sees
// to that before they are first read.
var authority = newAuthority("meridian test authority")

func TestMain(m *testing.M) {
	if os.Getenv(backendEnv) != "" {
		serveScale()
	}
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		log.Fatal(err)
	}
	file := filepath.Join(dir, "roots.pem")
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.cert.Raw}), 0o600)
	if err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	os.Setenv("SSL_CERT_DIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(name string) signer {
	return signer{}.sign(x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	})
}

// sign makes a certificate after a template; without a signer, one signed by itself.
func (s signer) sign(template x509.Certificate) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	if s.key == nil {
		s = signer{&template, key}
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, &template, s.cert, &key.PublicKey, s.key)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return signer{cert, key}
}

// leaf is a server's certificate for names.
func (s signer) leaf(from, to time.Time, names ...string) *tls.Certificate {
	l := s.sign(x509.Certificate{
		Subject:     pkix.Name{CommonName: "leaf"},
		NotBefore:   from,
		NotAfter:    to,
		DNSNames:    names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return &tls.Certificate{Certificate: [][]byte{l.cert.Raw}, PrivateKey: l.key}
}

// serveTLS serves by cert; conns counts the handshakes, sni holds the latest name asked for.
func serveTLS(t testing.TB, cert *tls.Certificate) (addr net.Addr, conns *atomic.Int32, sni *atomic.Value) {
	t.Helper()
	sni = new(atomic.Value)
	server, conns := counting(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, "host=%s", q.Host)
	})
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			sni.Store(hello.ServerName)
			if cert == nil {
				return nil, errors.New("not today")
			}
			return &tls.Config{Certificates: []tls.Certificate{*cert}}, nil
		},
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr(), conns, sni
}

func TestHTTPS(t *testing.T) {
	no := false
	now := time.Now()
	from, to := now.Add(-time.Hour), now.Add(time.Hour)
	past, future := now.Add(-time.Minute).UTC().Truncate(time.Second), now.Add(time.Minute).UTC().Truncate(time.Second)
	good := authority.leaf(from, to, "a.example")
	other := newAuthority("another authority").leaf(from, to, "b.example")
	host := func(name string) health.HTTP { return health.HTTP{Host: name} }

	tests := []struct {
		name  string
		cert  *tls.Certificate
		check health.HTTPS
		sni   string
		want  string
	}{
		{"valid for the host", good, health.HTTPS{HTTP: host("a.example")}, "a.example", ""},
		{"valid for the host with a port", good, health.HTTPS{HTTP: host("a.example:8443")}, "a.example", ""},
		{"valid for the sni", good, health.HTTPS{HTTP: health.HTTP{Host: "b.example", Body: "host=b.example"}, Certificate: health.Certificate{SNI: "a.example"}}, "a.example", ""},
		{"valid for the address", good, health.HTTPS{Certificate: health.Certificate{SNI: "127.0.0.1"}}, "", ""},
		{"status", good, health.HTTPS{HTTP: health.HTTP{Host: "a.example", Status: "204"}}, "a.example", "status 200, expected 204"},
		{"another name", good, health.HTTPS{HTTP: host("b.example")}, "b.example", "certificate is valid for a.example, not b.example"},
		{"another address", good, health.HTTPS{Certificate: health.Certificate{SNI: "127.0.0.2"}}, "", "certificate is valid for 127.0.0.1, not 127.0.0.2"},
		{"another authority", other, health.HTTPS{HTTP: host("b.example")}, "b.example", "certificate signed by unknown authority"},
		{"another authority, not verified", other, health.HTTPS{HTTP: host("a.example"), Certificate: health.Certificate{Verify: &no}}, "a.example", ""},
		{"no name, not verified", other, health.HTTPS{Certificate: health.Certificate{Verify: &no}}, "", ""},
		{"expired", authority.leaf(from, past, "a.example"), health.HTTPS{HTTP: host("a.example")}, "a.example",
			"certificate expired " + past.Format(time.RFC3339)},
		{"not yet valid", authority.leaf(future, to, "a.example"), health.HTTPS{HTTP: host("a.example")}, "a.example",
			"certificate is not valid before " + future.Format(time.RFC3339)},
		{"refused", nil, health.HTTPS{HTTP: host("a.example")}, "a.example", "TLS refused by the server: internal error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addr, _, sni := serveTLS(t, test.cert)
			wantWords(t, look(t, at(t, addr, health.Check{HTTPS: &test.check})), test.want)
			if got := sni.Load(); got != test.sni {
				t.Errorf("server name %q, want %q", got, test.sni)
			}
		})
	}
	check := health.Check{HTTPS: &health.HTTPS{HTTP: host("a.example")}}
	t.Run("no TLS there", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.0 400 Bad Request\r\n\r\n"); io.Copy(io.Discard, c) })
		wantWords(t, look(t, at(t, addr, check)), "answer is not TLS")
	})
	t.Run("closed", func(t *testing.T) {
		addr := serveRaw(t, func(c net.Conn) { c.Read(make([]byte, 4096)) })
		wantWords(t, look(t, at(t, addr, check)), "connection closed within the TLS handshake")
	})
	t.Run("refused connection", func(t *testing.T) {
		wantWords(t, look(t, at(t, closedPort(t), check)), "connection refused")
	})
}

func TestHTTPSKeepsConnection(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name string
		to   time.Time // end of the certificate
		want int32     // connections for three looks at 30 s
	}{
		{"yes", now.Add(time.Hour), 1},
		{"the certificate ends before the next look", now.Add(20 * time.Second), 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addr, conns, _ := serveTLS(t, authority.leaf(now.Add(-time.Hour), test.to, "a.example"))
			to := at(t, addr, health.Check{
				HTTPS:    &health.HTTPS{HTTP: health.HTTP{Host: "a.example"}},
				Interval: spec.Duration(30 * time.Second), Timeout: spec.Duration(30 * time.Second),
			})
			for range 3 {
				wantWords(t, look(t, to), "")
			}
			if got := conns.Load(); got != test.want {
				t.Errorf("%d connections for three looks, want %d", got, test.want)
			}
		})
	}
}
