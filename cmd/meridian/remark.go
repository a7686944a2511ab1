package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meridian/store"
)

// remark is something about a server that its operator should know.
type remark struct {
	Kind  string    `json:"kind"`           // for programs: "held"
	Wrong bool      `json:"wrong,omitzero"` // something is to be done about it
	Text  string    `json:"text"`
	When  string    `json:"-"` // what At is: "since", "saved", "found"
	At    time.Time `json:"at,omitzero"`
	Do    string    `json:"do,omitzero"` // what to do about it
}

// problem is a remark on several servers.
type problem struct {
	Servers []string `json:"servers,omitempty"`
	remark
}

// remarks says what there is to know about how a server stands, the gravest first. The registry's keys
// begin with prefix.
func remarks(s store.Status, prefix string) (list []remark) {
	wrong := func(kind, text, do string) { list = append(list, remark{Kind: kind, Wrong: true, Text: text, Do: do}) }
	dated := func(when string, at time.Time) { list[len(list)-1].When, list[len(list)-1].At = when, at }
	which := "see which: etcdctl get --prefix " + prefix + "-live/error/"
	if !s.Lost.IsZero() {
		which = "its log says which"
	}
	if !s.Ready {
		if s.Revision == 0 {
			wrong("unready", "not ready: no registry has been read, so that every query is answered REFUSED", "")
		} else {
			wrong("unready", "not ready: the first round of health checks is under way", "")
		}
	}
	if s.Refused != "" {
		wrong("refused", s.Refused, "") // says what to do
	}
	if h := s.Held; h != nil {
		wrong("held", heldText(h), fmt.Sprintf("to let the deletes through: etcdctl put %s/control/accept-delete %d; otherwise put the keys again", prefix, h.Accept))
		dated("since", h.Since)
	}
	if !s.Lost.IsZero() {
		wrong("lost", "etcd has been out of reach", "answers go on as they were; nothing that is put reaches them")
		dated("since", s.Lost)
	}
	if s.Image {
		wrong("image", fmt.Sprintf("serving the disk image of revision %d", s.Revision), "")
		dated("saved", s.ImageSaved)
	}
	for _, alarm := range s.Alarms {
		wrong("alarm", alarmText(alarm), alarmCure(alarm, s.Revision))
	}
	if s.ImageError != "" {
		wrong("image_error", "the disk image cannot be written: "+s.ImageError, "a start without etcd would serve what was written last")
		if !s.ImageSaved.IsZero() {
			dated("saved", s.ImageSaved)
		}
	}
	list = append(list, geoRemarks(s.Geo)...)
	if n := s.Unregistered; n > 0 {
		wrong("unregistered", count(n, "member")+" unregistered: the lease has ended, and the check still says up", which)
	}
	if n := s.Stale; n > 0 {
		wrong("stale", count(n, "target")+" stale: no checker reports it, so that the last state stays", "see to the checkers: etcdctl get --prefix "+prefix+"-live/checker/")
	}
	if n := s.Doubted; n > 0 {
		wrong("doubted", count(n, "target")+" not believed to be down before a second round, since more than half of all turned down at once", "see to the network of the checkers")
	}
	list = append(list, overrideRemarks(s.Overrides)...)
	list = append(list, warningRemarks(s)...)
	if n := s.Disputed; n > 0 {
		list = append(list, remark{Kind: "disputed", Text: count(n, "target") + " disputed: a site says otherwise than the count", Do: "meridian explain NAME says which site"})
	}
	if n := s.Ignored; n > 0 {
		wrong("ignored", count(n, "live key")+" ignored: the value is wrong", "see to who writes it; the server's log says which")
	}
	if n := s.Unplaced; n > 0 {
		list = append(list, remark{Kind: "unplaced", Text: count(n, "checker") + " at a site of which nobody knows where it is: round-trip times from there do not count, votes do",
			Do: "put the site: etcdctl put " + prefix + "/site/<site>, or see to --site of the checker"})
	}
	if n := s.Rejected; n > 0 {
		wrong("rejected", count(n, "key")+" rejected: the last good value, if any, serves on", which)
	}
	if n := s.Pending; n > 0 {
		wrong("pending", count(n, "key")+" pending: what it refers to is not there", which)
	}
	if n := s.Drift; n > 0 {
		list = append(list, remark{Kind: "drift", Text: fmt.Sprintf("a full compare found %s other than they should have been since the start, and put them right", count(int(n), "key"))})
	}
	return list
}

func heldText(h *store.Held) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{h.Names, "name"}, {h.Members, "member"}, {h.Others, "other key"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n, p.what))
		}
	}
	what := strings.Join(parts, " and ")
	if len(parts) == 3 {
		what = parts[0] + ", " + parts[1] + " and " + parts[2]
	}
	return "deletes of " + what + " are held back: all of it is served on"
}

func alarmText(alarm string) string {
	if alarm == "NOSPACE" {
		return "alarm NOSPACE: the embedded etcd is full and takes no more writes"
	}
	return "alarm " + alarm + " of the embedded etcd"
}

func alarmCure(alarm string, revision int64) string {
	if alarm == "NOSPACE" {
		return fmt.Sprintf("delete what is not needed, then: etcdctl compact %d; etcdctl defrag; etcdctl alarm disarm", revision)
	}
	return "see etcd's manual on this alarm; answers go on from memory"
}

// problems are the remarks on all servers, those alike put together, and what is to be said of all of
// them; what nothing has to be done about comes last. The registry is at a revision.
func problems(servers []serverStatus, revision int64, prefix string) (list []problem) {
	if len(servers) == 0 {
		return []problem{{remark: remark{Kind: "none", Wrong: true, Text: "no server is live: there is no key below " + prefix + "-live/server/",
			Do: "is meridian serving with this etcd, and with etcd.prefix " + prefix + "?"}}}
	}
	zones, read := 0, false
	for _, s := range servers {
		zones, read = max(zones, s.Zones), read || s.Revision > 0
		own := remarks(s.Status, prefix)
		if s.Behind && s.Revision > 0 {
			own = append(own, remark{Kind: "behind", Wrong: true, Text: fmt.Sprintf("behind: answers revision %d of %d", s.Revision, revision)})
		}
		for _, r := range own {
			list = join(list, s.Name, r)
		}
	}
	if zones == 0 && read {
		list = append(list, problem{remark: remark{Kind: "empty", Text: "the registry has no zone, so that every query is answered REFUSED",
			Do: "begin with one: etcdctl put " + prefix + `/zone/example.com/soa '{"ns":["ns1.example.com."]}'`}})
	}
	slices.SortStableFunc(list, func(a, b problem) int { return cmp.Compare(bit(b.Wrong), bit(a.Wrong)) })
	return list
}

// join adds a server's remark to that of others if it is the same, of the time of the earliest.
func join(list []problem, server string, r remark) []problem {
	at := slices.IndexFunc(list, func(p problem) bool {
		return p.Kind == r.Kind && p.Text == r.Text && p.Do == r.Do
	})
	if at < 0 {
		return append(list, problem{[]string{server}, r})
	}
	list[at].Servers = append(list[at].Servers, server)
	if r.At.Before(list[at].At) {
		list[at].At = r.At
	}
	return list
}

// notes are the remarks on one server, one a line, for those who ask whether it is ready.
func notes(s store.Status, prefix string, now time.Time) (lines []string) {
	for _, r := range remarks(s, prefix) {
		if r.Kind == "unready" {
			continue
		}
		line := r.Text
		switch r.When {
		case "":
		case "since":
			line += " " + r.when(now)
		default:
			line += ", " + r.when(now)
		}
		if r.Do != "" {
			line += "; " + r.Do
		}
		lines = append(lines, line)
	}
	return lines
}

// when says when it was, and how long ago: "since 12:03 UTC (2h)".
func (r remark) when(now time.Time) string {
	if r.At.IsZero() {
		return r.When + " at a time not known"
	}
	at, layout := r.At.In(now.Location()), "15:04 MST"
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = "2006-01-02 15:04 MST"
	}
	return fmt.Sprintf("%s %s (%s)", r.When, at.Format(layout), age(now.Sub(at)))
}

// age is a duration in its largest unit that tells enough: "95m", "12d".
func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// warningRemarks say what checks warn of.
func warningRemarks(s store.Status) (list []remark) {
	for _, w := range s.Warnings {
		list = append(list, remark{Kind: "warning", Text: w.Check + " at " + w.Addr + ": " + w.Warning})
	}
	if n := s.Warned - len(s.Warnings); n > 0 {
		list = append(list, remark{Kind: "warning", Text: "checks warn of " + count(n, "more target")})
	}
	return list
}

// overrideRemarks say what people's words are in force, and how to take them back.
func overrideRemarks(o *store.Overrides) (list []remark) {
	if o == nil {
		return nil
	}
	all := 0
	for _, n := range o.States {
		all += n
	}
	for _, key := range slices.Sorted(maps.Keys(o.First)) {
		list = append(list, remark{Kind: "override", Text: key + ": " + o.First[key], Do: "to end it: meridian undrain " + strings.TrimPrefix(key, "override/")})
	}
	if n := all - len(o.First); n > 0 {
		list = append(list, remark{Kind: "override", Text: count(n, "more override") + " in force"})
	}
	return list
}
