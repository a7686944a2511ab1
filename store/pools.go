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
	"meridian/policy/geo"
	"meridian/spec"
	"meridian/zones"
)

// pool returns the pool of that name, with an ID of its own if it is new.
func (r *Registry) pool(name string) *pool {
	p := r.pools[name]
	if p == nil {
		p = &pool{name: name, members: map[string]*object[policy.MemberSpec]{}}
		if n := len(r.freeIDs); n > 0 {
			p.id, r.freeIDs = r.freeIDs[n-1], r.freeIDs[:n-1]
		} else {
			p.id = policy.ID(len(r.poolIDs))
			r.poolIDs = append(r.poolIDs, nil)
		}
		r.poolIDs[p.id], r.pools[name] = p, p
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
			b.noteWithin(p, k.child, old)
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
	b.noteWithin(p, k.child, old)
	b.dirty[k.name] = true
	b.faults.clear(k.text)
	b.wake("pool/" + k.name)
}

// decodeMember reads a member: an object, or the shorthand of a bare address.
func decodeMember(value []byte) (m policy.MemberSpec, err *spec.Error) {
	text := strings.TrimSpace(string(value))
	if strings.HasPrefix(text, "{") || text == "" {
		if err = decode(value, &m); err == nil && m.Pool != "" {
			if wrong := CheckName(m.Pool); wrong != nil { // it would wait for ever
				err = &spec.Error{Field: "pool", Line: lineOf(value, "pool"), Msg: wrong.Error()}
			}
		}
		return m, err
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
		b.deleted[p.name] = p
		if p.compiled != nil {
			b.compileDeleted(p)
		}
		return
	}
	delete(b.deleted, p.name)
	p.lastPolicy = p.policy
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
	complaints := map[string]string{} // by member
	members := b.members(p, complaints)
	p.lastMembers = p.serving()
	before := p.compiled
	p.compiled = policy.New(p.name, written, members, policy.Surroundings{
		OnEmpty: onEmpty, Maps: b.mapsOf(p), Sites: b.sitesOf(p), Pools: b.edit.Pools(), Scale: b.scale(p, members),
	})
	if before != nil && before.OfNames != p.compiled.OfNames {
		b.flipped[p.id] = true
	}
	b.watch(p, complaints)
	b.override(p)
	b.comeBack(p)
	b.measured(p)
	b.latch(p)
	b.edit.SetPool(p.id, p.compiled)
	b.markUnregistered(p, complaints)
	for name, o := range p.members {
		key := "pool/" + p.name + "/member/" + name
		if why := cmp.Or(p.excluded[name], p.odd[name]); why != nil {
			b.complain(p, name, why)
			continue
		}
		delete(p.before, name)
		if complaints[name] != "" {
			b.standing(key, "", complaints[name])
		} else if f := b.missingTag(o); f != nil {
			f.Key = key
			b.pend(f)
		} else {
			b.mended(key)
		}
	}
}

// chain is the policy that p is served with, nil for none.
func (p *pool) chain() *object[policy.Spec] {
	if p.deleted {
		return p.lastPolicy
	}
	return p.policy
}

// compileDeleted makes a pool that serves on anew from what it was made of: what is around it may have changed.
func (b *batch) compileDeleted(p *pool) {
	var written policy.Spec
	if p.lastPolicy != nil {
		written = p.lastPolicy.value
	}
	p.compiled = policy.New(p.name, written, p.compiled.Members, policy.Surroundings{
		OnEmpty: p.compiled.OnEmpty, Maps: b.mapsOf(p), Sites: b.sitesOf(p), Pools: b.edit.Pools(), Scale: b.scale(p, p.compiled.Members),
	})
	b.watch(p, map[string]string{})
	b.override(p)
	b.comeBack(p)
	b.measured(p)
	b.latch(p)
	b.edit.SetPool(p.id, p.compiled)
}

// members are those of the pool that can be, sorted by name.
func (b *batch) members(p *pool, complaints map[string]string) (members []policy.Member) {
	p.odd = nil // that is to be found out
	for _, name := range p.seated(complaints) {
		m, ok := b.member(name, p.members[name]), true
		if p.excluded[name] != nil {
			if m, ok = b.lastGood(p, name); !ok {
				b.dropBefore(p, name)
			}
		}
		if ok && !p.served(name, p.members[name]).value.Leaving {
			members = append(members, m)
		}
	}
	return b.ofKind(p, members)
}

// member compiles the value of one.
func (r *Registry) member(name string, o *object[policy.MemberSpec]) policy.Member {
	m := o.value.Compile(name)
	if child := r.pools[m.Pool]; m.Pool != "" && child != nil {
		m.Child = child.id
	}
	return m
}

// sitesOf are the places of the sites that the pool's members stand at.
func (r *Registry) sitesOf(p *pool) map[string]geo.Point {
	sites := map[string]geo.Point{}
	for _, o := range p.values() {
		if site := r.sites[o.value.Site]; site != nil {
			sites[o.value.Site] = site.value.Point()
		}
	}
	return sites
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
	chain := p.chain()
	if chain == nil || chain.value.Check == "" {
		b.targets.set(p.name, nil, nil)
		return
	}
	name := chain.value.Check
	if b.checks[name] == nil || p.waits == "check/"+name { // meanwhile nothing is known of the members
		b.targets.set(p.name, nil, nil)
		return
	}
	var list []watched
	for i := range p.compiled.Members {
		m := &p.compiled.Members[i]
		if b.heldUp(p, m) {
			continue
		}
		written := p.lastMembers[m.Name].value
		addrs := m.Addrs
		if m.Checks > 0 {
			addrs = []netip.Addr{*written.CheckAddr}
		}
		for j, addr := range addrs {
			if written.CheckAddr != nil {
				addr = *written.CheckAddr
			}
			list = append(list, watched{health.TargetOf(name, addr, written.Port, b.check), i, j})
		}
		if portless := b.portless(name, written.Port); len(addrs) > 0 && portless != "" {
			complaints[m.Name] = fmt.Sprintf("check/%s names no port, so the member has to: until then it counts as down", portless)
		}
	}
	b.targets.set(p.name, p.compiled, list)
}

// check is what is written of a check as it is served, nil where it is not there.
func (r *Registry) check(name string) *health.Check {
	if o := r.checks[name]; o != nil {
		return &o.value
	}
	return nil
}

// portless names the check, of that name or a part of it, that has nothing to connect to at a member
// of that port. "": there is none.
func (r *Registry) portless(name string, port uint16) string {
	for _, name := range append([]string{name}, r.check(name).Parts()...) {
		if c := r.check(name); c != nil && c.NeedsPort() && c.Port(port) == 0 {
			return name
		}
	}
	return ""
}

// settlePools drops pools that have no keys and to which nothing refers any more. One that goes may
// have been the last to refer to another.
func (b *batch) settlePools() {
	deleted := slices.Sorted(maps.Keys(b.deleted))
	for len(deleted) > 0 {
		p := b.deleted[deleted[0]]
		if deleted = deleted[1:]; p == nil {
			continue
		}
		by := b.poolReferrer(p)
		b.dangling("pool/"+p.name+"/policy", by)
		if by != "" {
			continue
		}
		for _, id := range p.refersTo() {
			deleted = append(deleted, b.poolIDs[id].name)
		}
		b.dropPool(p)
	}
}

func (b *batch) dropPool(p *pool) {
	delete(b.pools, p.name)
	delete(b.deleted, p.name)
	b.leave(p.name)
	b.dirty[p.name] = true // to whom refers to it from without
	b.lie.forget(p.name)
	b.fall.forget(p.name)
	b.unlatch(p.name)
	delete(b.comebacks, p.name)
	b.live.forget(func(pool, _ string) bool { return pool == p.name })
	b.poolIDs[p.id], b.freeIDs = nil, append(b.freeIDs, p.id)
	b.edit.SetPool(p.id, nil)
	b.targets.set(p.name, nil, nil)
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
	return append(ids, p.compiled.Children()...)
}

// referring is the key by which a pool, as it is served, refers to another.
func (p *pool) referring(id policy.ID) string {
	for i := range p.compiled.Members {
		if m := &p.compiled.Members[i]; m.Pool != "" && m.Child == id {
			return "pool/" + p.name + "/member/" + m.Name
		}
	}
	return "pool/" + p.name + "/policy"
}

// poolReferrer names what is served and refers to p, "" if nothing does.
func (b *batch) poolReferrer(p *pool) string {
	first := ""
	for _, up := range []map[string]bool{b.lie.up[p.name], b.fall.up[p.name]} {
		for name := range up {
			other := b.pools[name]
			if other == nil || !slices.Contains(other.refersTo(), p.id) {
				continue
			}
			if key := other.referring(p.id); first == "" || key < first {
				first = key
			}
		}
	}
	if first != "" {
		return first
	}
	switch n := b.edit.References(p.id); n {
	case 0:
		for key, f := range b.faults.byKey { // what cannot stand now may be able to later
			if f.part != nil && f.part.Kind == zones.Steered && f.part.Pool() == p.id {
				return key
			}
		}
		return ""
	case 1:
		return "a steered name"
	default:
		return fmt.Sprintf("%d steered names", n)
	}
}
