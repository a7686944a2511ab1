package store

import (
	"fmt"
	"strings"
	"time"

	"meridian/policy"
)

// lingers keeps a member whose lease has ended while its check says that it is up: a site that is cut
// off from etcd is not an outage. Who means to go says so ("leaving"), or deletes the key.
func (b *batch) lingers(e Entry, now time.Time) bool {
	if !e.Expired {
		return false
	}
	p, name := b.memberOf(e.Key)
	if p == nil || !b.keeps(p, name, 0) {
		return false
	}
	b.unregistered[e.Key], b.dirty[p.name] = now, true
	b.log.Warn("lease of a member has ended: it is given while its check says up", "key", e.Key, "linger", p.linger())
	return true
}

// memberOf is the pool and the name of a member's key, nil where it is none that is served.
func (r *Registry) memberOf(key string) (*pool, string) {
	if !strings.HasPrefix(key, "pool/") {
		return nil, ""
	}
	k, err := parseKey(key)
	if err != nil || k.kind != kindMember || r.pools[k.name] == nil {
		return nil, ""
	}
	return r.pools[k.name], k.child
}

// keeps says whether a member that has been without a lease for some time may stay. Who reports looks at it whatever
// that shows: the servers go by what is reported, and of a member that nobody looks at the last state would stay.
func (r *Registry) keeps(p *pool, member string, since time.Duration) bool {
	m := p.members[member]
	return m != nil && since < p.linger() && (r.targets.unsaid != nil || r.isUp(p, member))
}

func (p *pool) linger() time.Duration {
	if p.policy == nil {
		return new(policy.Spec).LingerFor()
	}
	return p.policy.value.LingerFor()
}

// isUp says whether a check says of any of the member's addresses that it is up. Nobody looks at one that
// leaves.
func (r *Registry) isUp(p *pool, member string) bool {
	if p.policy == nil || p.policy.value.Check == "" || p.compiled == nil {
		return false
	}
	i := p.compiled.Member(member)
	if c := r.comebacks[p.name]; i >= 0 && c != nil && c.pool == p.compiled {
		return c.members[i].stands.Up() != 0 // though it may be held back
	}
	return i >= 0 && p.compiled.Health(i).Up() != 0
}

// markUnregistered says of a pool's members which linger.
func (b *batch) markUnregistered(p *pool, complaints map[string]string) {
	for name := range p.members {
		since, lingers := b.unregistered["pool/"+p.name+"/member/"+name]
		if lingers && complaints[name] == "" {
			complaints[name] = fmt.Sprintf("%s: it is given while its check says up, until %s",
				leaseEnded, since.Add(p.linger()).UTC().Format(time.RFC3339))
		}
	}
}

const leaseEnded = "its lease has ended"

// Lapsed returns deletes for the members that have lingered for too long, or are not up any more.
func (r *Registry) Lapsed() (deletes []Entry) {
	now := r.now()
	for key, since := range r.unregistered {
		if r.guard.held.has(key) {
			continue
		}
		if p, name := r.memberOf(key); p == nil || !r.keeps(p, name, now.Sub(since)) {
			deletes = append(deletes, Entry{Key: key, Deleted: true, Revision: r.snapshot.Revision})
		}
	}
	return deletes
}
