package store

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
)

// crowd is a registry of a pool of n members, all of them up; addresses 0 to n−1.
type crowd struct {
	*Registry
	now time.Time
	log strings.Builder
}

func newCrowd(n int, policy string) *crowd {
	c := &crowd{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	keys := map[string]string{"check/http": `{"http":{},"interval":"2s","timeout":"1s","rise":2,"fall":3}`, "pool/p/policy": policy}
	for i := range n {
		keys[fmt.Sprintf("pool/p/member/m%03d", i)] = crowdAddr(i)
	}
	c.Registry = reporting(keys, &c.now)
	c.Registry.log = slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	c.say(health.Up, 0, n)
	return c
}

func crowdAddr(i int) string { return fmt.Sprintf("192.0.2.%d", 1+i) }

// say has the own checker say so of those from one to before another, all in one turn.
func (c *crowd) say(s health.State, from, to int) {
	addrs := []string{}
	for i := from; i < to; i++ {
		addrs = append(addrs, crowdAddr(i))
	}
	c.sees(s, map[health.State]string{health.Down: "refused"}[s], addrs...)
}

// hear has a checker in Amsterdam say so of all.
func (c *crowd) hear(state string) {
	s := reportSpec{}
	for _, m := range c.pools["p"].compiled.Members {
		s[m.Name] = map[netip.Addr]seen{m.Addrs[0]: {State: state, Since: c.now}}
	}
	text, _ := json.Marshal(s)
	c.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "report/a/p", string(text)))
	c.Believe()
}

func (c *crowd) pass(d time.Duration) {
	c.now = c.now.Add(d)
	c.CountDue()
	c.Return()
	c.Believe()
}

// up is how many members are.
func (c *crowd) up() (n int) {
	p := c.pools["p"].compiled
	for i := range p.Members {
		if p.Health(i).Up() != 0 {
			n++
		}
	}
	return n
}

// What more than half turn down within one interval is not believed before a second round: rise intervals and the
// timeout, here 5 s.
func TestBelieve(t *testing.T) {
	type step struct {
		do func(c *crowd)
		up int
	}
	say := func(s health.State, from, to int) func(*crowd) { return func(c *crowd) { c.say(s, from, to) } }
	pass := func(d time.Duration) func(*crowd) { return func(c *crowd) { c.pass(d) } }
	for _, tt := range []struct {
		name  string
		n     int
		steps []step
	}{
		{"half", 20, []step{{say(health.Down, 0, 10), 10}}},
		{"more than half", 20, []step{{say(health.Down, 0, 11), 20}, {pass(4999 * time.Millisecond), 20}, {pass(time.Millisecond), 9}}},
		{"more than half of few", 19, []step{{say(health.Down, 0, 19), 0}}},
		{"one after the other", 20, []step{{say(health.Down, 0, 6), 14}, {pass(time.Second), 14}, {say(health.Down, 6, 11), 20}, {pass(4 * time.Second), 14}, {pass(time.Second), 9}}},
		{"slowly", 20, []step{{say(health.Down, 0, 6), 14}, {pass(2 * time.Second), 14}, {say(health.Down, 6, 12), 8}}},
		{"those that come back stay", 20, []step{{say(health.Down, 0, 20), 20}, {pass(3 * time.Second), 20}, {say(health.Up, 0, 15), 20}, {pass(2 * time.Second), 15}}},
		{"what was taken back is at once what it was", 20, []step{{say(health.Down, 0, 9), 11}, {say(health.Down, 9, 12), 20}, {say(health.Up, 0, 12), 20}, {pass(time.Minute), 20}}},
		{"nobody says so any more", 20, []step{{say(health.Down, 0, 20), 20}, {say(health.Unknown, 0, 20), 20}, {pass(time.Minute), 20}, {say(health.Down, 0, 20), 20}, {pass(2 * time.Second), 0}}},
		{"no quorum says so any more", 20, []step{{func(c *crowd) { c.hear("down") }, 20}, {say(health.Down, 0, 20), 20}, {say(health.Unknown, 0, 15), 20},
			{pass(5 * time.Second), 15}, {pass(10 * time.Minute), 0}}},
		{"members that go", 24, []step{{say(health.Down, 0, 13), 24}, {func(c *crowd) {
			c.Apply(ofCluster(2, "pool/p/member/m000", ""))
		}, 23}, {pass(5 * time.Second), 11}}},
		{"a change of the pool", 20, []step{{say(health.Down, 0, 20), 20}, {func(c *crowd) {
			c.Apply(ofCluster(2, "pool/p/policy", `{"check":"http","policy":"multivalue"}`))
		}, 20}, {pass(5 * time.Second), 0}}},
		{"a start from the disk image", 20, []step{{say(health.Down, 0, 3), 17}, {func(c *crowd) {
			img := c.Image()
			c.Registry = NewRegistry(c.Registry.log)
			c.Registry.now = func() time.Time { return c.now }
			c.Restore(img)
		}, 17}, {say(health.Down, 3, 13), 7}, {say(health.Down, 13, 14), 17}, {pass(5 * time.Second), 6}}},
		{"all of it read again", 20, []step{{say(health.Down, 0, 20), 20}, {func(c *crowd) { c.targets.forget() }, 20}, {pass(time.Minute), 20}}},
	} {
		for _, policy := range []string{`{"check":"http"}`, `{"check":"http","ramp":"1m"}`} {
			t.Run(tt.name+" "+policy, func(t *testing.T) {
				c := newCrowd(tt.n, policy)
				for i, step := range tt.steps {
					step.do(c)
					if got := c.up(); got != step.up {
						t.Fatalf("step %d: %d are up, expected %d", i+1, got, step.up)
					}
					known := 0
					for _, tg := range c.targets.byID {
						known += known1(tg.ballot.State)
					}
					if c.targets.found != known {
						t.Fatalf("step %d: %d are known, counted %d", i+1, known, c.targets.found)
					}
				}
			})
		}
	}
}

// Where it was not to be believed that members were down, they do not come back as those do that were.
func TestBelieveTakenBack(t *testing.T) {
	c := newCrowd(20, `{"check":"http","recover":"1m","ramp":"1m"}`)
	c.say(health.Down, 0, 9)
	c.say(health.Down, 9, 12)
	p := c.pools["p"].compiled
	if n := c.up(); n != 20 || p.Health(0).Weight() != uint16(p.Scale()) {
		t.Errorf("%d are up, the first with weight %d, expected all, with %d", n, p.Health(0).Weight(), p.Scale())
	}
}

// Nor do the pools that had no other, in those around them.
func TestBelieveTakenBackWithin(t *testing.T) {
	c := newCrowd(20, `{"check":"http"}`)
	c.Apply(ofCluster(2, "pool/eu/policy", `{"check":"http"}`, "pool/eu/member/m", crowdAddr(0), "pool/eu/member/n", crowdAddr(1),
		"pool/mid/policy", `{"check":"http","min_up":2}`, "pool/mid/member/eu", `{"pool":"eu"}`, "pool/mid/member/m", crowdAddr(2),
		"pool/world/policy", `{"recover":"24h","ramp":"1h"}`, "pool/world/member/mid", `{"pool":"mid"}`,
		"pool/top/policy", `{"recover":"24h"}`, "pool/top/member/eu", `{"pool":"eu"}`, "pool/top/member/world", `{"pool":"world"}`))
	for _, step := range []struct {
		from, to int
		want     health.State
	}{{0, 9, health.Down}, {9, 12, health.Up}} {
		c.say(health.Down, step.from, step.to)
		for _, name := range []string{"top", "world"} {
			p := c.pools[name].compiled
			for i := range p.Members {
				if got := p.Health(i); got.State(0) != step.want || int(got.Weight()) != p.Scale() {
					t.Errorf("%d down: %s/%s is %v with weight %d, expected %v with %d", step.to, name, p.Members[i].Name, got.State(0), got.Weight(), step.want, p.Scale())
				}
			}
		}
	}
	c.pass(5 * time.Second)
	c.say(health.Up, 0, 20)
	if p := c.pools["top"].compiled; p.Health(0).State(0) != health.Unknown {
		t.Errorf("what was down indeed is %v, expected that it is held back", p.Health(0).State(0))
	}
}

// It is told and counted, and each member says why it is up though it is counted down.
func TestBelieveTold(t *testing.T) {
	c := newCrowd(20, `{"check":"http"}`)
	c.say(health.Down, 0, 15)
	if why, want := c.pools["p"].compiled.Reason(0, 0), notBelieved+"refused"; why != want {
		t.Errorf("reason %q, expected %q", why, want)
	}
	if n := c.voteStats().Doubted; n != 15 {
		t.Errorf("%d are held, expected 15", n)
	}
	c.pass(5 * time.Second)
	if why := c.pools["p"].compiled.Reason(0, 0); why != "refused" || c.voteStats().Doubted != 0 {
		t.Errorf("after the second round: reason %q, %d held", why, c.voteStats().Doubted)
	}
	want := `level=WARN msg="more than half of all that is checked turned down at once: it is not believed before a second round" held=15 checked=20
level=INFO msg="nothing that turned down is held any more"
`
	if got := c.log.String(); got != want {
		t.Errorf("logged\n%s\nexpected\n%s", got, want)
	}
}
