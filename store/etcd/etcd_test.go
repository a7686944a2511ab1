package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meridian/store"
)

func TestDelay(t *testing.T) {
	for _, tt := range []struct {
		failures int
		random   float64
		want     time.Duration
	}{
		{1, 0, 50 * time.Millisecond},
		{1, 1, 25 * time.Millisecond},
		{2, 0, 100 * time.Millisecond},
		{6, 0, 1600 * time.Millisecond},
		{7, 0, 3 * time.Second},
		{7, 1, 1500 * time.Millisecond},
		{1e9, 0, 3 * time.Second},
	} {
		if got := delay(tt.failures, tt.random); got != tt.want {
			t.Errorf("delay(%d, %v) = %v, expected %v", tt.failures, tt.random, got, tt.want)
		}
	}
}

func TestCommitRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes []store.Change
		want    string
	}{
		{"nothing", nil, "no changes to write"},
		{"too many", make([]store.Change, 129), "129 keys to write, expected at most 128 in one transaction"},
		{"a key twice", []store.Change{{Key: "a"}, {Key: "b"}, {Key: "a", Delete: true}}, `key "a" twice in one transaction`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := new(Registry).Commit(context.Background(), tt.changes); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// An etcd that is away is not an error of Open; what is done with it says why it fails, and at once.
func TestEtcdAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	r, err := Open(context.Background(), Config{Endpoints: []string{addr}, Prefix: "/gslb"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	_, err = r.Read(ctx)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v, expected connection refused", err)
	}
}

func TestConflictError(t *testing.T) {
	var err error = &ConflictError{Keys: []string{"pool/web/policy", "site/fra"}}
	var conflict *ConflictError
	if !errors.As(err, &conflict) || err.Error() != "changed in the meantime: pool/web/policy, site/fra" {
		t.Error(err)
	}
}

// An etcd that speaks TLS and was not greeted with it hangs up, as does one that is not an etcd: the
// error says what may be wrong.
func TestPlainTextToTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.(*tls.Conn).Handshake()
			}()
		}
	}()
	addr := l.Addr().String()
	for _, endpoint := range []string{addr, "http://" + addr} {
		r, err := Open(t.Context(), Config{Endpoints: []string{endpoint}, Prefix: "/gslb"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = r.Read(t.Context())
		want := "reading the registry: etcd at " + addr + " does not speak plain text: EOF; if it speaks TLS, write https://" + addr
		if err == nil || strings.Replace(err.Error(), "connection reset by peer", "EOF", 1) != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
