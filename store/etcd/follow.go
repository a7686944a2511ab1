package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
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
// Whatever goes wrong - a lost connection, a revision compacted away, a promise that etcd breaks -
// all there is is sent again, as it also is now and then without cause. It returns when ctx is done.
//
// What is read is sent, be it of an older revision than the one before or of another cluster: the
// receiver decides whether to obey. It has all read again, and at once, by a send on again, which
// should hold one and may be nil; an update that Follow is about to send then is not sent any more.
// One who asks again within seconds waits as after a failure. Without etcd it is read when etcd is
// back.
//
// A receiver that takes its time misses nothing. etcd keeps the changes for it.
func (r *Registry) Follow(ctx context.Context, out chan<- store.Update, again <-chan struct{}) {
	f := follower{Registry: r, base: r.config, prevKV: true, contact: &r.contact, out: out, again: again, why: atStart}
	f.follow(ctx, r.cfg.Failed)
}

// follow reads and watches until ctx is done. failed, which may be nil, is called whenever etcd is not reached.
func (f *follower) follow(ctx context.Context, failed func()) {
	failures := 0
	for {
		began := time.Now()
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if f.why == nil {
			f.why = reasonOf(err)
		}
		if time.Since(began) > maxDelay {
			failures = 0
		}
		switch {
		case errors.Is(err, errPeriodic):
		case errors.Is(err, errAsked):
			if failures > 0 {
				pause(ctx, failures)
			}
			failures++
		default:
			f.contact.lost(f.log, err)
			if failed != nil {
				failed()
			}
			failures++
			pause(ctx, failures)
		}
	}
}

// FollowLive sends the live keys below a directory, such as "rtt/", as Follow does those of the registry: keys
// with the directory, updates that name it. Whatever happens to them says nothing of the registry: it has no part
// in Contact and Stats. Deletes do not tell whether a lease has ended.
func (r *Registry) FollowLive(ctx context.Context, below string, out chan<- store.Update) {
	f := follower{Registry: r, base: r.live, below: below, contact: &r.liveContact, out: out, why: atStart}
	f.follow(ctx, nil)
}

// follower is what Follow knows from one watch to the next.
type follower struct {
	*Registry
	base     string // what the keys followed begin with, and is not sent: "/gslb/"
	below    string // the directory that they are in below that, "rtt/"; "": all of it
	prevKV   bool   // etcd says what was before each change
	contact  *contact
	out      chan<- store.Update
	again    <-chan struct{}
	why      *reason // why the next read is due, the first of its reasons; nil while watching
	from     int64   // revision of the last read, from which the watch begins
	revision int64   // up to which all has been sent
	cluster  uint64  // that it was of; 0 before the first read
	told     told    // since the read
}

// once reads everything and sends it, then sends changes until something goes wrong.
func (f *follower) once(ctx context.Context) error {
	select {
	case <-f.again: // is about to be done
	default:
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	u, err := f.readAll(ctx, c)
	if err != nil {
		return err
	}
	if f.below == "" {
		f.reads.count(f.why)
	}
	f.why = nil
	switch {
	case f.below != "": // Follow says it
	case f.cluster != 0 && u.Cluster != f.cluster:
		f.log.Warn("registry is of another etcd cluster than before",
			"revision", u.Revision, "cluster", fmt.Sprintf("%x", u.Cluster), "before", fmt.Sprintf("%x", f.cluster))
	case u.Revision < f.revision:
		f.log.Warn("registry is older than it was", "revision", u.Revision, "before", f.revision)
	}
	f.from, f.revision, f.cluster = u.Revision, u.Revision, u.Cluster
	f.told = told{since: u.Revision}
	f.contact.reached(f.log, u.Revision)
	if err := f.send(ctx, u); err != nil {
		return err
	}
	return f.watch(ctx, c)
}

// readAll returns all there is of what is followed.
func (f *follower) readAll(ctx context.Context, c *clientv3.Client) (store.Update, error) {
	if f.below == "" {
		return f.read(ctx, c)
	}
	u, err := readBelow(ctx, c, f.base+f.below, f.end())
	if err != nil {
		return u, fmt.Errorf("reading live keys: %w", err)
	}
	u.Below = f.below
	for i := range u.Entries {
		u.Entries[i].Key = f.below + u.Entries[i].Key
	}
	return u, nil
}

func (f *follower) send(ctx context.Context, u store.Update) error {
	select {
	case f.out <- u:
		return nil
	case <-f.again:
		return errAsked
	case <-ctx.Done():
		return ctx.Err()
	}
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
	asked, answers := 0, true // of etcd's gRPC proxy the creation of the watch is the only answer
	for {
		select {
		case m := <-responses:
			u, err := f.update(m)
			if err != nil {
				return err
			}
			f.contact.heard()
			asked, answers = 0, !m.Created && answers || isProgress(m)
			if len(u.Entries) == 0 {
				continue
			}
			if f.prevKV {
				f.markExpired(ctx, c, u)
			}
			if err := f.send(ctx, u); err != nil {
				return err
			}
		case err := <-broken:
			return err
		case <-ask.C:
			if answers && asked == unanswered {
				return fmt.Errorf("%w for %v", errSilent, unanswered*f.cfg.AskEvery)
			}
			asked++
			_ = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
				ProgressRequest: &etcdserverpb.WatchProgressRequest{}}})
		case <-resync.C:
			return errPeriodic
		case <-f.again:
			return errAsked
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end is the first key behind those that are followed.
func (f *follower) end() string {
	if f.below == "" {
		return f.Registry.end()
	}
	return clientv3.GetPrefixRangeEnd(f.base + f.below)
}

// create asks for a watch that begins with the revision that was read, though all of that is known:
// of a watch from a revision that is yet to come etcd tells nothing until it has come, not even that
// it is there. With what a key was before each change come the lease that a deleted one was under,
// and a sign of changes left out.
func (f *follower) create() *etcdserverpb.WatchRequest {
	return &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{
			Key:           []byte(f.base + f.below),
			RangeEnd:      []byte(f.end()),
			StartRevision: f.from,
			PrevKv:        f.prevKV,
		}}}
}

func receive(ctx context.Context, stream etcdserverpb.Watch_WatchClient, responses chan<- *etcdserverpb.WatchResponse, broken chan<- error) {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = errClosed
		}
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
