package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

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

func TestUpdate(t *testing.T) {
	put := func(key string, revision int64) *mvccpb.Event {
		return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte("/gslb/" + key), Value: []byte("v"), ModRevision: revision}}
	}
	del := func(key string, revision int64) *mvccpb.Event {
		return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("/gslb/" + key), ModRevision: revision}}
	}
	head := func(revision int64) *etcdserverpb.ResponseHeader {
		return &etcdserverpb.ResponseHeader{ClusterId: 0xc, Revision: revision}
	}
	for _, tt := range []struct {
		name string
		m    *etcdserverpb.WatchResponse
		want string // revision and entries, or the error
	}{
		{"created by a member that lags", &etcdserverpb.WatchResponse{Header: head(9), Created: true}, "20"},
		{"progress", &etcdserverpb.WatchResponse{Header: head(30)}, "20"},
		{"what was read already", &etcdserverpb.WatchResponse{Header: head(20), Events: []*mvccpb.Event{put("a", 10), put("b", 10)}}, "20"},
		{"changes", &etcdserverpb.WatchResponse{Header: head(25), Events: []*mvccpb.Event{put("a", 21), del("b", 21), put("a", 23)}}, "23 a=v@21 b deleted@21 a=v@23"},
		{"compacted", &etcdserverpb.WatchResponse{Header: head(30), Canceled: true, CompactRevision: 15}, "etcd has compacted revision 10, from which to watch, up to 15"},
		{"cancelled", &etcdserverpb.WatchResponse{Header: head(30), Created: true, Canceled: true, CancelReason: "etcdserver: permission denied"}, "etcd has ended the watch: etcdserver: permission denied"},
		{"another cluster", &etcdserverpb.WatchResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 0xd, Revision: 30}}, "the watch is of etcd cluster d, expected c"},
		{"no header", &etcdserverpb.WatchResponse{}, "the watch is of etcd cluster 0, expected c"},
		{"gone back", &etcdserverpb.WatchResponse{Header: head(19)}, "etcd is at revision 19, after 20"},
		{"the same revision again", &etcdserverpb.WatchResponse{Header: head(30), Events: []*mvccpb.Event{put("a", 20)}}, "etcd has sent revision 20 after 20"},
		{"out of order", &etcdserverpb.WatchResponse{Header: head(30), Events: []*mvccpb.Event{put("a", 23), put("a", 22)}}, "etcd has sent revision 22 after 23"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := follower{Registry: &Registry{config: "/gslb/"}, from: 10, revision: 20, cluster: 0xc}
			u, err := f.update(tt.m)
			if got := show(u, err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if err == nil && f.revision != u.Revision {
				t.Errorf("goes on from revision %d, expected %d", f.revision, u.Revision)
			}
		})
	}
}

func show(u store.Update, err error) string {
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprint(u.Revision)
	for _, e := range u.Entries {
		if e.Deleted {
			s += fmt.Sprintf(" %s deleted@%d", e.Key, e.Revision)
		} else {
			s += fmt.Sprintf(" %s=%s@%d", e.Key, e.Value, e.Revision)
		}
	}
	return s
}

func TestConflictError(t *testing.T) {
	var err error = &ConflictError{Keys: []string{"pool/web/policy", "site/fra"}}
	var conflict *ConflictError
	if !errors.As(err, &conflict) || err.Error() != "changed in the meantime: pool/web/policy, site/fra" {
		t.Error(err)
	}
}
