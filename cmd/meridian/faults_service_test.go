//go:build faults

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// service is a backend: an HTTP server at an IPv4 and an IPv6 address of a host, with TLS where it has an authority
// to certify it.
type service struct {
	t     *testing.T
	host  *host
	name  string // of the member
	pool  string
	addrs []netip.Addr
	port  uint16
	signs *authority // nil: without TLS

	status      atomic.Int64
	certificate atomic.Pointer[tls.Certificate]

	mu      sync.Mutex
	servers []*http.Server // nil: it is not running
}

const serviceName = "backend.fault.test" // of certificates

// start has it listen.
func (s *service) start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Store(http.StatusOK)
	if s.signs != nil {
		s.certificate.Store(s.signs.certify(s.t, time.Now().Add(24*time.Hour)))
	}
	s.listen()
}

func (s *service) listen() {
	for _, addr := range s.addrs {
		l, err := s.host.listen(netip.AddrPortFrom(addr, s.port))
		if err != nil {
			s.t.Errorf("%s: %v", s.name, err)
			return
		}
		srv := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
		s.servers = append(s.servers, srv)
		if s.signs == nil {
			go srv.Serve(l)
			continue
		}
		srv.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil }}
		go srv.ServeTLS(l, "", "")
	}
}

// kill ends it as a process that is killed ends: what was connected is reset.
func (s *service) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, srv := range s.servers {
		srv.Close()
	}
	s.servers = nil
}

// expireAt has its certificate end at that time. As with every other change of it, it is started anew for that.
func (s *service) expireAt(at time.Time) {
	s.certificate.Store(s.signs.certify(s.t, at))
	s.kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listen()
}

// nets are its addresses, as a wire has them cut.
func (s *service) nets() (list []netip.Prefix) {
	for _, a := range s.addrs {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

func (s *service) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(int(s.status.Load()))
	io.WriteString(w, "ok")
}

// authority signs certificates of services.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next atomic.Int64 // serial number
}

// newAuthority makes one, and writes its certificate into a file for those who are to trust it.
func newAuthority(t *testing.T, path string) *authority {
	t.Helper()
	a := new(authority)
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fault.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	if err == nil {
		err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.next.Store(1)
	return a
}

func (a *authority) certify(t *testing.T, until time.Time) *tls.Certificate {
	t.Helper()
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(a.next.Add(1)), Subject: pkix.Name{CommonName: serviceName}, DNSNames: []string{serviceName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		panic(fmt.Sprintf("certificate: %v", err)) // of our own making
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}
