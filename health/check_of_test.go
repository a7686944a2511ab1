package health_test

import (
	"net/netip"
	"reflect"
	"testing"

	"meridian/health"
)

// Each part is a letter: U up, D down, ? unknown.
func TestFold(t *testing.T) {
	const all, any, two = `{"all":["a","b","c"]}`, `{"any":["a","b","c"]}`, `{"at_least":2,"of":["a","b","c"]}`
	tests := []struct{ text, parts, want string }{
		{all, "UUU", "U"}, {all, "UUD", "D"}, {all, "UU?", "?"}, {all, "U?D", "D"}, {all, "???", "?"},
		{any, "DDD", "D"}, {any, "DDU", "U"}, {any, "DD?", "?"}, {any, "D?U", "U"}, {any, "???", "?"},
		{two, "UUD", "U"}, {two, "UDD", "D"}, {two, "U?D", "?"}, {two, "U??", "?"}, {two, "UU?", "U"}, {two, "?DD", "D"},
		{`{"all":["a","b","c"],"invert":true}`, "UUU", "D"},
		{`{"all":["a","b","c"],"invert":true}`, "UUD", "U"},
		{`{"all":["a","b","c"],"invert":true}`, "UU?", "?"},
	}
	states := map[rune]health.State{'?': health.Unknown, 'U': health.Up, 'D': health.Down}
	for _, test := range tests {
		c, err := decode(test.text)
		if err == nil {
			err = c.Complete()
		}
		if err != nil {
			t.Fatal(err)
		}
		var parts []health.State
		for _, p := range test.parts {
			parts = append(parts, states[p])
		}
		if got, want := c.Fold(parts), states[rune(test.want[0])]; got != want {
			t.Errorf("%s of %s: %v, want %v", test.text, test.parts, got, want)
		}
	}
}

func TestTargetOf(t *testing.T) {
	checks := map[string]*health.Check{}
	for name, text := range map[string]string{
		"web": `{"http":{}}`, "db": `{"tcp":{"port":5432}}`, "ping": `{"icmp":{}}`,
		"both": `{"all":["web","db","ping","absent","other"]}`, "other": `{"any":["web"]}`,
	} {
		c, err := decode(text)
		if err == nil {
			err = c.Complete()
		}
		if err != nil {
			t.Fatal(err)
		}
		checks[name] = &c
	}
	find := func(name string) *health.Check { return checks[name] }
	at := func(check, addr string) health.Target {
		return health.Target{TargetID: health.TargetID{Check: check, Addr: netip.MustParseAddrPort(addr)}, Spec: checks[check]}
	}
	nothing := func(check string) health.Target {
		t := at(check, "192.0.2.1:0")
		t.Spec = nil
		return t
	}
	both := at("both", "192.0.2.1:8080")
	both.Parts = []health.Target{at("web", "192.0.2.1:8080"), at("db", "192.0.2.1:5432"), at("ping", "192.0.2.1:0"), nothing("absent"), nothing("other")}
	both.Parts[4].Addr = netip.MustParseAddrPort("192.0.2.1:8080")
	for _, test := range []struct {
		check string
		port  uint16
		want  health.Target
	}{
		{"web", 0, at("web", "192.0.2.1:80")},
		{"web", 8080, at("web", "192.0.2.1:8080")},
		{"ping", 8080, at("ping", "192.0.2.1:0")},
		{"both", 8080, both},
		{"absent", 8080, nothing("absent")},
	} {
		got := health.TargetOf(test.check, netip.MustParseAddr("192.0.2.1"), test.port, find)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s at port %d: %+v, want %+v", test.check, test.port, got, test.want)
		}
	}
}
