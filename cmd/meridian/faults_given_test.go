//go:build faults

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// given is an oracle of which addresses are to be given by several servers: of names that give all members that are
// up. A test says which must be given from when on, and which must not; up to then either will do.
type given struct {
	mu    sync.Mutex
	began time.Time
	names map[string]map[netip.Addr]*fate // by question: "p0.fault.test. A"
	open  map[string]fate                 // by question: whether all members are down
	count givenCount
}

// fate is what is to become of an address, and what did.
type fate struct {
	given bool
	from  time.Time // answers to what is asked from then on are held to it
	seen  []sight   // by server
}

// sight is what a server has said of an address.
type sight struct {
	with, without time.Time // when the last answer with it came, and without
	changes       int       // from the one to the other
}

// givenCount is how queries ended.
type givenCount struct {
	queries  int
	lost     int
	left     int // answers without an address that was to be given
	overdue  int // answers with one that was not
	other    int // neither addresses nor nothing, or not with the TTL and the extended error that it has to have
	examples []string
}

func newGiven() *given {
	return &given{began: time.Now(), names: map[string]map[netip.Addr]*fate{}, open: map[string]fate{}}
}

// expect adds the addresses of a name, of which it is not known yet whether they are given.
func (g *given) expect(name string, servers int, addrs ...netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range addrs {
		question := questionFor(name, a)
		if g.names[question] == nil {
			g.names[question] = map[netip.Addr]*fate{}
		}
		g.names[question][a] = &fate{given: true, from: time.Now().Add(time.Hour), seen: make([]sight, servers)}
	}
}

// questionFor is the question that is answered with an address.
func questionFor(name string, a netip.Addr) string {
	if a.Is4() {
		return name + " A"
	}
	return name + " AAAA"
}

// set says what becomes of addresses, until when at the latest.
func (g *given) set(addrs []netip.Addr, given bool, by time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range addrs {
		f := g.fate(a)
		f.given, f.from = given, by
	}
}

func (g *given) leaves(addrs []netip.Addr, by time.Time)  { g.set(addrs, false, by) }
func (g *given) returns(addrs []netip.Addr, by time.Time) { g.set(addrs, true, by) }

// opens says that all members of a name are down by that time, and are given for want of better ones; closes, that
// one is up again.
func (g *given) opens(name string, by time.Time)  { g.setOpen(name, fate{given: true, from: by}) }
func (g *given) closes(name string, by time.Time) { g.setOpen(name, fate{given: false, from: by}) }

func (g *given) setOpen(name string, f fate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[name+" A"], g.open[name+" AAAA"] = f, f
}

func (g *given) fate(a netip.Addr) *fate {
	for _, addrs := range g.names {
		if f := addrs[a]; f != nil {
			return f
		}
	}
	panic(fmt.Sprintf("%v is nobody's", a))
}

// everywhere says whether all servers are known to give the addresses now, or none to.
func (g *given) everywhere(addrs []netip.Addr, given bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range addrs {
		for _, s := range g.fate(a).seen {
			if s.with.Equal(s.without) || s.with.After(s.without) != given {
				return false
			}
		}
	}
	return true
}

// last is when the last answer with any of the addresses came, of any server.
func (g *given) last(addrs []netip.Addr) (last time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range addrs {
		for _, s := range g.fate(a).seen {
			if s.with.After(last) {
				last = s.with
			}
		}
	}
	return last
}

// changes is how often a server at most changed its mind about any of the addresses, so far.
func (g *given) changes(addrs []netip.Addr) (most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range addrs {
		for _, s := range g.fate(a).seen {
			most = max(most, s.changes)
		}
	}
	return most
}

// answered judges a reply of a server.
func (g *given) answered(server int, question string, sent, received time.Time, r *dns.Msg) {
	addrs, fault := givenBy(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count.queries++
	if fault != "" {
		g.count.other++
		g.blame("%s: %s", question, fault)
		return
	}
	fates := g.names[question]
	for _, a := range addrs {
		if fates[a] == nil {
			g.count.other++
			g.blame("%s: %v, which is nobody's", question, a)
		}
	}
	for a, f := range fates {
		has := slices.Contains(addrs, a)
		f.seen[server].note(has, received)
		switch {
		case sent.Before(f.from) || has == f.given:
		case has:
			g.count.overdue++
			g.blame("ns%d, %s: %v is given still, %v after it was to be gone", server+1, question, a, received.Sub(f.from))
		default:
			g.count.left++
			g.blame("ns%d, %s: %v is not given, though it is to be", server+1, question, a)
		}
	}
	if open := g.open[question]; failsOpen(r) != open.given && !sent.Before(open.from) {
		g.count.other++
		g.blame("ns%d, %s: fail-open is %v, expected the contrary", server+1, question, failsOpen(r))
	}
}

func (s *sight) note(has bool, at time.Time) {
	had := s.with.After(s.without)
	if had != has && !(s.with.IsZero() && s.without.IsZero()) {
		s.changes++
	}
	if has {
		s.with = at
	} else {
		s.without = at
	}
}

// givenBy are the addresses in a reply, and what is wrong with it as a whole.
func givenBy(r *dns.Msg) (addrs []netip.Addr, fault string) {
	if r.Rcode != dns.RcodeSuccess {
		return nil, dns.RcodeToString[r.Rcode]
	}
	for _, rr := range r.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			addrs = append(addrs, a)
		case *dns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			addrs = append(addrs, a)
		default:
			return nil, rr.String()
		}
		if ttl := rr.Header().Ttl; failsOpen(r) && ttl > 10 {
			return nil, fmt.Sprintf("a fail-open answer has TTL %d, expected at most 10", ttl)
		}
	}
	return addrs, ""
}

// failsOpen says whether a reply has an extended error (RFC 8914), as those have that give whom nobody says to be up.
func failsOpen(r *dns.Msg) bool {
	opt := r.IsEdns0()
	return opt != nil && slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool { return o.Option() == dns.EDNS0EDE })
}

func (g *given) unanswered(server int, question string, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count.queries++
	g.count.lost++
	g.blame("ns%d, %s: %v", server+1, question, why)
}

func (g *given) blame(format string, args ...any) {
	if len(g.count.examples) < 8 {
		g.count.examples = append(g.count.examples, fmt.Sprintf("%7.3fs %s", time.Since(g.began).Seconds(), fmt.Sprintf(format, args...)))
	}
}

func (g *given) result() givenCount {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.count
	c.examples = slices.Clone(c.examples)
	return c
}

func (c givenCount) bad() int { return c.lost + c.left + c.overdue + c.other }

func (c givenCount) String() string {
	return fmt.Sprintf("%d queries: %d lost, %d without who was to be given, %d with who was not, %d otherwise wrong", c.queries, c.lost, c.left, c.overdue, c.other)
}

// askedEvery is from one query of a server to the next.
const askedEvery = 10 * time.Millisecond

// ask asks the servers the oracle's questions without end, each over a socket of a host's. stop ends that and waits.
func (g *given) ask(from *host, servers []string, seed uint64) (stop func()) {
	g.mu.Lock()
	questions := slices.Sorted(maps.Keys(g.names))
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, addr := range servers {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		running.Go(func() {
			tick := time.NewTicker(askedEvery)
			defer tick.Stop()
			var c net.Conn
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					if c != nil {
						c.Close()
					}
					return
				}
				g.askOne(ctx, &c, from, i, addr, questions[random.IntN(len(questions))])
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// askOne asks one question over a connection, which it makes where there is none.
func (g *given) askOne(ctx context.Context, c *net.Conn, from *host, server int, addr, question string) {
	sent := time.Now()
	r, err := exchange(ctx, c, from, addr, question)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		g.unanswered(server, question, err)
	default:
		g.answered(server, question, sent, time.Now(), r)
	}
}

// exchange asks a question over UDP from a host. After an error the connection is nil.
func exchange(ctx context.Context, c *net.Conn, from *host, addr, question string) (r *dns.Msg, err error) {
	if *c == nil {
		if *c, err = from.dial(ctx, "udp", addr); err != nil {
			return nil, err
		}
	}
	name, typ, _ := strings.Cut(question, " ")
	q := new(dns.Msg).SetQuestion(name, dns.StringToType[typ])
	q.SetEdns0(1232, false)
	(*c).SetDeadline(time.Now().Add(lostAfter))
	conn := &dns.Conn{Conn: *c, UDPSize: 1232}
	if err = conn.WriteMsg(q); err == nil {
		for r, err = conn.ReadMsg(); err == nil && r.Id != q.Id; r, err = conn.ReadMsg() {
		}
	}
	if err != nil {
		(*c).Close()
		*c = nil
	}
	return r, err
}
