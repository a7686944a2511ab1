package store

import (
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
	"meridian/policy"
	"meridian/spec"
)

// reportSpec is the value of the live key report/<checker>/<pool>: by member, and address as it is answered. Of a
// member that is a name, the address is that which is checked.
type reportSpec map[string]map[netip.Addr]seen

// heardReport is the value of such a key, and its hash: it need not be taken in again when all are read.
type heardReport struct {
	reportSpec
	hash uint64
}

var reportSeed = maphash.MakeSeed()

// seen is what a checker sees of an address.
type seen struct {
	State   string    `json:"state"`            // "up" or "down"
	Since   time.Time `json:"since"`            // by the checker's clock
	Reason  string    `json:"reason,omitzero"`  // why it came to be down
	Warning string    `json:"warning,omitzero"` // of one that is up and may not stay so
}

// Validate says what is wrong with s, as a *spec.Error.
func (s reportSpec) Validate() error {
	for _, member := range slices.Sorted(maps.Keys(s)) {
		for addr, it := range s[member] {
			switch field := member + "." + addr.String(); {
			case it.State != "up" && it.State != "down":
				return spec.Errorf(field+".state", `%q is not known, expected "up" or "down"`, it.State)
			case it.Since.IsZero():
				return spec.Errorf(field+".since", `missing, expected a time such as "2026-11-22T18:00:00Z"`)
			}
		}
	}
	return nil
}

func (s seen) state() health.State {
	if s.State == "up" {
		return health.Up
	}
	return health.Down
}

// answered is the address of a member by which reports know it.
func answered(m *policy.Member, addr int, checked netip.AddrPort) netip.Addr {
	if addr < len(m.Addrs) {
		return m.Addrs[addr]
	}
	return checked.Addr()
}

// The side that reports.

const (
	maxReason = 100     // bytes of a reason, or a warning
	maxValue  = 1 << 20 // of a key: etcd takes 1.5 MiB
)

// Report has the registry keep what its own checker reports, for Reports.
func (r *Registry) Report() { r.targets.unsaid = map[string]bool{} }

// Reports are the values of the live keys report/<checker>/<pool> of this process's own checker, by pool, those of
// before where nothing has changed; ok is false where nothing has of any.
func (r *Registry) Reports(before map[string]string) (now map[string]string, ok bool) {
	t := r.targets
	if len(t.unsaid) == 0 {
		return before, false
	}
	now = maps.Clone(before)
	if now == nil {
		now = map[string]string{}
	}
	for name := range t.unsaid {
		delete(now, name)
		if p := r.pools[name]; p != nil && p.compiled != nil {
			if text := t.reportOf(p.compiled); text != "" {
				now[name] = text
			}
		}
	}
	clear(t.unsaid)
	return now, !maps.Equal(before, now)
}

// reportOf is the value of a pool's key, "" where nothing is to be reported.
func (t *targets) reportOf(p *policy.Pool) string {
	s := reportSpec{}
	for _, w := range t.byPool[p.Name] {
		own := t.byID[w.TargetID].own
		if own.state == health.Unknown {
			continue
		}
		m := &p.Members[w.member]
		if s[m.Name] == nil {
			s[m.Name] = map[netip.Addr]seen{}
		}
		it := seen{State: own.state.String(), Since: own.since.UTC().Truncate(time.Second)}
		if own.state == health.Down {
			it.Reason = clipTo(own.reason, maxReason)
		} else {
			it.Warning = clipTo(own.warning, maxReason)
		}
		s[m.Name][answered(m, w.addr, w.Addr)] = it
	}
	if len(s) == 0 {
		return ""
	}
	text, err := json.Marshal(s, json.Deterministic(true))
	if err == nil && len(text) > maxValue {
		for _, addrs := range s {
			for addr, it := range addrs {
				it.Reason, it.Warning = "", ""
				addrs[addr] = it
			}
		}
		text, err = json.Marshal(s, json.Deterministic(true))
	}
	if err != nil {
		return ""
	}
	return string(text)
}

// The side that counts.

// takeReport takes in what a checker says of the members of a pool.
func (r *Registry) takeReport(checker, pool string, e Entry) *spec.Error {
	reports := r.live.reports
	if e.Deleted {
		if delete(reports[checker], pool); len(reports[checker]) == 0 {
			delete(reports, checker)
		}
	} else {
		hash := maphash.Bytes(reportSeed, e.Value)
		if old, heard := reports[checker][pool]; heard && old.hash == hash {
			return nil
		}
		s := reportSpec{}
		if err := decode(e.Value, &s); err != nil {
			return err
		}
		if reports[checker] == nil {
			reports[checker] = map[string]heardReport{}
		}
		reports[checker][pool] = heardReport{s, hash}
	}
	r.hearOf(checker, pool)
	return nil
}

// hearOf takes in what a checker says of the targets behind a pool.
func (r *Registry) hearOf(checker, pool string) {
	for _, w := range r.targets.byPool[pool] {
		if tg := r.targets.byID[w.TargetID]; tg != nil {
			r.hear(checker, tg)
			r.uncounted[tg] = true
		}
	}
}

// moveVoter takes in where a checker stands now, or that it stands nowhere any more.
func (r *Registry) moveVoter(checker string) {
	for pool := range r.live.reports[checker] {
		r.hearOf(checker, pool)
	}
}

// hear takes in what a checker says of a target: of several members that are behind it the newest word. Before it
// is known where the checker stands, and once it is gone, that is nothing: false.
func (r *Registry) hear(checker string, tg *target) bool {
	site, live := r.live.checkers[checker]
	var last seen
	if live {
		for _, ref := range tg.refs {
			m := &ref.pool.Members[ref.member]
			it, ok := r.live.reports[checker][ref.pool.Name].reportSpec[m.Name][answered(m, ref.addr, tg.Addr)]
			if ok && (last.State == "" || it.Since.After(last.Since)) {
				last = it
			}
		}
	}
	delete(tg.warnings, checker)
	if delete(tg.others, checker); last.State == "" {
		tg.ballot.Withdraw(checker)
		return false
	}
	tg.ballot.Vote(health.Voter{Checker: checker, Site: site}, last.state(), last.Since)
	if last.Reason != "" {
		if tg.others == nil {
			tg.others = map[string]string{}
		}
		tg.others[checker] = clipTo(last.Reason, maxReason)
	}
	if last.Warning != "" {
		if tg.warnings == nil {
			tg.warnings = map[string]string{}
		}
		tg.warnings[checker] = clipTo(last.Warning, maxReason)
	}
	return true
}

// hearAll takes in what all others say of a target, and says whether that is anything.
func (r *Registry) hearAll(tg *target) (any bool) {
	for checker := range r.live.reports {
		any = r.hear(checker, tg) || any
	}
	return any
}

// countReports counts, once for all that has been reported together.
func (r *Registry) countReports() {
	for tg := range r.uncounted {
		if r.targets.byID[tg.TargetID] == tg {
			r.targets.count(tg)
		}
	}
	clear(r.uncounted)
}
