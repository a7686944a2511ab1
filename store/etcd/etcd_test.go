package etcd

import (
	"context"
	"errors"
	"log/slog"
	"net"
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
