package zones

// ZoneOf returns the apex of the deepest zone that a name lies in; ok is false where that is none of ours.
func (s *Snapshot) ZoneOf(n *Name) (apex Owner, ok bool) {
	r := s.zoneOf(n, int(n.labels), new(lastApex))
	if r == nil {
		return Owner{}, false
	}
	return Owner{newName(r.name()), r.zone()}, true
}

// Exists says whether the zone has a key of the name, or of one below it.
func (s *Snapshot) Exists(o Owner) bool { return s.record(o) != nil }
