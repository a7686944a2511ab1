// Package health holds the words of health: the state of an address, how results of checks are
// folded into it, and the one 64-bit word a member that the policies read. It does no I/O and
// reads no clock.
package health

import (
	"fmt"
	"sync/atomic"
)

// State is what is known of one address.
type State uint8

const (
	Unknown State = iota // no check has settled yet
	Up
	Down
)

func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MaxAddrs is how many addresses one member may have: what fits a Word.
const MaxAddrs = 16

// Word is all that a policy reads of one member's health:
//
//	bits  0–15  address i is up
//	bits 16–31  address i is down; neither bit: unknown
//	bits 32–63  free (overrides, ramp, load)
type Word uint64

// Up is the set of addresses that are up: bit i for address i.
func (w Word) Up() uint16 { return uint16(w) }

// Down is the set of addresses that are down.
func (w Word) Down() uint16 { return uint16(w >> MaxAddrs) }

// Unknown is the set of addresses, of all 16, of which nothing is known.
func (w Word) Unknown() uint16 { return ^(w.Up() | w.Down()) }

// State of address i.
func (w Word) State(i int) State {
	switch bit := uint16(1) << i; {
	case w.Up()&bit != 0:
		return Up
	case w.Down()&bit != 0:
		return Down
	}
	return Unknown
}

// With returns w with address i in state s.
func (w Word) With(i int, s State) Word {
	up, down := Word(1)<<i, Word(1)<<(i+MaxAddrs)
	w &^= up | down
	switch s {
	case Up:
		w |= up
	case Down:
		w |= down
	}
	return w
}

// Cell is a Word in its place: one goroutine stores it, every worker loads it without a lock.
type Cell struct{ v atomic.Uint64 }

func (c *Cell) Load() Word   { return Word(c.v.Load()) }
func (c *Cell) Store(w Word) { c.v.Store(uint64(w)) }

// Counter folds the results of one address's checks into its State. An address goes down after
// fall failures, which need not be in a row: only rise successes in a row clear the count. It
// goes up after rise successes in a row.
type Counter struct {
	State     State
	successes int // in a row
	failures  int // since the count was last cleared
}

// Add counts one result and says whether the state changed by it. rise and fall are at least 1.
func (c *Counter) Add(ok bool, rise, fall int) (changed bool) {
	before := c.State
	if ok {
		if c.successes++; c.successes >= rise {
			c.State, c.failures = Up, 0
		}
	} else {
		c.successes = 0
		if c.failures++; c.failures >= fall {
			c.State = Down
		}
	}
	return c.State != before
}
