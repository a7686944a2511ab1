package server

import (
	"container/list"
	"net/netip"
)

// openStreams holds the connections that are open, in all and of each client. Its lists are of
// *stream; the one whose last message, or else whose beginning, is longest ago comes first.
type openStreams struct {
	all     list.List
	clients map[netip.Prefix]*list.List // none of them is empty
}

// place is where a stream stands in the lists. Both are nil once it was taken out.
type place struct{ inAll, inClient *list.Element }

func newOpenStreams() openStreams {
	return openStreams{clients: map[netip.Prefix]*list.List{}}
}

// network is what counts as one client: an IPv4 address, or the /64 that whoever has one IPv6
// address commonly has all of (RFC 7766 §6.2.2 speaks of addresses and subnets).
func (s *stream) network() netip.Prefix {
	bits := 32
	if s.client.Is6() {
		bits = 64
	}
	p, _ := s.client.Prefix(bits)
	return p
}

// ofClient returns the list of the client of s, nil where it has no connection.
func (o *openStreams) ofClient(s *stream) *list.List { return o.clients[s.network()] }

func (o *openStreams) add(s *stream) {
	same := o.ofClient(s)
	if same == nil {
		same = list.New()
		o.clients[s.network()] = same
	}
	s.place = place{o.all.PushBack(s), same.PushBack(s)}
}

// remove does nothing where s was removed before.
func (o *openStreams) remove(s *stream) {
	if s.inAll == nil {
		return
	}
	same := o.ofClient(s)
	o.all.Remove(s.inAll)
	same.Remove(s.inClient)
	if same.Len() == 0 {
		delete(o.clients, s.network())
	}
	s.place = place{}
}

// toBack puts s last in its lists, unless it was removed.
func (o *openStreams) toBack(s *stream) {
	if s.inAll != nil {
		o.all.MoveToBack(s.inAll)
		o.ofClient(s).MoveToBack(s.inClient)
	}
}

// each calls f with every connection.
func (o *openStreams) each(f func(s *stream) bool) {
	for e := o.all.Front(); e != nil && f(e.Value.(*stream)); e = e.Next() {
	}
}
