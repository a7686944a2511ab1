package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type testStatus struct {
	Revision int64  `json:"revision"`
	Refused  string `json:"refused,omitzero"`
}

func TestStatus(t *testing.T) {
	cfg := testConfig()
	cfg.Status = func() any { return testStatus{Revision: 812} }
	w := get(cfg, "/status")
	want := "{\n  \"server\": \"ns1\",\n  \"revision\": 812\n}\n"
	if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %q, want %q", w.Code, w.Header(), w.Body, want)
	}

	server := httptest.NewServer(handler(cfg))
	defer server.Close()
	var got struct {
		Server string `json:"server"`
		testStatus
	}
	if err := FetchStatus(t.Context(), strings.TrimPrefix(server.URL, "http://"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Server != "ns1" || got.Revision != 812 {
		t.Errorf("fetched %+v", got)
	}
}

// TestStatusFails: a status that is no object of its own names is a fault of ours, and said.
func TestStatusFails(t *testing.T) {
	for want, status := range map[string]any{
		"func()":        func() {},
		`name "server"`: map[string]string{"server": "another"},
		"a JSON object": "a text",
	} {
		cfg := testConfig()
		cfg.Status = func() any { return status }
		if w := get(cfg, "/status"); w.Code != 500 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %q", want, w.Code, w.Body)
		}
	}
}

func TestFetchStatusErrors(t *testing.T) {
	say := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			w.Write([]byte(text))
		}
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // ADDR is the server's
	}{
		{"another server", say(404, "no\x1b[2J page\nhere"), "ADDR says 404 Not Found: no�[2J page"},
		{"no JSON", say(200, "hello"), "ADDR gave no status: jsontext: invalid character 'h' at start of value"},
	} {
		server := httptest.NewServer(test.answer)
		addr := strings.TrimPrefix(server.URL, "http://")
		err := FetchStatus(t.Context(), addr, new(testStatus))
		server.Close()
		if want := strings.ReplaceAll(test.want, "ADDR", addr); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", test.name, err, want)
		}
		// And now there is nobody.
		err = FetchStatus(t.Context(), addr, new(testStatus))
		if want := "nothing answers HTTP on " + addr + ": is meridian serving there?"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := FetchStatus(t.Context(), "[::1", new(testStatus)); err == nil || !strings.HasPrefix(err.Error(), `"[::1" is not host:port: `) {
		t.Error(err)
	}
}

// TestReadinessNotes: what an operator should know does not change the status code.
func TestReadinessNotes(t *testing.T) {
	cfg := testConfig()
	cfg.Notes = func() []string { return []string{"alarm NOSPACE: full", "held\nback"} }
	notes := "alarm NOSPACE: full\nheld�back\n"
	if w := get(cfg, "/readyz"); w.Code != 200 || w.Body.String() != "ready\n"+notes {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	cfg.Ready = func() (bool, string) { return false, "the registry has not been read" }
	if w := get(cfg, "/readyz"); w.Code != 503 || w.Body.String() != "not ready: the registry has not been read\n"+notes {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
