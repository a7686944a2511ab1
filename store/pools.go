package store

import (
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
	if e.Deleted {
		b.faults.clear(k.text)
		if old != nil {
			delete(p.members, k.child)
			b.dirty[k.name] = true
			b.wake("room in pool/" + k.name)
		}
		return
	}
	m, err := decodeMember(e.Value)
	if err != nil {
		b.reject(e, err, servingOf(old))
		return
	}
	if m.Site != "" && b.sites[m.Site] == nil {
		b.await(e, "site", "site/"+m.Site, servingOf(old))
		return
	}
	if old == nil && p != nil && len(p.members) >= policy.MaxMembers {
		b.await(e, "", "room in pool/"+k.name, 0)
		return
	}
	p = b.pool(k.name)
	p.members[k.child] = &object[policy.MemberSpec]{value: m, revision: e.Revision}
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
			f.Pool = b.pools[f.Name].id
		}
		onEmpty = append(onEmpty, f)
	}
	var members []policy.Member
	for _, name := range slices.Sorted(maps.Keys(p.members)) {
		m := p.members[name].value
		members = append(members, m.Compile(name))
	}
	p.compiled = policy.New(p.name, written, onEmpty, members)
	b.watch(p)
	b.edit.SetPool(p.id, p.compiled)
}

// watch has the pool's addresses checked, and gives them the states that are known.
func (b *batch) watch(p *pool) {
	if p.policy == nil || p.policy.value.Check == "" {
		b.targets.set(p.name, nil, nil, nil)
		return
	}
	name := p.policy.value.Check
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
		if key := "pool/" + p.name + "/member/" + m.Name; check.Port(written.Port) == 0 {
			b.standing(key, "", fmt.Sprintf("check/%s names no port, so the member has to: until then it counts as down", name))
		} else {
			b.mended(key)
		}
	}
	b.targets.set(p.name, p.compiled, check, list)
}

// settlePools drops pools that have no keys and to which nothing refers any more. One that goes may
// have been the last to refer to another.
func (b *batch) settlePools() {
	for dropped := true; dropped; {
		dropped = false
		for _, name := range slices.Sorted(maps.Keys(b.pools)) {
			if p := b.pools[name]; p.deleted && b.settlePool(p) {
				dropped = true
			}
		}
	}
}

func (b *batch) settlePool(p *pool) (dropped bool) {
	by := b.poolReferrer(p)
	b.dangling("pool/"+p.name+"/policy", by)
	if by != "" {
		return false
	}
	delete(b.pools, p.name)
	b.poolIDs[p.id] = nil
	b.edit.SetPool(p.id, nil)
	b.targets.set(p.name, nil, nil, nil)
	return true
}

// poolReferrer names what is served and refers to p, "" if nothing does.
func (b *batch) poolReferrer(p *pool) string {
	for _, name := range slices.Sorted(maps.Keys(b.pools)) {
		other := b.pools[name]
		if other.compiled == nil || other == p {
			continue
		}
		for _, f := range other.compiled.OnEmpty {
			if f.Kind == policy.FallbackPool && f.Pool == p.id {
				return "pool/" + name + "/policy"
			}
		}
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
