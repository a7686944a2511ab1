package etcd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"meridian/store"
)

// limit is far beyond what anything here takes, in the time of synctest: it is there so that a test
// fails rather than hangs.
const limit = time.Hour

// receiver follows a fake, obeys as package store says that a receiver does, and knows at every update
// what must have come of it.
type receiver struct {
	t       *testing.T
	fake    *fakeEtcd
	etcd    *Registry
	updates chan store.Update
	again   chan struct{}
	log     logged

	cluster  uint64
	base     int64 // revision of the last read that was obeyed
	revision int64
	have     map[string]store.Entry
	held     bool // the last read was older than what there is: it is not obeyed, nor what follows from it
}

// logged is what was logged, a line each without time.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func follow(t *testing.T, fake *fakeEtcd, cfg Config) *receiver {
	t.Helper()
	r := &receiver{t: t, fake: fake, updates: make(chan store.Update), again: make(chan struct{}, 1), have: map[string]store.Entry{}}
	cfg.Endpoints, cfg.Prefix = []string{"fake:1"}, "/gslb"
	cfg.connect = func(ctx context.Context, _ string) (net.Conn, error) { return fake.line.DialContext(ctx) }
	log := slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "after" {
			return slog.Attr{}
		}
		return a
	}}))
	var err error
	if r.etcd, err = Open(t.Context(), cfg, log); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		r.etcd.Follow(ctx, r.updates, r.again)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		r.etcd.Close()
	})
	return r
}

// next takes one update.
func (r *receiver) next() store.Update {
	r.t.Helper()
	select {
	case u := <-r.updates:
		r.take(u)
		return u
	case <-time.After(limit):
		r.fake.mu.Lock()
		defer r.fake.mu.Unlock()
		r.t.Fatalf("no update: at revision %d of %x, while etcd is at %d of %x\n%s", r.revision, r.cluster, r.fake.head(), r.fake.cluster, &r.log)
		panic("unreachable")
	}
}

// take obeys an update, or does not, and looks whether it was right.
func (r *receiver) take(u store.Update) {
	r.t.Helper()
	if u.Full {
		if r.held = u.Cluster == r.cluster && u.Revision < r.revision; r.held {
			select {
			case r.again <- struct{}{}:
			default:
			}
			return
		}
		r.base, r.have = u.Revision, map[string]store.Entry{}
	}
	if r.held {
		return
	}
	r.inOrder(u)
	for _, e := range u.Entries {
		if e.Deleted {
			delete(r.have, e.Key)
		} else {
			r.have[e.Key] = e
		}
	}
	before := r.revision
	r.cluster, r.revision = u.Cluster, u.Revision
	r.compare(u, before)
}

// inOrder checks what Follow says of the updates between two reads.
func (r *receiver) inOrder(u store.Update) {
	r.t.Helper()
	if u.Full {
		return
	}
	last := r.revision + 1
	for _, e := range u.Entries {
		if e.Revision < last {
			r.t.Errorf("%s of revision %d comes after %d", e.Key, e.Revision, last)
		}
		last = e.Revision
	}
	if u.Cluster != r.cluster || u.Revision != last {
		r.t.Errorf("an update of cluster %x to revision %d, expected %x, %d", u.Cluster, u.Revision, r.cluster, last)
	}
}

// compare checks that what there is is the truth of the revision at which it is said to be, unless
// etcd has lied about it since it was read.
func (r *receiver) compare(u store.Update, before int64) {
	r.t.Helper()
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	for _, l := range r.fake.lies {
		if l.cluster == r.cluster && r.base < l.revision && l.revision <= r.revision {
			return
		}
	}
	truth := r.fake.truth(r.cluster)
	wrong := ""
	if u.Full {
		wrong = differences(r.have, &truth, r.revision)
	} else {
		wrong = omissions(u, &truth, before)
	}
	if wrong != "" {
		r.t.Errorf("at revision %d of %x, read at %d: %s\n%s", r.revision, r.cluster, r.base, wrong, &r.log)
	}
	for _, e := range u.Entries {
		if e.Deleted && e.Lease != 0 && truth.expired[e.Revision] && !e.Expired {
			r.t.Errorf("%s has gone with its lease at revision %d, and is told to be deleted", e.Key, e.Revision)
		}
	}
}

// omissions are the changes after a revision that an update does not have as they were.
func omissions(u store.Update, truth *history, before int64) string {
	var wrong []string
	i := 0
	for _, events := range truth.changes[before+1 : u.Revision+1] {
		for _, ev := range events {
			key := strings.TrimPrefix(string(ev.Kv.Key), "/gslb/")
			if i == len(u.Entries) {
				return strings.Join(append(wrong, fmt.Sprintf("%s of revision %d is missing", key, ev.Kv.ModRevision)), ", ")
			}
			e := u.Entries[i]
			i++
			gone := ev.Type == mvccpb.Event_DELETE
			if e.Key != key || e.Revision != ev.Kv.ModRevision || e.Deleted != gone || !bytes.Equal(e.Value, ev.Kv.Value) || !gone && e.Lease != ev.Kv.Lease {
				wrong = append(wrong, fmt.Sprintf("%+v, expected %v", e, ev))
			}
		}
	}
	if i != len(u.Entries) {
		wrong = append(wrong, fmt.Sprintf("%d entries, expected %d", len(u.Entries), i))
	}
	return strings.Join(wrong, ", ")
}

func differences(have map[string]store.Entry, truth *history, revision int64) string {
	var wrong []string
	left := maps.Clone(have)
	for _, kv := range truth.all(revision) {
		key := strings.TrimPrefix(string(kv.Key), "/gslb/")
		e, ok := left[key]
		delete(left, key)
		if !ok || !bytes.Equal(e.Value, kv.Value) || e.Revision != kv.ModRevision || e.Lease != kv.Lease {
			wrong = append(wrong, fmt.Sprintf("%s is %+v, expected %s of revision %d", key, e, kv.Value, kv.ModRevision))
		}
	}
	for key := range left {
		wrong = append(wrong, key+" should be gone")
	}
	return strings.Join(wrong, ", ")
}

// converge takes updates until what there is is what etcd has.
func (r *receiver) converge() {
	r.t.Helper()
	r.until(r.converged)
}

// until takes updates until something is so.
func (r *receiver) until(so func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); !so(); r.next() {
		if time.Now().After(end) {
			r.t.Fatalf("has not come: at revision %d of %x, read for %v\n%s", r.revision, r.cluster, r.etcd.Stats().Reads, &r.log)
		}
	}
}

// ask has all read again.
func (r *receiver) ask() {
	r.t.Helper()
	select {
	case r.again <- struct{}{}:
	case <-time.After(limit):
		r.t.Fatal("nobody listens")
	}
}

func (r *receiver) converged() bool {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	head := int64(len(r.fake.changes) - 1)
	return r.cluster == r.fake.cluster && r.revision == head && differences(r.have, &r.fake.history, head) == ""
}

// Each promise that is broken is noticed, said by its name, and what comes of it is the truth.
func TestPromises(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(t *testing.T, f *fakeEtcd, r *receiver)
		lost  string // for what; "" if nothing is wrong
		reads map[string]int64
	}{
		{"compacted", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() {
				f.beforeNext = func() { // between a read and its watch
					f.commit(op{key: "b", value: "1"})
					f.compacted = f.commit(op{key: "b", value: "2"})
				}
			})
			r.ask()
		}, "etcd has compacted what was to be watched: revision 3, with all before 5", map[string]int64{"asked": 1, "compacted": 1}},
		{"cancelled", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.ending = ending{f.ending.generation + 1, "etcdserver: no leader"} })
		}, "etcd has ended the watch: etcdserver: no leader", map[string]int64{"cancelled": 1}},
		{"closed", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.ending.generation++ })
		}, "etcd has closed the stream of the watch", map[string]int64{"closed": 1}},
		{"another cluster", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.become(0xd) })
		}, "etcd has become another cluster: d, after c", map[string]int64{"cluster": 1}},
		{"gone back", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.behind = 2; f.beforeNext = func() { f.behind = 0 } })
		}, "etcd has gone back: revision 2 after 3", map[string]int64{"back": 1, "asked": 1}},
		{"a change twice", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.breakers = []breaker{f.twice}; f.commit(op{key: "b", value: "1"}) })
		}, "etcd has sent a change twice: b at revision 4", map[string]int64{"twice": 1}},
		{"a response twice", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.breakers = []breaker{f.again}; f.commit(op{key: "b", value: "1"}) })
		}, "etcd has sent a change twice: b at revision 4", map[string]int64{"twice": 1}},
		{"out of order", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() {
				f.breakers = []breaker{f.swap}
				f.commit(op{key: "b", value: "1"})
				f.commit(op{key: "c", value: "1"})
			})
		}, "etcd has sent changes out of order: revision 4 after 5", map[string]int64{"order": 1}},
		{"too late", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() {
				f.breakers = []breaker{f.late}
				f.commit(op{key: "b", value: "1"})
				f.commit(op{key: "c", value: "1"})
			})
		}, "etcd has sent changes out of order: revision 4 after 5", map[string]int64{"order": 1}},
		{"left out", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() {
				f.breakers = []breaker{f.leaveOut}
				f.commit(op{key: "b", value: "1"})
				f.commit(op{key: "c", value: "1"})
			})
			r.next()
			f.put("b", "2")
		}, "etcd has left out a change: of b at revision 4, before that at 6", map[string]int64{"missing": 1}},
		{"silent", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.until(t, func() bool { return f.answered > 0 }) // etcd's gRPC proxy never answers
			f.do(func() { f.paused = true; f.commit(op{key: "b", value: "1"}) })
			r.lost()
			f.do(func() { f.paused = false })
		}, "etcd has not answered for 15s", map[string]int64{"silent": 1}},
		{"silent before a watch is there", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.beforeNext = func() { f.paused = true } })
			r.ask()
			r.next()
			r.lost()
			f.do(func() { f.paused = false; f.commit(op{key: "b", value: "1"}) })
		}, "etcd has not answered for 15s", map[string]int64{"asked": 1, "silent": 1}},
		{"cut", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.cut()
			f.put("b", "1")
		}, "error reading from server: EOF", map[string]int64{"lost": 1}},

		// Nothing shows that anything is wrong.
		{"left out for good", func(t *testing.T, f *fakeEtcd, r *receiver) {
			f.do(func() { f.breakers = []breaker{f.leaveOut}; f.commit(op{key: "a"}) })
		}, "", map[string]int64{"periodic": 1}},
		{"asked", func(t *testing.T, f *fakeEtcd, r *receiver) {
			r.ask()
		}, "", map[string]int64{"asked": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := startFake(t, 1)
				f.put("a", "1")
				f.put("a", "2")
				r := follow(t, f, Config{})
				r.converge()
				f.until(t, func() bool { return f.told == 3 })
				tt.fault(t, f, r)
				want := maps.Clone(tt.reads)
				want["start"]++
				r.until(func() bool { return r.converged() && r.read(want) })
				for name, n := range r.etcd.Stats().Reads {
					if n != want[name] {
						t.Errorf("%d reads for %s, expected %d\n%s", n, name, want[name], &r.log)
					}
				}
				said := ""
				for line := range strings.Lines(r.log.String()) {
					_, reason, _ := strings.Cut(line, `level=WARN msg="registry lost" reason=`)
					said += strings.Trim(reason, "\"\n")
				}
				if said != tt.lost {
					t.Errorf("lost for %q, expected %q", said, tt.lost)
				}
			})
		})
	}
}

// read says whether all was read as often as wanted, at the least.
func (r *receiver) read(want map[string]int64) bool {
	reads := r.etcd.Stats().Reads
	for name, n := range want {
		if reads[name] < n {
			return false
		}
	}
	return true
}

// lost takes updates until etcd is known to be lost.
func (r *receiver) lost() {
	r.t.Helper()
	for r.etcd.Contact().InReach {
		select {
		case u := <-r.updates:
			r.take(u)
		case <-time.After(time.Second):
		}
	}
}
