package store

import (
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
	"meridian/policy"
)

// A pool that has failed over keeps to its new tier until a person says otherwise (failback manual), or
// until a lower tier was up for long enough. Every server sees that for itself, etcd or not; with manual
// failback one of them then writes latch/<pool>, so that all hold it and a person can lift it on all.

// latched is a failback that this server holds of its own accord. With manual failback it is the key's
// from when the key says as much.
type latched struct {
	tier  uint16
	since time.Time
	up    map[uint16]time.Time // tiers below it that are up: since when, without a break
}

// failback is how a pool fails back: manually, or after a time; neither: at once. Where several steps say
// how, manual counts, and else the longest time.
func failback(p *policy.Pool) (manual bool, after time.Duration) {
	for i := range p.Steps {
		if p.Steps[i].Op != policy.OpTier {
			continue
		}
		switch text := p.Steps[i].Tier.Failback; text {
		case "", "auto":
		case "manual":
			manual = true
		default:
			d, _ := time.ParseDuration(text)
			after = max(after, d)
		}
	}
	return manual, after
}

// latch brings the latch of a pool that is served up to date: after each change of its health or its key, and
// now and then.
func (r *Registry) latch(p *pool) {
	if !p.compiled.Latches() {
		r.unlatch(p.name)
		return
	}
	manual, after := failback(p.compiled)
	tiers, now := p.compiled.Tiers(), r.now()
	key := uint16(0)
	if k := r.latches[latchKey(p.name)]; k != nil {
		key = uint16(k.value.Tier)
	}
	own := r.latched[p.name]
	held := key
	if own != nil {
		held = max(held, own.tier)
	}
	if tier, ok := failedOver(tiers); ok && tier > max(held, tiers[0].Tier) {
		own, held = &latched{tier: tier, since: now, up: map[uint16]time.Time{}}, tier
		r.latched[p.name], r.relatched = own, true
		r.log.Warn("pool has failed over: failback is held", "pool", p.name, "tier", tier)
	}
	switch {
	case own == nil:
	case key >= own.tier:
		r.unlatch(p.name)
	case !manual && own.failBack(tiers, after, now):
		r.relatched = true
		if held = max(key, own.tier); own.tier == 0 {
			r.unlatch(p.name)
		}
		r.log.Info("pool fails back: a lower tier was up for long enough", "pool", p.name, "after", after)
	}
	p.compiled.SetLatch(held)
}

// idleLatch says whether a latch's key does nothing, and reports it then.
func (b *batch) idleLatch(text string, revision int64) bool {
	k, _ := parseKey(text)
	p := b.pools[k.name]
	if p == nil || p.compiled == nil || p.compiled.Latches() {
		return false
	}
	b.pend(&Fault{Key: text, Revision: revision, Error: "it does nothing: pool/" + k.name + " has no step tier whose failback is manual or a time"})
	return true
}

// failedOver is the lowest tier that is up, where it is known that those below it are not: what nobody has
// looked at yet has not failed.
func failedOver(tiers []policy.TierState) (tier uint16, ok bool) {
	for _, t := range tiers {
		if t.State != health.Down {
			return t.Tier, t.State == health.Up
		}
	}
	return 0, false
}

// failBack goes down to the lowest tier that has been up for so long, to 0 where there is no lower one, and
// says whether it did.
func (l *latched) failBack(tiers []policy.TierState, after time.Duration, now time.Time) bool {
	up := map[uint16]time.Time{}
	for _, t := range tiers {
		if t.Tier >= l.tier || t.State != health.Up {
			continue
		}
		since, was := l.up[t.Tier]
		if !was {
			since = now
		}
		up[t.Tier] = since
	}
	l.up = up
	for _, t := range tiers {
		if since, is := up[t.Tier]; is && now.Sub(since) >= after {
			l.tier = t.Tier
			if t.Tier == tiers[0].Tier {
				l.tier = 0
			}
			return true
		}
	}
	return false
}

// unlatch forgets what this server holds of its own accord.
func (r *Registry) unlatch(pool string) {
	if r.latched[pool] != nil {
		delete(r.latched, pool)
		r.relatched = true
	}
}

// Relatch brings the latches up to date of the pools whose members have other states now, and those that wait
// for a time to pass.
func (r *Registry) Relatch() {
	for name := range r.latched {
		r.rehealed[name] = true
	}
	for name := range r.rehealed {
		if p := r.pools[name]; p != nil && p.compiled != nil {
			r.latch(p)
		}
	}
	clear(r.rehealed)
}

// Unwritten are the latches, by their keys, that should be in the registry and, as far as is known, are not.
func (r *Registry) Unwritten() map[string]health.Latch {
	unwritten := map[string]health.Latch{}
	for name, l := range r.latched {
		p := r.pools[name]
		if p == nil || p.compiled == nil {
			continue
		}
		if manual, _ := failback(p.compiled); manual {
			unwritten[latchKey(name)] = l.value()
		}
	}
	return unwritten
}

func (l *latched) value() health.Latch {
	since := l.since.UTC().Truncate(time.Second)
	return health.Latch{Tier: int(l.tier), Since: &since}
}

func latchKey(pool string) string { return "latch/" + pool }

// LatchYields says whether the value of a latch's key is to give way to another: it holds a lower tier. One that
// cannot be read is a person's, and stays.
func LatchYields(there, to []byte) bool {
	var is, want health.Latch
	return decode(there, &is) == nil && decode(to, &want) == nil && is.Tier < want.Tier
}

// latchesInto puts what this server holds of its own accord into an image: keys of no revision, since they are not
// in etcd.
func (r *Registry) latchesInto(img *Image) {
	for name, l := range r.latched {
		if text, err := json.Marshal(l.value()); err == nil {
			img.add(latchKey(name), text, 0, 0, false)
		}
	}
}

// relatchFrom takes such a key back, and says whether it is one.
func (r *Registry) relatchFrom(e Entry) bool {
	k, err := parseKey(e.Key)
	if err != nil || k.kind != kindLatch || e.Revision != 0 {
		return false
	}
	var l health.Latch
	if decode(e.Value, &l) == nil && r.pools[k.name] != nil {
		own := &latched{tier: uint16(l.Tier), since: r.now(), up: map[uint16]time.Time{}}
		if l.Since != nil {
			own.since = *l.Since
		}
		r.latched[k.name], r.relatched = own, true
	}
	return true
}
