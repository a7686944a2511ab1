package etcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"meridian/store"
)

// Proposals are keys of the configuration that this server would have there, unless somebody has written what
// says as much. Unlike a mirror's they stay when the process ends, and are not written again once they are
// deleted, before Set is called again.
type Proposals struct {
	r      *Registry
	yields func(there, to []byte) bool

	mu   sync.Mutex
	want map[string]string

	changed chan struct{} // holds one: Set was called
}

// Proposals makes some that are written where there is no such key, or where yields says that the value
// there is to give way to the one proposed.
func (r *Registry) Proposals(yields func(there, to []byte) bool) *Proposals {
	return &Proposals{r: r, yields: yields, changed: make(chan struct{}, 1)}
}

// Set says which keys, such as "latch/web", are proposed, and their values. It does not block; the last set given
// counts. The map is the proposals' from then on.
func (p *Proposals) Set(want map[string]string) {
	p.mu.Lock()
	p.want = want
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run writes what Set says until ctx is done. While etcd is away, or does not let it, Run tries again and again,
// and says so once.
func (p *Proposals) Run(ctx context.Context) {
	for failures := 0; ; {
		if failures == 0 {
			select {
			case <-p.changed:
			case <-ctx.Done():
				return
			}
		}
		key, err := p.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && failures > 0:
			p.r.log.Info("proposed keys are written again")
			failures = 0
		case err != nil:
			if failures++; failures == 1 {
				p.r.log.Warn("proposed key cannot be written", "key", key, "reason", plain(err))
			}
			pause(ctx, failures)
		}
	}
}

// round proposes everything, and returns at the first failure.
func (p *Proposals) round(ctx context.Context) (key string, err error) {
	p.mu.Lock()
	want := p.want
	p.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if err := p.propose(ctx, key, []byte(want[key])); err != nil {
			return key, err
		}
	}
	return "", nil
}

// propose looks and writes, and does so again where somebody has written in between.
func (p *Proposals) propose(ctx context.Context, key string, value []byte) error {
	c, err := p.r.client()
	if err != nil {
		return err
	}
	there, err := get(ctx, c, p.r.config+key)
	if err != nil {
		return err
	}
	read := int64(0)
	if len(there.Kvs) > 0 {
		if !p.yields(there.Kvs[0].Value, value) {
			return nil
		}
		read = there.Kvs[0].ModRevision
	}
	revision, err := p.r.Commit(ctx, []store.Change{{Key: key, Value: value, ReadRevision: read}})
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return p.propose(ctx, key, value)
	}
	if err == nil {
		p.r.log.Info("key written", "key", key, "value", string(value), "revision", revision)
	}
	return err
}
