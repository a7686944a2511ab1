//go:build faults

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// oracle knows which answers were right at each moment. A change may be seen from when its put
// begins, and must be seen once the put has returned and the staleness allowed has passed; between
// the two the old answer and the new are both right. Once the new one was seen the old is wrong.
type oracle struct {
	allowed time.Duration // from the return of a put until the old answer is wrong

	mu      sync.Mutex
	answers map[string]*history // by question: "s1.fault.test. TXT"
	blind   []span              // in which the server could not hear of changes
	still   []span              // in which the server could not answer
	began   time.Time
	count   tally
}

// history is what was the answer to one question, one time after the other.
type history struct {
	versions []truth
	floor    int // the latest of them that was seen
}

// truth is an answer that is the truth until the next one is.
type truth struct {
	answer string    // "TXT s1 v7", "A 10.0.0.7", "NXDOMAIN"
	begin  time.Time // from when it may be seen
	end    time.Time // when the put returned; zero: not yet, or it is not known to have been made
}

// span is a time in which something was amiss.
type span struct {
	from, to time.Time     // to is zero while it lasts
	heal     time.Duration // what the server is given after it to be right again
}

// verdict is what is wrong with an answer.
type verdict string

const (
	right     verdict = ""
	lost      verdict = "lost"        // no answer at all
	servfail  verdict = "SERVFAIL"    // where that was not the truth, as with the next two
	nxdomain  verdict = "NXDOMAIN"    //
	refused   verdict = "REFUSED"     //
	stale     verdict = "stale"       // the truth once, for longer than is allowed
	backwards verdict = "backwards"   // the truth once, after a later one was seen
	early     verdict = "early"       // what was put after the answer came
	never     verdict = "never right" // never the truth
)

// verdicts are those that count against the server.
var verdicts = []verdict{lost, servfail, nxdomain, refused, stale, backwards, early, never}

// tally is how the queries of a scenario ended.
type tally struct {
	queries  int
	waited   int // unanswered while the server was stopped
	starting int // refused while it started
	wrong    map[verdict]int
	staleFor time.Duration // the longest from when an answer ought to have changed until it was asked for and had not
	examples []string
}

func newOracle(allowed time.Duration) *oracle {
	return &oracle{
		allowed: allowed, answers: map[string]*history{}, began: time.Now(),
		count: tally{wrong: map[verdict]int{}},
	}
}

// is says what the answer to a question is from the start.
func (o *oracle) is(question, answer string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers[question] = &history{versions: []truth{{answer: answer}}}
}

// change says that the answer is about to become another; done is to be called when it has. One
// change of a question is made at a time.
func (o *oracle) change(question, answer string) (done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.answers[question]
	h.versions = append(h.versions, truth{answer: answer, begin: time.Now()})
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		h.versions[len(h.versions)-1].end = time.Now()
	}
}

// cutOff says that the server hears of no changes from now on, until sees is called; then it has so
// long to come to know of them.
func (o *oracle) cutOff() (sees func(heal time.Duration)) { return o.open(&o.blind) }

// halted says that the server does not answer from now on, or refuses, until goes is called.
func (o *oracle) halted() (goes func(time.Duration)) { return o.open(&o.still) }

func (o *oracle) open(list *[]span) (end func(time.Duration)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := len(*list)
	*list = append(*list, span{from: time.Now()})
	return func(heal time.Duration) {
		o.mu.Lock()
		defer o.mu.Unlock()
		(*list)[i].to, (*list)[i].heal = time.Now(), heal
	}
}

// forget says that the server is another process than before, which may know less: what was written
// to disk so long ago, at most.
func (o *oracle) forget(age time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range o.answers {
		h.floor = 0
	}
	if n := len(o.blind); n > 0 && o.blind[n-1].to.IsZero() {
		o.blind[n-1].from = o.blind[n-1].from.Add(-age)
	}
}

// floor is to be asked for before the question is.
func (o *oracle) floor(question string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answers[question].floor
}

// overlaps says whether a time touches any of the spans.
func overlaps(spans []span, from, to time.Time) bool {
	return slices.ContainsFunc(spans, func(s span) bool {
		return s.from.Before(to) && (s.to.IsZero() || from.Before(s.to.Add(s.heal)))
	})
}

// due is when a change of that time ought to be seen, and when it must be; both are far away while
// the server is cut off.
func (o *oracle) due(at time.Time) (due, must time.Time) {
	due, must = at, at.Add(o.allowed)
	for _, s := range o.blind {
		switch {
		case s.from.After(must):
		case s.to.IsZero():
			return at.AddDate(1, 0, 0), at.AddDate(1, 0, 0)
		case at.Before(s.to):
			due = s.to
			fallthrough
		case at.Before(s.to.Add(s.heal)):
			if end := s.to.Add(s.heal); end.After(must) {
				must = end
			}
		}
	}
	return due, must
}

// answered judges an answer. floor is what floor said when the question was sent.
func (o *oracle) answered(question string, floor int, sent, received time.Time, answer string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count.queries++
	if answer == "REFUSED" && overlaps(o.still, sent, received) {
		o.count.starting++
		return
	}
	h := o.answers[question]
	seen, v := -1, never
	for i := len(h.versions) - 1; i >= 0; i-- {
		one := h.versions[i]
		if one.answer != answer {
			continue
		}
		var late time.Duration // since the next one ought to have been seen
		over := false
		if i+1 < len(h.versions) && !h.versions[i+1].end.IsZero() {
			due, must := o.due(h.versions[i+1].end)
			late, over = sent.Sub(due), sent.After(must)
		}
		switch {
		case one.begin.After(received):
			if v == never {
				v = early
			}
		case i < floor:
			v = backwards
		case over:
			v = stale
		default:
			if seen < 0 { // what has the same text and is older is no sign of age
				o.count.staleFor = max(o.count.staleFor, late)
			}
			seen, v = i, right
		}
		if v == stale || v == backwards {
			break // an earlier one that had the same text is no better
		}
	}
	if seen >= 0 {
		h.floor = max(h.floor, seen)
		return
	}
	switch answer {
	case "SERVFAIL", "NXDOMAIN", "REFUSED":
		v = verdict(answer)
	}
	o.blame(v, sent, "%s: %s, asked %v ago; %s", question, answer, received.Sub(sent).Round(time.Microsecond), h.tell(o.began))
}

// unanswered judges a question to which nothing came.
func (o *oracle) unanswered(question string, sent, until time.Time, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count.queries++
	if overlaps(o.still, sent, until) {
		o.count.waited++
		return
	}
	o.blame(lost, sent, "%s: %v", question, why)
}

func (o *oracle) blame(v verdict, sent time.Time, format string, args ...any) {
	o.count.wrong[v]++
	if len(o.count.examples) < 8 {
		o.count.examples = append(o.count.examples,
			fmt.Sprintf("%s at %.3fs: %s", v, sent.Sub(o.began).Seconds(), fmt.Sprintf(format, args...)))
	}
}

// tell lists the last versions and when they were put, in seconds of the scenario.
func (h *history) tell(began time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "seen %d of:", h.floor)
	for i, v := range h.versions[max(0, len(h.versions)-4):] {
		fmt.Fprintf(&b, " %d. %s", max(0, len(h.versions)-4)+i, v.answer)
		if !v.begin.IsZero() {
			fmt.Fprintf(&b, " (%.3fs to", v.begin.Sub(began).Seconds())
			if v.end.IsZero() {
				b.WriteString(" now)")
			} else {
				fmt.Fprintf(&b, " %.3fs)", v.end.Sub(began).Seconds())
			}
		}
	}
	return b.String()
}

// result is the tally as it stands.
func (o *oracle) result() tally {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.count
	c.wrong, c.examples = maps.Clone(c.wrong), slices.Clone(c.examples)
	return c
}

func (c tally) bad() (n int) {
	for _, each := range c.wrong {
		n += each
	}
	return n
}

// String is one line for people: what ended up how.
func (c tally) String() string {
	var kinds []string
	for _, v := range verdicts {
		if v != lost && c.wrong[v] > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %d", v, c.wrong[v]))
		}
	}
	text := fmt.Sprintf("%d queries, %d lost, %d wrong", c.queries, c.wrong[lost], c.bad()-c.wrong[lost])
	if len(kinds) > 0 {
		text += " (" + strings.Join(kinds, ", ") + ")"
	}
	if c.waited > 0 {
		text += fmt.Sprintf(", %d unanswered while the server was stopped", c.waited)
	}
	if c.starting > 0 {
		text += fmt.Sprintf(", %d refused while it started", c.starting)
	}
	return text + fmt.Sprintf(", longest staleness %v", c.staleFor.Round(100*time.Microsecond))
}
