package etcd

import (
	"context"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// fakeEtcd speaks as much of etcd's protocol as Follow does: reads in pages and at revisions, watches
// with progress, the time that leases have left. It has a true history, and breaks its promises when
// it is told to.
type fakeEtcd struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedLeaseServer
	etcdserverpb.UnimplementedWatchServer
	line *bufconn.Listener

	mu   sync.Mutex
	wake *sync.Cond // something below has changed
	rand *rand.Rand // where a response ends
	history
	old    map[uint64]history // of clusters that it was before
	leases map[int64]bool     // that are alive

	behind     int64     // where not 0, it is a member that knows of no later revision
	paused     bool      // it answers nothing
	leaseless  bool      // it does not tell of leases
	deaf       bool      // nor that it does not
	elsewhere  bool      // it tells of those of another cluster
	unaware    bool      // it tells of them as they were a revision before
	asked      int       // questions for leases
	told       int64     // revision up to which the newest watch has been told
	answered   int       // requests of progress
	ending     ending    // of the watches there are
	breakers   []breaker // of the next responses, one each
	lies       []lie
	beforePage func() // once, before the second page of a read
	beforeNext func() // once, before the next watch is created

	conns map[net.Conn]bool
}

// history is all that has ever been in one cluster.
type history struct {
	cluster   uint64
	changes   [][]*mvccpb.Event          // by revision
	versions  map[string][]*mvccpb.Event // by key
	compacted int64
	expired   map[int64]bool // revisions that the end of a lease has made
}

// ending is how watches end.
type ending struct {
	generation int // those begun in an earlier one end
	cancel     string
}

// breaker makes other responses of one. It returns nil where it cannot, and waits for another.
type breaker func(events []*mvccpb.Event) [][]*mvccpb.Event

// lie is a revision that was not told, or too late.
type lie struct {
	cluster  uint64
	revision int64
}

func newHistory(cluster uint64) history {
	return history{
		cluster: cluster, changes: make([][]*mvccpb.Event, 2), // etcd begins with revision 1
		versions: map[string][]*mvccpb.Event{}, expired: map[int64]bool{},
	}
}

func startFake(t *testing.T, seed uint64) *fakeEtcd {
	t.Helper()
	f := &fakeEtcd{line: bufconn.Listen(1 << 16), rand: rand.New(rand.NewPCG(seed, 0)), history: newHistory(0xc),
		old: map[uint64]history{}, leases: map[int64]bool{}, conns: map[net.Conn]bool{}}
	f.wake = sync.NewCond(&f.mu)
	s := grpc.NewServer()
	etcdserverpb.RegisterKVServer(s, f)
	etcdserverpb.RegisterLeaseServer(s, f)
	etcdserverpb.RegisterWatchServer(s, f)
	go s.Serve(&cuttable{f.line, f})
	t.Cleanup(func() {
		f.do(func() { f.paused, f.deaf = false, false; f.ending.generation++ })
		s.Stop()
	})
	return f
}

// do changes something, and those who wait see it.
func (f *fakeEtcd) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.wake.Broadcast()
}

// cuttable is a listener whose connections can be cut.
type cuttable struct {
	net.Listener
	f *fakeEtcd
}

func (l *cuttable) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.f.do(func() { l.f.conns[c] = true })
	}
	return c, err
}

// cut ends the connections there are.
func (f *fakeEtcd) cut() {
	f.do(func() {
		for c := range f.conns {
			c.Close()
		}
		clear(f.conns)
	})
}

// head is the newest revision, that the member knows of.
func (f *fakeEtcd) head() int64 {
	head := int64(len(f.changes) - 1)
	if f.behind != 0 {
		return min(head, f.behind)
	}
	return head
}

// gone is the first revision that the member still knows.
func (f *fakeEtcd) gone() int64 { return min(f.compacted, f.head()) }

func (f *fakeEtcd) header(revision int64) *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{ClusterId: f.cluster, Revision: revision}
}

// at is what a key was at a revision, nil if it was not there.
func (h *history) at(key string, revision int64) *mvccpb.KeyValue {
	versions := h.versions[key]
	i, _ := slices.BinarySearchFunc(versions, revision+1, func(ev *mvccpb.Event, rev int64) int { return int(ev.Kv.ModRevision - rev) })
	if i == 0 || versions[i-1].Type == mvccpb.Event_DELETE {
		return nil
	}
	return versions[i-1].Kv
}

// all is what is there at a revision, by key.
func (h *history) all(revision int64) []*mvccpb.KeyValue {
	var kvs []*mvccpb.KeyValue
	for key := range h.versions {
		if kv := h.at(key, revision); kv != nil {
			kvs = append(kvs, kv)
		}
	}
	slices.SortFunc(kvs, func(x, y *mvccpb.KeyValue) int { return strings.Compare(string(x.Key), string(y.Key)) })
	return kvs
}

// op is a put, or without a value a delete.
type op struct {
	key, value string // key below "/gslb/", or with a leading slash all of it
	lease      int64
}

// commit makes a revision, under f.mu. Deletes of what is not there change nothing.
func (f *fakeEtcd) commit(ops ...op) (revision int64) {
	rev := int64(len(f.changes))
	var events []*mvccpb.Event
	for _, o := range ops {
		kv := &mvccpb.KeyValue{Key: []byte("/gslb/" + o.key), ModRevision: rev}
		if strings.HasPrefix(o.key, "/") {
			kv.Key = []byte(o.key)
		}
		ev := &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv}
		switch {
		case o.value != "":
			kv.Value, kv.Lease = []byte(o.value), o.lease
		case f.at(string(kv.Key), rev) == nil:
			continue
		default:
			ev.Type = mvccpb.Event_DELETE
		}
		events = append(events, ev)
		f.versions[string(kv.Key)] = append(f.versions[string(kv.Key)], ev)
	}
	if len(events) > 0 {
		f.changes = append(f.changes, events)
	}
	return int64(len(f.changes) - 1)
}

func (f *fakeEtcd) put(key, value string) (revision int64) {
	f.do(func() { revision = f.commit(op{key: key, value: value}) })
	return revision
}

// expire ends a lease, under f.mu.
func (f *fakeEtcd) expire(lease int64) {
	var ops []op
	for _, kv := range f.all(math.MaxInt64 - 1) {
		if kv.Lease == lease {
			ops = append(ops, op{key: strings.TrimPrefix(string(kv.Key), "/gslb/")})
		}
	}
	if len(ops) > 0 {
		f.expired[f.commit(ops...)] = true
	}
	delete(f.leases, lease)
}

// become has it be another cluster, with nothing in it.
func (f *fakeEtcd) become(cluster uint64) {
	f.old[f.cluster] = f.history
	f.history, f.behind, f.leases = newHistory(cluster), 0, map[int64]bool{}
}

// truth is the history of a cluster, under f.mu.
func (f *fakeEtcd) truth(cluster uint64) history {
	if cluster == f.cluster {
		return f.history
	}
	return f.old[cluster]
}

// open waits until the member is not paused, under f.mu.
func (f *fakeEtcd) open() {
	for f.paused {
		f.wake.Wait()
	}
}

func (f *fakeEtcd) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open()
	if string(r.Key) != "/gslb/" && f.beforePage != nil {
		f.beforePage()
		f.beforePage = nil
		f.wake.Broadcast()
	}
	rev := r.Revision
	switch {
	case rev > f.head():
		return nil, rpctypes.ErrGRPCFutureRev
	case rev <= 0:
		rev = f.head()
	case rev < f.gone():
		return nil, rpctypes.ErrGRPCCompacted
	}
	resp := &etcdserverpb.RangeResponse{Header: f.header(f.head())}
	for _, kv := range f.all(rev) {
		key := string(kv.Key)
		if key < string(r.Key) || len(r.RangeEnd) == 0 && key != string(r.Key) || len(r.RangeEnd) > 0 && key >= string(r.RangeEnd) {
			continue
		}
		resp.Count++
		if r.Limit > 0 && int64(len(resp.Kvs)) == r.Limit {
			resp.More = true
			continue
		}
		resp.Kvs = append(resp.Kvs, kv)
	}
	return resp, nil
}

func (f *fakeEtcd) LeaseTimeToLive(_ context.Context, r *etcdserverpb.LeaseTimeToLiveRequest) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.paused || f.deaf {
		f.wake.Wait()
	}
	f.asked++
	resp := &etcdserverpb.LeaseTimeToLiveResponse{Header: f.header(f.head()), ID: r.ID, TTL: -1}
	if f.leases[r.ID] {
		resp.TTL = 5
	}
	if f.elsewhere {
		resp.Header.ClusterId++
	}
	if f.unaware {
		resp.Header.Revision--
	}
	if f.leaseless {
		return nil, status.Error(codes.Internal, "leases are out of order")
	}
	return resp, nil
}

// fakeWatch is one watch.
type fakeWatch struct {
	*fakeEtcd
	stream   etcdserverpb.Watch_WatchServer
	from     int64 // revision it began with
	next     int64 // revision to tell of
	progress int   // requests not yet answered
	over     bool
	begun    int // ending.generation
	key, end string
	prevKV   bool // events say what was before
}

func (f *fakeEtcd) Watch(stream etcdserverpb.Watch_WatchServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	from := first.GetCreateRequest().StartRevision
	asked := first.GetCreateRequest()
	w := &fakeWatch{fakeEtcd: f, stream: stream, from: from, next: from, prevKV: asked.PrevKv, key: string(asked.Key), end: string(asked.RangeEnd)}
	go func() {
		for {
			m, err := stream.Recv()
			f.do(func() {
				w.over = w.over || err != nil
				if m.GetProgressRequest() != nil {
					w.progress++
				}
			})
			if err != nil {
				return
			}
		}
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open()
	if f.beforeNext != nil {
		f.beforeNext()
		f.beforeNext = nil
		f.wake.Broadcast()
		f.open()
	}
	w.begun, w.told = f.ending.generation, 0
	return w.tell()
}

// tell sends what there is to be sent, until the watch ends. It holds f.mu, but while it sends.
func (w *fakeWatch) tell() error {
	if err := w.send(&etcdserverpb.WatchResponse{Header: w.header(w.head()), Created: true}); err != nil {
		return err
	}
	for ; !w.over; w.open() {
		var m *etcdserverpb.WatchResponse
		switch {
		case w.begun != w.ending.generation && w.ending.cancel != "":
			m = &etcdserverpb.WatchResponse{Header: w.header(w.head()), Canceled: true, CancelReason: w.ending.cancel}
			w.over = true
		case w.begun != w.ending.generation:
			return nil
		case w.next < w.gone():
			m = &etcdserverpb.WatchResponse{Header: w.header(w.head()), Canceled: true, CompactRevision: w.gone()}
			w.over = true
		case w.next <= w.head():
			if err := w.events(); err != nil {
				return err
			}
			continue
		case w.progress > 0:
			m = &etcdserverpb.WatchResponse{Header: w.header(w.head()), WatchId: -1}
			w.progress--
			w.answered++
			w.wake.Broadcast()
		default:
			w.wake.Wait()
			continue
		}
		if err := w.send(m); err != nil {
			return err
		}
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	<-w.stream.Context().Done() // a watch that has ended does not end its stream
	return nil
}

func (w *fakeWatch) send(m *etcdserverpb.WatchResponse) error {
	w.mu.Unlock()
	defer w.mu.Lock()
	return w.stream.Send(m)
}

// events sends the next revisions, some at a time, and breaks them where it was told to.
func (w *fakeWatch) events() error {
	var events []*mvccpb.Event
	broken := len(w.breakers) > 0 && w.next > w.from
	for n := 1 + w.rand.IntN(4); (n > 0 || broken) && w.next <= w.head(); n-- {
		for _, ev := range w.changes[w.next] {
			if key := string(ev.Kv.Key); key < w.key || key >= w.end {
				continue
			}
			told := &mvccpb.Event{Type: ev.Type, Kv: ev.Kv}
			if w.prevKV && w.next > w.compacted {
				told.PrevKv = w.at(string(ev.Kv.Key), w.next-1)
			}
			events = append(events, told)
		}
		w.next++
	}
	w.told = w.next - 1
	w.wake.Broadcast()
	if len(events) == 0 {
		return nil
	}
	responses := [][]*mvccpb.Event{events}
	if broken {
		if r := w.breakers[0](events); r != nil {
			responses, w.breakers = r, w.breakers[1:]
		}
	}
	head := w.header(w.head())
	for _, events := range responses {
		if err := w.send(&etcdserverpb.WatchResponse{Header: head, Events: events}); err != nil {
			return err
		}
	}
	return nil
}

// leaveOut leaves the first change out.
func (f *fakeEtcd) leaveOut(events []*mvccpb.Event) [][]*mvccpb.Event {
	f.lies = append(f.lies, lie{f.cluster, events[0].Kv.ModRevision})
	if len(events) == 1 {
		return [][]*mvccpb.Event{}
	}
	return [][]*mvccpb.Event{events[1:]}
}

// twice tells changes two times, in one response.
func (f *fakeEtcd) twice(events []*mvccpb.Event) [][]*mvccpb.Event {
	return [][]*mvccpb.Event{append(slices.Clone(events), events...)}
}

// again tells changes two times, in two responses.
func (f *fakeEtcd) again(events []*mvccpb.Event) [][]*mvccpb.Event {
	return [][]*mvccpb.Event{events, events}
}

// swap tells the newest revision first, in one response.
func (f *fakeEtcd) swap(events []*mvccpb.Event) [][]*mvccpb.Event {
	apart := f.late(events)
	if apart == nil {
		return nil
	}
	return [][]*mvccpb.Event{slices.Concat(apart...)}
}

// late tells the newest revision first, in a response of its own.
func (f *fakeEtcd) late(events []*mvccpb.Event) [][]*mvccpb.Event {
	first, last := events[0].Kv.ModRevision, events[len(events)-1].Kv.ModRevision
	if first == last {
		return nil
	}
	for rev := first; rev < last; rev++ {
		f.lies = append(f.lies, lie{f.cluster, rev})
	}
	i := slices.IndexFunc(events, func(ev *mvccpb.Event) bool { return ev.Kv.ModRevision == last })
	return [][]*mvccpb.Event{events[i:], events[:i]}
}

// until waits for something about the fake to become true.
func (f *fakeEtcd) until(t *testing.T, done func() bool) {
	t.Helper()
	late := false
	alarm := time.AfterFunc(limit, func() { f.do(func() { late = true }) })
	defer alarm.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !done() {
		if late {
			t.Fatal("has not come")
		}
		f.wake.Wait()
	}
}
