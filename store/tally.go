package store

import "strings"

// tally counts what a set of deletes takes away: keys of names, members, and other keys. A zone's soa
// counts for all its names, and they do not count beside it.
type tally struct {
	names, members, others int
	zones                  map[string]*zoneTally
}

// zoneTally is what a tally has of a zone.
type zoneTally struct {
	names int  // keys of names
	soa   bool // its soa is among the keys
	all   int  // names that the soa stands for
}

func (z *zoneTally) weight() int {
	if z.soa {
		return max(z.all, z.names) // some may have come since
	}
	return z.names
}

// add takes a key in that is not there. all is how many names a soa stands for.
func (t *tally) add(key string, all int) { t.change(key, 1, all) }

// remove takes a key out that is there.
func (t *tally) remove(key string) { t.change(key, -1, 0) }

func (t *tally) change(key string, by, all int) {
	name, soa := ownerPrefix(key) != "", isSOA(key)
	switch {
	case isMember(key):
		t.members += by
		return
	case !name && !soa:
		t.others += by
		return
	}
	if t.zones == nil {
		t.zones = map[string]*zoneTally{}
	}
	zone := zoneOf(key)
	z := t.zones[zone]
	if z == nil {
		z = &zoneTally{}
		t.zones[zone] = z
	}
	t.names -= z.weight()
	if name {
		z.names += by
	} else {
		z.soa, z.all = by > 0, all
	}
	t.names += z.weight()
	if *z == (zoneTally{}) {
		delete(t.zones, zone)
	}
}

// namesOf is how many keys of a zone's names are there.
func (t *tally) namesOf(zone string) int {
	if z := t.zones[zone]; z != nil {
		return z.names
	}
	return 0
}

func isSOA(key string) bool { return strings.HasPrefix(key, "zone/") && strings.HasSuffix(key, "/soa") }

func isMember(key string) bool {
	return strings.HasPrefix(key, "pool/") && strings.Contains(key, "/member/")
}

func isOverride(key string) bool { return strings.HasPrefix(key, "override/") }

// ownerZone is the zone of a name's key, "" for other keys.
func ownerZone(key string) string {
	if ownerPrefix(key) == "" {
		return ""
	}
	return zoneOf(key)
}
