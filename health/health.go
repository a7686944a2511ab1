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
//	bit  32     withdrawn: a person's word (drain, down) that it gives no answers
//	bit  33     drained: withdrawn, and up all the same for those who count (min_up)
//	bits 34–35  free
//	bits 36–47  load in thousandths, and 1; 0: none is known
//	bits 48–63  weight, as it stands: written, overridden or ramped
//
// Of a member that is a pool, addresses 0 and 1 stand for its IPv4 and IPv6; of one that is a name,
// address 0 for the name.
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

const (
	withdrawn Word = 1 << 32
	drained   Word = 1 << 33

	loadShift   = 36
	loadBits    = 12
	maxLoad     = 1<<loadBits - 2
	weightShift = 48
)

// Withdrawn says that the member gives no answers, whatever its state: a person's word.
func (w Word) Withdrawn() bool { return w&withdrawn != 0 }

// Drained says that it is withdrawn, and counts as up for who counts.
func (w Word) Drained() bool { return w&drained != 0 }

// WithDrain returns w withdrawn or not, and drained or not.
func (w Word) WithDrain(out, counts bool) Word {
	w &^= withdrawn | drained
	if out {
		w |= withdrawn
	}
	if out && counts {
		w |= drained
	}
	return w
}

// Load is the member's load, 1 where it is just filled; ok is false where it is not known.
func (w Word) Load() (load float64, ok bool) {
	n := w >> loadShift & (1<<loadBits - 1)
	return (float64(n) - 1) / 1000, n != 0
}

// WithLoad returns w with a load, to a thousandth and at most 4.094; less than 0 is none.
func (w Word) WithLoad(load float64) Word {
	w &^= (1<<loadBits - 1) << loadShift
	if !(load >= 0) {
		return w
	}
	return w | (1+Word(min(load*1000+0.5, maxLoad)))<<loadShift
}

// Weight of the member.
func (w Word) Weight() uint16 { return uint16(w >> weightShift) }

// WithWeight returns w with a weight.
func (w Word) WithWeight(weight uint16) Word {
	return w&^(0xffff<<weightShift) | Word(weight)<<weightShift
}

// Standing returns w with the states and the weight of as.
func (w Word) Standing(as Word) Word {
	const standing = 1<<(2*MaxAddrs) - 1 | 0xffff<<weightShift
	return w&^standing | as&standing
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

// Failures is how many there were since the count was last cleared.
func (c *Counter) Failures() int { return c.failures }
