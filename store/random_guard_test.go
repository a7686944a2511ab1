package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRandomAccidents lets names, zones and members be put, deleted and left to expire at random, servers be
// started anew, etcd be emptied, replaced and taken back, and time pass. Whatever comes, of what is served no
// more than half is gone within a minute unless somebody has accepted it. In the end all is accepted, and what
// is served is what etcd holds.
func TestRandomAccidents(t *testing.T) {
	seed := uint64(20261123)
	if *randomSeed != 0 {
		seed = *randomSeed
	}
	random := rand.New(rand.NewPCG(seed, 1))
	held, refused, lingered := 0, 0, 0
	for round := range *randomRounds {
		a := newAccident(random)
		var history []string
		for range 150 {
			history = append(history, fmt.Sprintf("%s %s", a.now.Format("15:04:05.000"), a.step()))
			if a.registry.WantsRead() {
				a.readAll()
			}
			if wrong := a.look(); wrong != "" {
				t.Fatalf("seed %d, round %d: %s, after:\n%s", seed, round, wrong, strings.Join(history, "\n"))
			}
			if a.registry.Held() != nil {
				held++
			}
			if a.registry.Refused() != "" {
				refused++
			}
			lingered += len(a.registry.unregistered)
		}
		a.acceptAll()
		served, keys := a.served(), a.held()
		if !maps.Equal(served, keys) {
			t.Fatalf("seed %d, round %d: at last %d are served of %d, held back %+v, refused %q, after:\n%s", seed, round, len(served), len(keys), a.registry.Held(), a.registry.Refused(), strings.Join(history, "\n"))
		}
	}
	if held < *randomRounds || refused < *randomRounds || lingered < *randomRounds {
		t.Errorf("in %d steps deletes were held back, in %d nothing was obeyed, %d times a member lingered: too few to say much", held, refused, lingered)
	}
}

// accident is a scene in which things go wrong.
type accident struct {
	*scene
	random *rand.Rand
	now    time.Time
	seen   map[string]time.Time // what was served since the last word or start: until when
	before map[string]bool      // what was served at the last look
}

func newAccident(random *rand.Rand) *accident {
	a := &accident{scene: newScene(), random: random, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	a.at(&a.now)
	a.cluster = 1
	a.change("put check/http {\"http\":{}}", `put pool/p0/policy {"check":"http"}`, `put pool/p1/policy {"check":"http"}`)
	var puts []string
	for zone := range 3 {
		puts = append(puts, "put "+soaOf(zone))
	}
	for key := range 60 {
		puts = append(puts, "put "+nameKey(key)+" 192.0.2.1")
	}
	a.change(puts...)
	for m := range 30 {
		a.putMember(m)
	}
	a.forgetSeen()
	return a
}

func nameKey(n int) string { return fmt.Sprintf("zone/z%d.example/name/n%d/A", n%3, n) }

func soaOf(n int) string {
	return fmt.Sprintf(`zone/z%d.example/soa {"ns":["ns1.example.net."]}`, n%3)
}

func memberKey(n int) string { return fmt.Sprintf("pool/p%d/member/m%d", n%3, n) } // p2 has no check

// putMember puts a member under a lease, and most are up.
func (a *accident) putMember(n int) {
	a.revision++
	e := Entry{Key: memberKey(n), Value: fmt.Appendf(nil, "192.0.2.%d", n+1), Revision: a.revision, Lease: int64(1000 + n)}
	a.keys[e.Key] = e
	a.scene.served = a.registry.Apply(Update{Revision: a.revision, Cluster: a.cluster, Entries: []Entry{e}})
	state := "up"
	if a.random.IntN(5) == 0 {
		state = "down"
	}
	a.runState(fmt.Sprintf("http 192.0.2.%d:80 %s", n+1, state))
}

// step does something, and says what.
func (a *accident) step() string {
	from, n := a.random.IntN(60), 1+a.random.IntN(40)
	switch what := a.random.IntN(100); {
	case what < 20:
		d := time.Duration(a.random.IntN(20000)) * time.Millisecond
		a.now = a.now.Add(d)
		a.lapse()
		return "pass " + d.String()
	case what < 22:
		a.now = a.now.Add(11 * time.Minute)
		a.lapse()
		return "pass 11m"
	case what < 35:
		a.delete(nameKey(from))
		return "del " + nameKey(from)
	case what < 45:
		var keys []string
		for i := range n {
			keys = append(keys, nameKey((from+i)%60))
		}
		a.delete(keys...)
		return fmt.Sprintf("del of %d names from %d", n, from)
	case what < 50:
		key := fmt.Sprintf("zone/z%d.example/soa", from%3)
		a.delete(key)
		return "del " + key
	case what < 53:
		a.delete(slices.Collect(maps.Keys(a.keys))...)
		return "del of all"
	case what < 63:
		var puts []string
		for i := range n {
			puts = append(puts, "put "+nameKey((from+i)%60)+" 192.0.2.2")
		}
		a.change(puts...)
		return fmt.Sprintf("put of %d names from %d", n, from)
	case what < 66:
		a.change("put " + soaOf(from))
		return fmt.Sprintf("put of soa %d", from%3)
	case what < 70:
		a.putMember(from % 30)
		return "put " + memberKey(from%30)
	case what < 78:
		a.expire(from, n)
		return fmt.Sprintf("expiry of %d members from %d", n, from)
	case what < 84:
		// What the watch has missed.
		for i := range n / 2 {
			delete(a.keys, nameKey((from+i)%60))
		}
		a.revision++
		a.readAll()
		return fmt.Sprintf("read, without %d names from %d", n/2, from)
	case what < 88:
		a.restored()
		a.forgetSeen()
		return "restart"
	case what < 91:
		a.revision++
		keys, revision, cluster := a.keys, a.revision, a.cluster
		a.keys = map[string]Entry{}
		if a.random.IntN(2) == 0 {
			a.cluster, a.revision = cluster+1, 5
		}
		a.readAll()
		a.keys, a.revision, a.cluster = keys, revision, cluster
		return "read of nothing"
	case what < 94:
		keys, revision := maps.Clone(a.keys), a.revision
		a.revision -= 3
		maps.DeleteFunc(a.keys, func(_ string, e Entry) bool { return e.Revision > a.revision })
		a.readAll()
		a.keys, a.revision = keys, revision
		return "read of what was three revisions ago"
	case what < 97:
		a.readAll()
		return "read"
	default:
		if a.registry.Held() != nil || a.registry.Refused() != "" {
			a.accept()
			a.forgetSeen()
			return "accept"
		}
		a.readAll()
		return "read"
	}
}

// delete deletes those keys that are there.
func (a *accident) delete(keys ...string) {
	var dels []string
	for _, k := range slices.Sorted(slices.Values(keys)) {
		if _, there := a.keys[k]; there && k != acceptKey {
			dels = append(dels, "del "+k)
		}
	}
	if len(dels) > 0 {
		a.change(dels...)
	}
}

// expire ends the leases of members.
func (a *accident) expire(from, n int) {
	u := Update{Revision: a.revision + 1, Cluster: a.cluster}
	for i := range n {
		if old, there := a.keys[memberKey((from+i)%30)]; there {
			delete(a.keys, old.Key)
			u.Entries = append(u.Entries, Entry{Key: old.Key, Deleted: true, Expired: true, Revision: u.Revision, Lease: old.Lease})
		}
	}
	if len(u.Entries) > 0 {
		a.revision++
		a.scene.served = a.registry.Apply(u)
	}
}

// served is what queries are answered with: names and members.
func (a *accident) served() map[string]bool {
	served := map[string]bool{}
	for n := range 60 {
		if strings.HasPrefix(a.ask(fmt.Sprintf("n%d.z%d.example", n, n%3), "A"), "found") {
			served[nameKey(n)] = true
		}
	}
	for _, p := range a.scene.served.Pools {
		if p == nil {
			continue
		}
		for i := range p.Members {
			served["pool/"+p.Name+"/member/"+p.Members[i].Name] = true
		}
	}
	return served
}

// held is what would be served by one that obeys.
func (a *accident) held() map[string]bool {
	fresh := &accident{scene: newScene()}
	fresh.keys, fresh.revision = a.keys, a.revision
	fresh.readAll()
	return fresh.served()
}

func (a *accident) forgetSeen() {
	a.seen, a.before = map[string]time.Time{}, nil
	a.look()
}

// look says what is wrong: how much of what was served within the last minute is no more.
func (a *accident) look() string {
	served, lost := a.served(), false
	if len(served) == 0 { // whatever comes then is as good as any
		clear(a.seen)
	}
	for key := range a.before {
		lost = lost || !served[key]
	}
	a.before = served
	for key := range served {
		a.seen[key] = a.now
	}
	var names, goneNames, members, goneMembers int
	for key, until := range a.seen {
		gone := !served[key]
		if gone && a.now.Sub(until) > guardWindow {
			delete(a.seen, key)
			continue
		}
		if isMember(key) {
			members++
			goneMembers += count(gone)
		} else {
			names++
			goneNames += count(gone)
		}
	}
	if !lost { // that there are enough of them only now is no matter
		return ""
	}
	if 2*goneNames > names && names >= guardedFrom || 2*goneMembers > members && members >= guardedFrom {
		return fmt.Sprintf("%d of %d names and %d of %d members are gone within a minute", goneNames, names, goneMembers, members)
	}
	return ""
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// accept says that all that was deleted by now was meant, and looks whether that was heard.
func (a *accident) accept() {
	for range 2 { // an empty etcd after another that was empty asks for a number of its own
		a.change(fmt.Sprintf("put %s %d", acceptKey, a.revision))
		a.readAll()
	}
}

// acceptAll has everything be as etcd holds it.
func (a *accident) acceptAll() {
	for i := range a.registry.unregistered {
		a.registry.unregistered[i] = time.Time{}
	}
	a.lapse()
	a.readAll()
	a.accept()
}
