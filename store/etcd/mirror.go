package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxBatch is how many bytes a mirror writes at once; etcd takes 1.5 MiB.
	maxBatch = 1 << 20

	// revokeTimeout is how long a stop may wait for etcd to drop the keys, which it otherwise does
	// by itself when the lease runs out.
	revokeTimeout = time.Second

	// minGap is from one write of a paced mirror to the next, and is doubled up to maxGap while changes keep coming.
	minGap = 50 * time.Millisecond
	maxGap = 500 * time.Millisecond
)

// Mirror keeps the live keys below a directory equal to a set of values. They are under a lease of
// the mirror's own, so that they go when the process does.
type Mirror struct {
	r        *Registry
	dir, end string // keys from the first up to the second are the mirror's: "/gslb-live/error/ns1/", "/gslb-live/error/ns10"
	paced    bool

	mu    sync.Mutex
	want  map[string]string
	anew  map[string]bool // keys of it that are to be written though they be there
	stats MirrorStats

	changed chan struct{} // holds one: there is something new in want
}

// MirrorStats is what a mirror has written.
type MirrorStats struct {
	Writes int64     // of keys, deletes among them
	Last   time.Time // zero: none yet
}

// Stats may be called by any goroutine.
func (m *Mirror) Stats() MirrorStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Mirror makes a mirror of the live keys below dir, such as "report/fra1", which must be nobody
// else's: what it does not hold is deleted.
func (r *Registry) Mirror(dir string) *Mirror {
	from := r.live + checkLive(dir) + "/"
	return r.mirror(from, clientv3.GetPrefixRangeEnd(from))
}

// PacedMirror is Mirror of values that may change very often for a while. The first change is written at once, those
// that follow within 50 ms together after that, and so on, up to half a second.
func (r *Registry) PacedMirror(dir string) *Mirror {
	m := r.Mirror(dir)
	m.paced = true
	return m
}

func (r *Registry) mirror(from, end string) *Mirror {
	return &Mirror{r: r, dir: from, end: end, changed: make(chan struct{}, 1)}
}

// checkLive panics where a mirror would delete the keys of others.
func checkLive(key string) string {
	if key == "" || strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") {
		panic(fmt.Sprintf("etcd: mirror of %q", key))
	}
	return key
}

// KeyMirror keeps one live key equal to a value, as a Mirror does with those below a directory.
type KeyMirror struct{ m *Mirror }

// MirrorKey makes a mirror of a live key, such as "server/ns1".
func (r *Registry) MirrorKey(key string) *KeyMirror {
	from := r.live + checkLive(key)
	return &KeyMirror{r.mirror(from, from+"\x00")}
}

// Set says which value the key is to have. It does not block; the last value given counts.
func (k *KeyMirror) Set(value string) { k.m.Set(map[string]string{"": value}) }

// Run writes what Set says until ctx is done, then takes the key away. See Mirror.Run.
func (k *KeyMirror) Run(ctx context.Context) { k.m.Run(ctx) }

// Set says which keys there are to be, below the directory, and their values. It does not block; the
// last set given counts. The map is the mirror's from then on.
func (m *Mirror) Set(want map[string]string) { m.SetAnew(want, nil) }

// SetAnew is Set, but for keys that are written though they are there with that value: a sign that it still holds.
func (m *Mirror) SetAnew(want map[string]string, anew []string) {
	m.mu.Lock()
	m.want = want
	for _, key := range anew {
		if m.anew == nil {
			m.anew = map[string]bool{}
		}
		m.anew[key] = true
	}
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// lease is a mirror's hold on etcd.
type lease struct {
	id    clientv3.LeaseID // 0: none
	renew time.Time        // when it is to be renewed
	read  time.Time        // when have was read
	have  map[string]held  // what is below the directory, as far as is known; nil: it must be read
}

// held is a value in etcd and the lease it is under.
type held struct {
	value string
	lease clientv3.LeaseID
}

// Run writes what Set says until ctx is done, then takes the keys away. Nothing is touched before the
// first Set; after it, what an earlier process has left goes as well. While etcd is away Run tries
// again and again, and says so once.
func (m *Mirror) Run(ctx context.Context) {
	var l lease
	defer m.drop(&l)
	select {
	case <-m.changed:
	case <-ctx.Done():
		return
	}
	failures := 0
	var p pace
	for {
		err := m.round(ctx, &l)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if failures > 0 {
				m.r.log.Info("live keys are written again", "keys", m.dir)
			}
			failures = 0
			done := time.Now()
			select {
			case <-m.changed:
				if m.paced {
					wait(ctx, p.wait(time.Since(done)))
				}
			case <-time.After(time.Until(l.renew)):
			case <-ctx.Done():
				return
			}
			continue
		}
		failures++
		if failures == 1 {
			m.r.log.Warn("live keys cannot be written", "keys", m.dir, "reason", plain(err))
		}
		pause(ctx, failures)
	}
}

// pace spaces out what is done again and again. The zero pace has done nothing yet.
type pace struct{ gap time.Duration }

// wait is how long to wait before it is done again, so long after the last time.
func (p *pace) wait(since time.Duration) time.Duration {
	if since >= p.gap {
		p.gap = minGap
		return 0
	}
	left := p.gap - since
	p.gap = min(2*p.gap, maxGap)
	return left
}

// round does what is due: to have a lease, to renew it, to look at what is there, to write.
func (m *Mirror) round(ctx context.Context, l *lease) error {
	c, err := m.r.client()
	if err != nil {
		return err
	}
	if err := m.hold(ctx, c, l); err != nil {
		return err
	}
	if l.have == nil || time.Since(l.read) > m.r.cfg.ResyncEvery {
		l.have = nil
		if err := m.look(ctx, c, l); err != nil {
			return err
		}
	}
	m.mu.Lock()
	want, anew := m.want, m.anew
	m.anew = nil
	m.mu.Unlock()
	for key := range anew {
		if _, wanted := want[key]; wanted {
			delete(l.have, key)
		}
	}
	for batch := range batches(changes(l.have, want, l.id)) {
		if err := m.write(ctx, c, l, batch); err != nil {
			l.have = nil // it is not known what of it was done
			if errors.Is(err, rpctypes.ErrLeaseNotFound) {
				l.id = 0
			}
			return err
		}
	}
	return nil
}

// hold sees to it that there is a lease, with at least two thirds of its time to go.
func (m *Mirror) hold(ctx context.Context, c *clientv3.Client, l *lease) error {
	ttl := m.r.cfg.LeaseTTL
	if l.id != 0 && time.Now().Before(l.renew) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(opTimeout, ttl/3))
	defer cancel()
	began := time.Now()
	if l.id != 0 {
		left, err := m.r.renew(ctx, c, l.id)
		switch {
		case err != nil:
			return err
		case left > 0:
			l.renew = began.Add(ttl / 3)
			return nil
		}
		m.r.log.Info("lease of live keys is lost, writing them again", "keys", m.dir)
	}
	l.id, l.have = 0, nil
	granted, err := c.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return err
	}
	l.id, l.renew = granted.ID, began.Add(ttl/3)
	return nil
}

// look reads what is below the directory.
func (m *Mirror) look(ctx context.Context, c *clientv3.Client, l *lease) error {
	have := make(map[string]held)
	for from := m.dir; ; {
		page, err := get(ctx, c, from, clientv3.WithRange(m.end), clientv3.WithLimit(firstPage))
		if err != nil {
			return err
		}
		for _, kv := range page.Kvs {
			have[strings.TrimPrefix(string(kv.Key), m.dir)] = held{string(kv.Value), clientv3.LeaseID(kv.Lease)}
		}
		if !page.More {
			l.have, l.read = have, time.Now()
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// write makes a batch of changes in one transaction.
func (m *Mirror) write(ctx context.Context, c *clientv3.Client, l *lease, batch []change) error {
	var ops []clientv3.Op
	for _, ch := range batch {
		if ch.gone {
			ops = append(ops, clientv3.OpDelete(m.dir+ch.key))
		} else {
			ops = append(ops, clientv3.OpPut(m.dir+ch.key, ch.value, clientv3.WithLease(l.id)))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
		return err
	}
	m.mu.Lock()
	m.stats.Writes += int64(len(batch))
	m.stats.Last = time.Now()
	m.mu.Unlock()
	for _, ch := range batch {
		if ch.gone {
			delete(l.have, ch.key)
		} else {
			l.have[ch.key] = held{ch.value, l.id}
		}
	}
	return nil
}

// drop gives the lease back, which deletes the keys.
func (m *Mirror) drop(l *lease) {
	if l.id == 0 {
		return
	}
	c, err := m.r.client()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeTimeout)
	defer cancel()
	if _, err := c.Revoke(ctx, l.id); err != nil {
		m.r.log.Warn("live keys stay until their lease ends", "keys", m.dir, "ttl", m.r.cfg.LeaseTTL, "reason", plain(err))
	}
}

// change is what has to be done to a key below a mirror's directory.
type change struct {
	key, value string
	gone       bool
}

// changes lists what makes have into want, all of it under the lease id, by key.
func changes(have map[string]held, want map[string]string, id clientv3.LeaseID) []change {
	var list []change
	for key := range have {
		if _, ok := want[key]; !ok {
			list = append(list, change{key: key, gone: true})
		}
	}
	for key, value := range want {
		if have[key] != (held{value, id}) {
			list = append(list, change{key: key, value: value})
		}
	}
	slices.SortFunc(list, func(a, b change) int { return strings.Compare(a.key, b.key) })
	return list
}

// batches cuts a list into what etcd takes at once.
func batches(list []change) iter.Seq[[]change] {
	return func(yield func([]change) bool) {
		from, size := 0, 0
		for i, ch := range list {
			n := len(ch.key) + len(ch.value)
			if i > from && (i-from == MaxChanges || size+n > maxBatch) {
				if !yield(list[from:i]) {
					return
				}
				from, size = i, 0
			}
			size += n
		}
		if from < len(list) {
			yield(list[from:])
		}
	}
}
