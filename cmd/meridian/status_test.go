package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"meridian/store"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// readCluster makes a cluster of live keys and their values, and of "etcd", its error, and "asked".
func readCluster(t *testing.T, file string) cluster {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var live map[string]jsontext.Value
	if err := json.Unmarshal(text, &live); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var servers, checkers, faults []store.Entry
	for key, value := range live {
		if name, ok := strings.CutPrefix(key, "server/"); ok {
			servers = append(servers, store.Entry{Key: name, Value: value})
		}
		if name, ok := strings.CutPrefix(key, "checker/"); ok {
			checkers = append(checkers, store.Entry{Key: name, Value: value})
		}
		if name, ok := strings.CutPrefix(key, "error/"); ok {
			faults = append(faults, store.Entry{Key: name, Value: value})
		}
	}
	list, err := parseServers(servers)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if why := live["etcd"]; why != nil {
		unquote := func(v jsontext.Value) string {
			text, err := jsontext.AppendUnquote(nil, v)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			return string(text)
		}
		return newClusterOfOne(list[0], unquote(live["asked"]), errors.New(unquote(why)), "/gslb")
	}
	markBehind(list, markBehind(list, 0))
	return newCluster(list, parseFaults(faults), "/gslb").withCheckers(parseCheckers(checkers))
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (run with -update to accept)\n  want:\n%s\n  got:\n%s", file, want, got)
	}
}

// TestStatusText: what servers write, and how status shows it, without colour and as JSON; and what
// the first of them says as readyz.
func TestStatusText(t *testing.T) {
	files, _ := filepath.Glob("testdata/status/*.json")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			c := readCluster(t, file)
			text := c.text(noon, false)
			if len(c.Servers) > 0 {
				for _, line := range notes(c.Servers[0].Status, "/gslb", noon) {
					if strings.Contains(line, "\n") {
						t.Errorf("a note of more than one line: %q", line)
					}
				}
				text += "\n== readyz of " + c.Servers[0].Name + "\n" + strings.Join(append(notes(c.Servers[0].Status, "/gslb", noon), ""), "\n")
			}
			golden(t, name+".txt", text)
			if colours := sgr.ReplaceAllString(c.text(noon, true), ""); colours != c.text(noon, false) {
				t.Errorf("in colour it says something else:\n%s", colours)
			}
		})
	}
}

func TestStatusWell(t *testing.T) {
	for name, well := range map[string]bool{
		"well": true, "empty": true, "none": false, "held": false, "faults": false, "wrong": false, "away": false, "geo": false,
	} {
		c := readCluster(t, "testdata/status/"+name+".json")
		if c.Well != well {
			t.Errorf("%s: well %v", name, c.Well)
		}
	}
}

// TestStatusJSON holds the names that programs rely on.
func TestStatusJSON(t *testing.T) {
	var out strings.Builder
	for _, name := range []string{"faults", "away", "health"} {
		c := readCluster(t, "testdata/status/"+name+".json")
		if err := (view{out: &out, json: true}).write(c, noon); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/status/programs.txt", out.String())
}

func TestStatusColour(t *testing.T) {
	c := readCluster(t, "testdata/status/wrong.json")
	text := c.text(noon, true)
	for _, want := range []string{
		"\x1b[1mSERVER\x1b[0m  ",
		"\x1b[31m812 etcd refused\x1b[0m  ",
		"\n\x1b[31malarm NOSPACE: the embedded etcd is full and takes no more writes\x1b[0m\n",
		"\n\x1b[33ma full compare found 2 keys",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if strings.Contains(text, "\x1b[m") {
		t.Errorf("a colour that is none in %q", text)
	}
	if text := readCluster(t, "testdata/status/well.json").text(noon, true); !strings.HasSuffix(text, "\n\x1b[32mall is well\x1b[0m\n") {
		t.Errorf("%q", text)
	}
}

// TestBehind: a server is behind once it does not answer what another knew a look ago; not for a
// lower revision alone.
func TestBehind(t *testing.T) {
	look := func(known int64, list ...serverStatus) (behind []string, changed int64) {
		changed = markBehind(list, known)
		for _, s := range list {
			if s.Behind {
				behind = append(behind, s.Name)
			}
		}
		return behind, changed
	}
	at := func(name string, revision, changed int64) serverStatus {
		return serverStatus{Name: name, Status: store.Status{Revision: revision, Changed: changed}}
	}
	for _, test := range []struct {
		name    string
		known   int64
		servers []serverStatus
		behind  []string
		changed int64
	}{
		{"alike", 812, []serverStatus{at("ns1", 812, 812), at("ns2", 812, 812)}, nil, 812},
		{"one has just read all there is", 812, []serverStatus{at("ns1", 812, 812), at("ns2", 990, 812)}, nil, 812},
		{"a change has reached one", 812, []serverStatus{at("ns1", 815, 815), at("ns2", 812, 812)}, nil, 815},
		{"and the other not", 815, []serverStatus{at("ns1", 812, 812), at("ns2", 815, 815)}, []string{"ns1"}, 815},
		{"they do not tell", 0, []serverStatus{at("ns1", 812, 0), at("ns2", 815, 0)}, nil, 0},
	} {
		if behind, changed := look(test.known, test.servers...); !slices.Equal(behind, test.behind) || changed != test.changed {
			t.Errorf("%s: behind %v, changed %d", test.name, behind, changed)
		}
	}
}

func TestFit(t *testing.T) {
	text := "one\n\x1b[31mtwo and two\x1b[0m\nthree\nfour\n" // the second takes two rows of 6 columns
	for _, test := range []struct {
		rows, columns int
		want          string
	}{
		{0, 0, text},
		{6, 6, text},
		{5, 6, "one\n\x1b[31mtwo and two\x1b[0m\n… 2 lines more\n"},
		{4, 6, "one\n… 3 lines more\n"},
		{5, 80, text},
		{4, 80, "one\n\x1b[31mtwo and two\x1b[0m\n… 2 lines more\n"},
	} {
		if got := fit(text, test.rows, test.columns); got != test.want {
			t.Errorf("%d × %d: %q, want %q", test.rows, test.columns, got, test.want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestParseServers(t *testing.T) {
	_, err := parseServers([]store.Entry{{Key: "ns1", Value: []byte("{")}})
	if want := "live key server/ns1: jsontext: unexpected EOF after offset 1"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return strings.TrimPrefix(s.URL, "http://")
}

// TestStatusWithoutEtcd asks a server over HTTP how it stands.
func TestStatusWithoutEtcd(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/status" {
			io.WriteString(w, `{"server":"ns1","ready":true,"revision":812,"lost":"2026-11-23T11:00:00Z","zones":1,"names":2}`)
		}
	}))
	defer s.Close()
	away, addr := nobody(t), strings.TrimPrefix(s.URL, "http://")
	out, _, err := run(t, "", "status", "--etcd-endpoints", away, "--server", addr)
	if !errors.Is(err, errSaid) {
		t.Errorf("%v", err)
	}
	var c cluster
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if want := "reading live keys: etcd at " + away + ": connection refused"; c.Etcd != want || c.Asked != addr || c.Well || len(c.Servers) != 1 ||
		c.Servers[0].Name != "ns1" || c.Servers[0].Revision != 812 || c.Problems[0].Kind != "lost" {
		t.Errorf("%+v", c)
	}

	s.Close()
	out, _, err = run(t, "", "status", "--text", "--etcd-endpoints", away, "--server", addr)
	want := "etcd does not answer: reading live keys: etcd at " + away + ": connection refused\n\n" +
		"nothing answers HTTP on " + addr + ": is meridian serving there?\n"
	if !errors.Is(err, errSaid) || out != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
}

// TestWatch: what has not changed is not written again, except onto a terminal.
func TestWatch(t *testing.T) {
	one, two := newCluster(nil, nil, "/gslb"), newCluster(nil, nil, "/test")
	looks := []cluster{one, one, two}
	for _, test := range []struct {
		name string
		view view
		want string
	}{
		{"programs", view{json: true}, jsonLine(t, one) + jsonLine(t, two)},
		{"a file", view{}, one.text(noon, false) + "\n" + two.text(noon, false) + "\n"},
		{"a terminal", view{terminal: true, rows: func() (int, int) { return 50, 80 }},
			redraw(one.text(noon, false)) + redraw(one.text(noon, false)) + redraw(two.text(noon, false))},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				test.view.out = &out
				ctx, cancel := context.WithCancel(t.Context())
				start, n := time.Now(), 0
				err := test.view.watch(ctx, func(context.Context) (cluster, error) {
					if n == len(looks) {
						cancel()
						return cluster{}, ctx.Err()
					}
					n++
					return looks[n-1], nil
				})
				if err != nil || out.String() != test.want || time.Since(start) != 3*time.Second {
					t.Errorf("%v, after %v\n%q, want\n%q", err, time.Since(start), out.String(), test.want)
				}
			})
		})
	}
}

func jsonLine(t *testing.T, c cluster) string {
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestStatusMetrics(t *testing.T) {
	saver := store.NewSaver(filepath.Join(t.TempDir(), "image"), nil)
	list := collect(t, &statusMetrics{func() store.Status {
		return store.Status{
			Held:    &store.Held{Names: 500, Members: 3, Others: 1},
			Refused: "etcd has no keys", Drift: 7, Unregistered: 2, Image: true, Alarms: []string{"NOSPACE"},
			Overrides:  &store.Overrides{States: map[string]int{"drain": 2, "weight": 1}},
			VoteStats:  store.VoteStats{Doubted: 21, Disputed: 3, Stale: 4, Checkers: 5},
			Warned:     6,
			ImageSaved: noon, ImageError: "no space left on device",
			Geo: []store.GeoFile{
				{Path: "city.mmdb", Type: "GeoLite2-City", Built: noon, Loaded: noon, Networks: 12, Error: "it is empty", Failures: 3},
				{Path: "asn.mmdb", Error: "no such file or directory", Failures: 1},
			},
		}
	}, saver})
	for _, want := range []string{
		`meridian_registry_held_deletes{kind="names"} 500`,
		`meridian_registry_held_deletes{kind="members"} 3`,
		`meridian_registry_held_deletes{kind="others"} 1`,
		`meridian_registry_refused 1`,
		`meridian_registry_drift_total 7`,
		`meridian_pool_members_unregistered 2`,
		`meridian_overrides{state="drain"} 2`,
		`meridian_overrides{state="weight"} 1`,
		`meridian_health_doubted 21`,
		`meridian_health_disputed 3`,
		`meridian_health_stale 4`,
		`meridian_health_warned 6`,
		`meridian_health_checkers 5`,
		`meridian_registry_from_image 1`,
		`meridian_image_saved_timestamp_seconds 1.7954352e+09`,
		`meridian_image_failed 1`,
		`meridian_image_size_bytes 0`,
		`meridian_image_writes_total{result="success"} 0`,
		`meridian_image_writes_total{result="failure"} 0`,
		`meridian_etcd_alarm{alarm="NOSPACE"} 1`,
		`meridian_geo_build_timestamp_seconds{path="city.mmdb",type="GeoLite2-City"} 1.7954352e+09`,
		`meridian_geo_networks{path="city.mmdb",type="GeoLite2-City"} 12`,
		`meridian_geo_failed{path="city.mmdb"} 1`,
		`meridian_geo_failures_total{path="city.mmdb"} 3`,
		`meridian_geo_failed{path="asn.mmdb"} 1`,
		`meridian_geo_failures_total{path="asn.mmdb"} 1`,
	} {
		if !strings.Contains(list, want+"\n") {
			t.Errorf("no %s in\n%s", want, list)
		}
	}
	list = collect(t, &statusMetrics{func() store.Status { return store.Status{} }, saver})
	for _, want := range []string{`meridian_registry_held_deletes{kind="names"} 0`, `meridian_registry_refused 0`, `meridian_registry_from_image 0`} {
		if !strings.Contains(list, want+"\n") {
			t.Errorf("no %s in\n%s", want, list)
		}
	}
	for _, absent := range []string{"etcd_alarm", "saved_timestamp", "geo_"} {
		if strings.Contains(list, absent) {
			t.Errorf("%s in\n%s", absent, list)
		}
	}
}

// collect is what Prometheus reads of a collector.
func collect(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	return w.Body.String()
}
