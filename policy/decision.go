package policy

import (
	"net/netip"

	"meridian/policy/geo"
)

// Client is who asks, and for what.
type Client struct {
	Addr   netip.Addr   // of who asks: most often a resolver
	Subnet netip.Prefix // for whom, if that is said, masked: the source prefix (RFC 7871 §6); /0 says nothing, as the zero value
	Type   uint16       // asked for (RFC 1035 §3.2.3)
	Family Family       // of the addresses that answer it
}

// World is what decisions read beside the pool that is asked.
type World struct {
	Pools []*Pool       // by ID; nil where no pool has that ID
	Geo   *geo.Database // nil: nobody knows where clients are
}

// Outcome of a decision.
type Outcome uint8

const (
	Chosen   Outcome = iota // Picks holds at least one member
	NoData                  // nobody to give, and the pool says so
	ServFail                // nobody to give, and on_empty wants it known
)

func (o Outcome) String() string { return [...]string{"chosen", "nodata", "servfail"}[o] }

// Pick is a member that may be, or is, given, in one word, since steps move many of them:
//
//	bits  0–15  the member: its index in Pool.Members
//	bits 16–31  the set of its addresses that are given (bit 16+i for Addrs[i])
//	bits 32–47  its weight
//	bits 48–63  of which pool it is: its place in Decision.Pools
type Pick uint64

func newPick(member int, addrs, weight uint16) Pick {
	return Pick(member) | Pick(addrs)<<16 | Pick(weight)<<32
}

// Member is the index of the member in Pool.Members.
func (k Pick) Member() int { return int(k & 0xffff) }

// Addrs is the set of the addresses given: bit i for Addrs[i].
func (k Pick) Addrs() uint16 { return uint16(k >> 16) }

// only is k with the addresses that are in set as well.
func (k Pick) only(set uint16) Pick { return k &^ (Pick(^set) << 16) }

func (k Pick) weight() uint64 { return uint64(k >> 32 & 0xffff) }

// of is k as one of the pool visited in that place.
func (k Pick) of(visit int) Pick { return k&^(0xffff<<48) | Pick(visit)<<48 }

// Decision is what a policy chose.
type Decision struct {
	Outcome  Outcome
	FailOpen bool    // nobody was up, of the pool or of one within it: given all the same
	Pool     *Pool   // that decided: the pool asked, or one of its on_empty
	Picks    []Pick  // in the order to be given; belongs to the Scratch until its next use
	Pools    []*Pool // whose members Picks are; nil: all are Pool's own

	// Scope is the length of a prefix around Client.Subnet (without one, around Client.Addr) all of
	// whose clients, asking from the same Addr, have the same candidates at every step
	// (RFC 7871 §7.2.1): 0 where no step asked who the client is.
	Scope uint8
}

// Of is the pool whose member k is.
func (d *Decision) Of(k Pick) *Pool {
	if d.Pools == nil {
		return d.Pool
	}
	return d.Pools[k>>48]
}

// Member is who is picked.
func (d *Decision) Member(k Pick) *Member { return &d.Of(k).Members[k.Member()] }
