package main

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"meridian/policy"
)

func TestLintExpand(t *testing.T) {
	out, errOut, err := run(t, `{"site/fra": {},
		"pool/a/member/x": "192.0.2.1",
		"pool/b/policy": {"policy": "latency", "check": "web", "on_empty": ["pool:a", "nodata"], "min_up": "50%", "linger": "0s"},
		"check/web": {"tcp": {}},
		"pool/c/policy": {"steps": [{"take": {"n": 2, "distinct": "site"}, "when": {"continent": ["EU"]}}, "take"]}}`, "lint", "--expand", "-")
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errOut)
	}
	want := `-: 5 keys, all good
pool/a: policy "weighted" (default)
  "steps": ["up","weighted","take"]
  "check": none (default: the members are up)
  "on_empty": ["all"] (default; as a member of another pool, what that pool says)
  "min_up": 1 (default)
  "linger": "10m0s" (default)
pool/b: policy "latency"
  "steps": ["up",{"nearest":{"by":"rtt","within":"10ms"}},"weighted","take"]
  "check": "web"
  "on_empty": ["pool:a","nodata"]
  "min_up": "50%"
  "linger": "0s"
pool/c: steps of its own
  "steps": [{"take":{"n":2,"distinct":"site"},"when":{"continent":["EU"]}},"take"]
  "check": none (default: the members are up)
  "on_empty": ["all"] (default; as a member of another pool, what that pool says)
  "min_up": 1 (default)
  "linger": "10m0s" (default)
`
	if out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}

	out, _, err = run(t, `{"pool/a/policy": {"policy": "wieghted"}, "pool/b/member/x": "192.0.2.1"}`, "lint", "--expand", "-")
	if err != errSaid || !strings.HasPrefix(out, `-:1: pool/a/policy: policy: unknown policy "wieghted"`) || strings.Contains(out, "\npool/a") || !strings.Contains(out, "\npool/b") {
		t.Errorf("one that is wrong: %v\n%s", err, out)
	}
}

// TestLintExpandPutBack: the steps shown, put in the place of a short name, are its chain.
func TestLintExpandPutBack(t *testing.T) {
	for name, chain := range policy.Policies {
		text, err := json.Marshal(chain)
		if err != nil {
			t.Fatal(err)
		}
		var spec policy.Spec
		if err := json.Unmarshal([]byte(`{"steps":`+string(text)+`}`), &spec); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		again, err := json.Marshal(spec.Chain())
		if err != nil || string(again) != string(text) {
			t.Errorf("%s: %s, want %s (%v)", name, again, text, err)
		}
		out, _, err := run(t, `{"pool/a/policy": {"policy": "`+name+`"}, "pool/a/member/x": "192.0.2.1"}`, "lint", "--expand", "-")
		if err != nil || !strings.Contains(out, `  "steps": `+string(text)+"\n") {
			t.Errorf("%s: %v\n%s\nwant %s", name, err, out, text)
		}
	}
}

// TestLintExpandRegistry: with the registry, a policy that it holds counts for members of the manifest.
func TestLintExpandRegistry(t *testing.T) {
	in := startInstance(t, t.TempDir())
	in.put("pool/a/policy", `{"policy":"sticky"}`)
	in.put("pool/b/policy", `{"policy":"geo"}`)
	out, _, err := run(t, `{"pool/a/member/x": "192.0.2.1"}`, "lint", "--expand", "-", "--etcd-endpoints", strings.Join(in.endpoints, ","))
	if err != nil || !strings.Contains(out, "\npool/a: policy \"sticky\"\n  \"steps\": [\"up\",{\"weighted\":{\"by\":\"client\"}},") || strings.Contains(out, "pool/b") {
		t.Errorf("%v\n%s", err, out)
	}
}
