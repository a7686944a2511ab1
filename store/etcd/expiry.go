package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"meridian/store"
)

const (
	// leaseTimeout is how long etcd may take to say which leases of an update are left.
	leaseTimeout = 2 * time.Second

	// leaseQuestions is how many of them are asked for at a time.
	leaseQuestions = 16
)

// markExpired marks the deletes that came of the end of a lease. etcd does not say which they are, but
// it has such a lease no more, while one of which a key was deleted by hand goes on. Where it cannot
// be asked the lease has ended: a member that lingers for some minutes does less harm than a site
// that is dropped because it was cut off.
func (f *follower) markExpired(ctx context.Context, c *clientv3.Client, u store.Update) {
	ended := map[int64]*bool{}
	for _, e := range u.Entries {
		if e.Deleted && e.Lease != 0 {
			ended[e.Lease] = new(bool)
		}
	}
	if len(ended) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(leaseQuestions)
	for id, yes := range ended {
		group.Go(func() error {
			*yes = !f.goesOn(ctx, c, clientv3.LeaseID(id), u.Revision)
			return nil
		})
	}
	_ = group.Wait()
	for i, e := range u.Entries {
		if e.Deleted && e.Lease != 0 {
			u.Entries[i].Expired = *ended[e.Lease]
		}
	}
}

// goesOn says whether there is still a lease, on the word of an etcd that knows of all changes up to a
// revision.
func (f *follower) goesOn(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID, revision int64) bool {
	left, err := c.TimeToLive(ctx, id)
	return err == nil && left.TTL >= 0 && left.GetClusterId() == f.cluster && left.GetRevision() >= revision
}
