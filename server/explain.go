package server

import (
	"meridian/zones"
	"meridian/zones/explain"
)

// explain answers a question for TXT that asks why another one is answered as it is, and says whether it is such.
// It allocates, and takes its time: only the networks that the zone allows are answered so.
func (w *worker) explain(s *zones.Snapshot, q *zones.Query, r *response) bool {
	sets := explain.TXT(s, q, w.self.nsid)
	if sets == nil {
		return false
	}
	r.result, r.aa, r.sets = Result(zones.Found), true, sets
	if q.Client.Subnet.IsValid() {
		r.scope = uint8(q.Client.Subnet.Bits()) // it names the client
	}
	return true
}
