package store

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"meridian/health"
	"meridian/policy"
	"meridian/spec"
)

// pool returns the pool of that name, with an ID of its own if it is new.
func (r *Registry) pool(name string) *pool {
	p := r.pools[name]
	if p == nil {
		p = &pool{name: name, members: map[string]*object[policy.MemberSpec]{}}
		id := slices.Index(r.poolIDs, nil)
		if id < 0 {
			id = len(r.poolIDs)
			r.poolIDs = append(r.poolIDs, nil)
		}
		p.id = policy.ID(id)
		r.poolIDs[id], r.pools[name] = p, p
	}
	return p
}

func (b *batch) takeMember(k key, e Entry) {
	p := b.pools[k.name]
	var old *object[policy.MemberSpec]
	if p != nil {
		old = p.members[k.child]
	}
	delete(b.unregistered, k.text)
	if e.Deleted {
		b.faults.clear(k.text)
		if old != nil {
			delete(p.members, k.child)
			b.memberKeys--
			b.dirty[k.name] = true
		}
		return
	}
	m, err := decodeMember(e.Value)
	if err != nil {
		b.reject(e, err, servingOf(old))
		if old != nil {
			b.dirty[k.name] = true // it may have lingered
		}
		return
	}
	if site := b.sites[m.Site]; m.Site != "" && (site == nil || site.deleted && (old == nil || old.value.Site != m.Site)) {
		b.await(e, "site", "site/"+m.Site, servingOf(old))
		return
	}
	if old == nil {
		b.memberKeys++
	}
	p = b.pool(k.name)
	p.members[k.child] = &object[policy.MemberSpec]{value: m, text: e.Value, revision: e.Revision, lease: e.Lease}
	b.dirty[k.name] = true
	b.faults.clear(k.text)
	b.wake("pool/" + k.name)
}

// decodeMember reads a member: an object, or the shorthand of a bare address.
func decodeMember(value []byte) (m policy.MemberSpec, err *spec.Error) {
	text := strings.TrimSpace(string(value))
	if strings.HasPrefix(text, "{") || text == "" {
		return m, decode(value, &m)
	}
	addr, perr := netip.ParseAddr(text)
	if perr != nil {
		return m, spec.Errorf("", `%s, expected an address or an object such as {"addr":["192.0.2.10"]}`, addrError(perr))
	}
	m.Addr = []netip.Addr{addr}
	if verr := m.Validate(); verr != nil {
		return m, asError(verr)
	}
	return m, nil
}

// compile makes the pool anew from its keys. A pool without keys keeps what it was until it is
// known whether anything refers to it.
func (b *batch) compile(p *pool) {
	if p.deleted = !p.there(); p.deleted {
		return
	}
	p.lastPolicy, p.lastMembers = p.policy, maps.Clone(p.members)
	b.mended("pool/" + p.name + "/policy")
	var written policy.Spec
	if p.policy != nil {
		written = p.policy.value
	}
	onEmpty := []policy.Fallback{{Kind: policy.FallbackAll}}
	if len(written.OnEmpty) > 0 {
		onEmpty = nil
	}
	for _, word := range written.OnEmpty {
		f, _ := policy.ParseFallback(word)
		if f.Kind == policy.FallbackPool {
			if target := b.pools[f.Name]; target == nil || p.waits != "" && !target.there() {
				continue // the policy waits for it, and does without meanwhile
			}
			f.Pool = b.pools[f.Name].id
		}
		onEmpty = append(onEmpty, f)
	}
	var members []policy.Member
	complaints := map[string]string{} // by member
	for _, name := range p.seated(complaints) {
		m := p.members[name].value
		if m.Leaving {
			continue
		}
		members = append(members, m.Compile(name))
	}
	p.compiled = policy.New(p.name, written, onEmpty, members, b.mapsOf(p))
	b.watch(p, complaints)
	b.edit.SetPool(p.id, p.compiled)
	b.markUnregistered(p, complaints)
	for name := range p.members {
		if key := "pool/" + p.name + "/member/" + name; complaints[name] != "" {
			b.standing(key, "", complaints[name])
		} else if f := b.missingTag(p.members[name]); f != nil {
			f.Key = key
			b.pend(f)
		} else {
			b.mended(key)
		}
	}
}

// seated returns the names of the pool's members, sorted. Of more than a pool may have those written
// last stay out, on every server alike, with a complaint.
func (p *pool) seated(complaints map[string]string) []string {
	names := slices.Sorted(maps.Keys(p.members))
	if len(names) <= policy.MaxMembers {
		return names
	}
	slices.SortStableFunc(names, func(x, y string) int { return cmp.Compare(p.members[x].revision, p.members[y].revision) })
	for _, name := range names[policy.MaxMembers:] {
		complaints[name] = fmt.Sprintf("left out: the pool has %d members already, which is the most", policy.MaxMembers)
	}
	names = names[:policy.MaxMembers]
	slices.Sort(names)
	return names
}

// watch has the pool's addresses checked, and gives them the states that are known.
func (b *batch) watch(p *pool, complaints map[string]string) {
	if p.policy == nil || p.policy.value.Check == "" {
		b.targets.set(p.name, nil, nil, nil)
		return
	}
	name := p.policy.value.Check
	if b.checks[name] == nil || p.waits == "check/"+name { // meanwhile nothing is known of the members
		b.targets.set(p.name, nil, nil, nil)
		return
	}
	check := &b.checks[name].value
	var list []watched
	for i := range p.compiled.Members {
		m := &p.compiled.Members[i]
		written := p.members[m.Name].value
		for j, addr := range m.Addrs {
			if written.CheckAddr != nil {
				addr = *written.CheckAddr
			}
			id := health.TargetID{Check: name, Addr: netip.AddrPortFrom(addr, check.Port(written.Port))}
			list = append(list, watched{id, i, j})
		}
		// A tcp check has no port of its own to fall back on.
		if check.Port(written.Port) == 0 {
			complaints[m.Name] = fmt.Sprintf("check/%s names no port, so the member has to: until then it counts as down", name)
		}
	}
	b.targets.set(p.name, p.compiled, check, list)
}

// settlePools drops pools that have no keys and to which nothing refers any more. One that goes may
// have been the last to refer to another.
func (b *batch) settlePools() {
	var deleted []*pool
	for _, p := range b.pools {
		if p.deleted {
			deleted = append(deleted, p)
		}
	}
	if len(deleted) == 0 {
		return
	}
	slices.SortFunc(deleted, func(x, y *pool) int { return strings.Compare(x.name, y.name) })
	referrers := map[policy.ID]map[*pool]bool{}
	for _, p := range b.pools {
		for _, id := range p.refersTo() {
			if referrers[id] == nil {
				referrers[id] = map[*pool]bool{}
			}
			referrers[id][p] = true
		}
	}
	for len(deleted) > 0 {
		p := deleted[0]
		deleted = deleted[1:]
		by := b.poolReferrer(p, referrers[p.id])
		b.dangling("pool/"+p.name+"/policy", by)
		if by != "" {
			continue
		}
		for _, id := range p.refersTo() {
			delete(referrers[id], p)
			if other := b.poolIDs[id]; other != nil && other.deleted {
				deleted = append(deleted, other)
			}
		}
		b.dropPool(p)
	}
}

func (b *batch) dropPool(p *pool) {
	delete(b.pools, p.name)
	b.poolIDs[p.id] = nil
	b.edit.SetPool(p.id, nil)
	b.targets.set(p.name, nil, nil, nil)
}

// refersTo lists the pools that p, as it is served, falls back to.
func (p *pool) refersTo() (ids []policy.ID) {
	if p.compiled == nil {
		return nil
	}
	for _, f := range p.compiled.OnEmpty {
		if f.Kind == policy.FallbackPool {
			ids = append(ids, f.Pool)
		}
	}
	return ids
}

// poolReferrer names what is served and refers to p, "" if nothing does.
func (b *batch) poolReferrer(p *pool, pools map[*pool]bool) string {
	first := ""
	for other := range pools {
		if first == "" || other.name < first {
			first = other.name
		}
	}
	if first != "" {
		return "pool/" + first + "/policy"
	}
	switch n := b.edit.References(p.id); n {
	case 0:
		return ""
	case 1:
		return "a steered name"
	default:
		return fmt.Sprintf("%d steered names", n)
	}
}
