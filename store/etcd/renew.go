package etcd

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// renewals is the stream in which the leases of a Registry are renewed, one after the other. A stream of its own for
// each renewal would have the user log in each time, which takes etcd some 60 ms of a processor with a password. The client's
// KeepAliveOnce has one, and tries again without pause while etcd has no leader; its KeepAlive never tries again
// after some errors.
type renewals struct {
	turn   chan struct{}                           // holds one while somebody renews
	stream etcdserverpb.Lease_LeaseKeepAliveClient // nil: none
	end    context.CancelFunc                      // ends it
}

// renew gives a lease its whole time again, and returns that in seconds, 0 if there is no such lease.
func (r *Registry) renew(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID) (ttl int64, err error) {
	s := &r.renewals
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	used := s.stream != nil
	ttl, err = s.renew(ctx, c, id)
	if err != nil && used && ctx.Err() == nil { // that etcd, or that log-in, may be gone since
		ttl, err = s.renew(ctx, c, id)
	}
	return ttl, err
}

// renew asks once. A stream that has not given the answer is not used again.
func (s *renewals) renew(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID) (ttl int64, err error) {
	if s.stream == nil {
		var life context.Context
		life, s.end = context.WithCancel(c.Ctx())
		stop := context.AfterFunc(ctx, s.end)
		s.stream, err = etcdserverpb.NewLeaseClient(c.ActiveConnection()).LeaseKeepAlive(life)
		stop()
		if err != nil {
			s.end()
			s.stream = nil
			return 0, plain(err)
		}
	}
	stop := context.AfterFunc(ctx, s.end)
	_ = s.stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)}) // its error is the next one's
	renewed, err := s.stream.Recv()
	if err == nil && renewed.ID != int64(id) {
		err = fmt.Errorf("etcd has renewed lease %x, asked for %x", renewed.ID, int64(id))
	}
	if !stop() || err != nil {
		s.end()
		s.stream = nil
	}
	if err != nil {
		return 0, plain(err)
	}
	return renewed.TTL, nil
}
