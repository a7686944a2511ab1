package etcd

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

// leaseServer renews leases for 30 seconds, but does what is next in the stead of that.
type leaseServer struct {
	etcdserverpb.UnimplementedLeaseServer
	asked chan int64 // leases, where next is silent

	mu      sync.Mutex
	streams int
	next    []string // "end", "another", "silent", "refuse"
}

func (s *leaseServer) LeaseKeepAlive(stream etcdserverpb.Lease_LeaseKeepAliveServer) error {
	s.mu.Lock()
	s.streams++
	s.mu.Unlock()
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		what := ""
		if len(s.next) > 0 {
			what, s.next = s.next[0], s.next[1:]
		}
		s.mu.Unlock()
		answer := &etcdserverpb.LeaseKeepAliveResponse{Header: &etcdserverpb.ResponseHeader{}, ID: r.ID, TTL: 30}
		switch what {
		case "end":
			return nil
		case "refuse":
			return rpctypes.ErrGRPCPermissionDenied
		case "silent":
			s.asked <- r.ID
			continue
		case "another":
			answer.ID++
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// will says what the next answers are, and how many streams there have been.
func (s *leaseServer) will(next ...string) (streams int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	return s.streams
}

// TestRenew: leases are renewed in one stream, and in another when that has failed.
func TestRenew(t *testing.T) {
	line, fake := bufconn.Listen(1<<16), &leaseServer{asked: make(chan int64)}
	s := grpc.NewServer()
	etcdserverpb.RegisterLeaseServer(s, fake)
	go s.Serve(line)
	t.Cleanup(s.Stop)
	r, err := Open(t.Context(), Config{Endpoints: []string{"fake:1"}, Prefix: "/gslb",
		connect: func(ctx context.Context, _ string) (net.Conn, error) { return line.DialContext(ctx) }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			if ttl, err := r.renew(t.Context(), c, clientv3.LeaseID(1+i)); err != nil || ttl != 30 {
				t.Errorf("lease %d: %d, %v", 1+i, ttl, err)
			}
		})
	}
	group.Wait()
	if n := fake.will(); n != 1 {
		t.Errorf("%d streams, expected 1", n)
	}
	for _, c2 := range []struct {
		name    string
		next    []string
		streams int // that are begun for it
		want    string
	}{
		{"the stream has ended", []string{"end"}, 1, ""},
		{"and ends again", []string{"end", "end"}, 1, "EOF"},
		{"a stream that is new", nil, 1, ""},
		{"not permitted", []string{"refuse", "refuse"}, 1, "etcdserver: permission denied"},
		{"an answer that is another's", []string{"another"}, 1, "etcd has renewed lease 8, asked for 7"},
		{"nothing is left of that", nil, 1, ""},
		{"nor is the stream changed", nil, 0, ""},
	} {
		before := fake.will(c2.next...)
		ttl, err := r.renew(t.Context(), c, 7)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c2.want || (err == nil) != (ttl == 30) {
			t.Errorf("%s: %d, %q, want %q", c2.name, ttl, got, c2.want)
		}
		if n := fake.will() - before; n != c2.streams {
			t.Errorf("%s: %d streams were begun, expected %d", c2.name, n, c2.streams)
		}
	}

	// Of an etcd that says nothing, those who ask are rid when they have waited long enough, those who wait for their turn too.
	fake.will("silent")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	go func() {
		_, err := r.renew(ctx, c, 7)
		failed <- err
	}()
	<-fake.asked
	go func() {
		_, err := r.renew(ctx, c, 8)
		failed <- err
	}()
	cancel()
	for range 2 {
		if err := <-failed; err == nil {
			t.Error("renewed")
		}
	}
	if ttl, err := r.renew(t.Context(), c, 7); err != nil || ttl != 30 {
		t.Errorf("afterwards: %d, %v", ttl, err)
	}
}
