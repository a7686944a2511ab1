package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"meridian/store"
)

// unanswered is how often etcd may be asked where it stands (Config.AskEvery) without an answer.
const unanswered = 3

// Follow sends all there is at a revision, then each change as it comes. The keys of one revision
// are never in two updates; an update may hold several revisions, in order, and so a key twice.
// Whatever goes wrong - a lost connection, a revision compacted away, an etcd restored from a
// backup - all there is is sent again, as it also is now and then without cause. It returns when
// ctx is done.
//
// A receiver that takes its time misses nothing. etcd keeps the changes for it.
func (r *Registry) Follow(ctx context.Context, out chan<- store.Update) {
	f := follower{Registry: r, out: out}
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxDelay {
			failures = 0
		}
		if !errors.Is(err, errResync) {
			r.contact.lost(r.log, err)
			failures++
			pause(ctx, failures)
		}
	}
}

// errResync ends a watch that nothing is wrong with.
var errResync = errors.New("time to read all again")

// follower is what Follow knows from one watch to the next.
type follower struct {
	*Registry
	out      chan<- store.Update
	from     int64  // revision of the last read, from which the watch begins
	revision int64  // up to which all has been sent
	cluster  uint64 // that it was of; 0 before the first read
}

// once reads everything and sends it, then sends changes until something goes wrong.
func (f *follower) once(ctx context.Context) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	u, cluster, err := f.read(ctx, c)
	if err != nil {
		return err
	}
	switch {
	case f.cluster != 0 && cluster != f.cluster:
		f.log.Warn("registry is of another etcd cluster than before",
			"revision", u.Revision, "cluster", fmt.Sprintf("%x", cluster), "before", fmt.Sprintf("%x", f.cluster))
	case u.Revision < f.revision:
		f.log.Warn("registry is older than it was", "revision", u.Revision, "before", f.revision)
	}
	f.from, f.revision, f.cluster = u.Revision, u.Revision, cluster
	f.contact.reached(f.log, u.Revision)
	select {
	case f.out <- u:
	case <-ctx.Done():
		return ctx.Err()
	}
	return f.watch(ctx, c)
}

// watch sends what changes after f.revision, and returns at the first sign that something is not as
// it should be. The client's own Watch is not used since it covers up what we want to see: after a
// lost connection it goes on from where it was, whatever it finds there.
func (f *follower) watch(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	stream, err := etcdserverpb.NewWatchClient(c.ActiveConnection()).Watch(ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return plain(err)
	}
	responses, broken := make(chan *etcdserverpb.WatchResponse), make(chan error, 1)
	go receive(ctx, stream, responses, broken)
	// What goes wrong with sending comes back as an error of receiving.
	_ = stream.Send(f.create())

	resync := time.NewTimer(time.Duration(float64(f.cfg.ResyncEvery) * (0.75 + rand.Float64()/2)))
	defer resync.Stop()
	ask := time.NewTicker(f.cfg.AskEvery)
	defer ask.Stop()
	asked, answers := 0, false // etcd's gRPC proxy does not answer
	for {
		select {
		case m := <-responses:
			u, err := f.update(m)
			if err != nil {
				return err
			}
			f.contact.heard()
			asked, answers = 0, answers || isProgress(m)
			if len(u.Entries) == 0 {
				continue
			}
			select {
			case f.out <- u:
			case <-ctx.Done():
				return ctx.Err()
			}
		case err := <-broken:
			return err
		case <-ask.C:
			if answers && asked == unanswered {
				return fmt.Errorf("etcd has not answered for %v", unanswered*f.cfg.AskEvery)
			}
			asked++
			_ = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
				ProgressRequest: &etcdserverpb.WatchProgressRequest{}}})
		case <-resync.C:
			return errResync
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// create asks for a watch that begins with the revision that was read, though all of that is known:
// of a watch from a revision that is yet to come etcd tells nothing until it has come, not even that
// it is there.
func (f *follower) create() *etcdserverpb.WatchRequest {
	return &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{
			Key:           []byte(f.config),
			RangeEnd:      []byte(clientv3.GetPrefixRangeEnd(f.config)),
			StartRevision: f.from,
		}}}
}

func receive(ctx context.Context, stream etcdserverpb.Watch_WatchClient, responses chan<- *etcdserverpb.WatchResponse, broken chan<- error) {
	for {
		m, err := stream.Recv()
		if err != nil {
			broken <- plain(err)
			return
		}
		select {
		case responses <- m:
		case <-ctx.Done():
			return
		}
	}
}

func isProgress(m *etcdserverpb.WatchResponse) bool { return !m.Created && len(m.Events) == 0 }

// update makes an update of a response, without entries where that tells of no changes. The keys of
// one revision are in one response, since we did not ask etcd to cut large ones up.
func (f *follower) update(m *etcdserverpb.WatchResponse) (u store.Update, err error) {
	switch at := m.GetHeader(); {
	case m.CompactRevision != 0:
		return u, fmt.Errorf("etcd has compacted revision %d, from which to watch, up to %d", f.from, m.CompactRevision)
	case m.Canceled:
		return u, fmt.Errorf("etcd has ended the watch: %s", m.CancelReason)
	case at.GetClusterId() != f.cluster:
		return u, fmt.Errorf("the watch is of etcd cluster %x, expected %x", at.GetClusterId(), f.cluster)
	case isProgress(m) && at.GetRevision() < f.revision:
		return u, fmt.Errorf("etcd is at revision %d, after %d", at.GetRevision(), f.revision)
	}
	u.Revision = f.revision
	for _, ev := range m.Events {
		rev := ev.Kv.ModRevision
		if rev == f.from {
			continue
		}
		if rev <= f.revision || rev < u.Revision {
			return u, fmt.Errorf("etcd has sent revision %d after %d", rev, u.Revision)
		}
		u.Revision = rev
		e := store.Entry{Key: f.relative(ev.Kv.Key), Revision: rev}
		if ev.Type == clientv3.EventTypeDelete {
			e.Deleted = true
		} else {
			e.Value = ev.Kv.Value
		}
		u.Entries = append(u.Entries, e)
	}
	f.revision = u.Revision
	return u, nil
}
