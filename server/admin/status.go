package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"

	"meridian/zones/explain"
)

// statuser serves /status: what Config.Status gives, and in front of it who that is of.
type statuser struct{ cfg Config }

func (x statuser) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	body, err := x.body()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

func (x statuser) body() ([]byte, error) {
	status, err := json.Marshal(x.cfg.Status())
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Server string         `json:"server"`
		Status jsontext.Value `json:",embed"`
	}{x.cfg.Name, status}, jsontext.WithIndent("  "))
}

// writeNotes writes what an operator should know beside the readiness, one a line.
func writeNotes(w io.Writer, cfg Config) {
	if cfg.Notes == nil {
		return
	}
	for _, note := range cfg.Notes() {
		fmt.Fprintln(w, explain.Clean(note))
	}
}

// maxStatus is the largest status that FetchStatus reads, in bytes.
const maxStatus = 1 << 20

// FetchStatus asks the server at host:port for its /status, and decodes it into what status points to:
// the fields that Config.Status has there, and "server", its name.
func FetchStatus(ctx context.Context, server string, status any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	u := url.URL{Scheme: "http", Host: server, Path: "/status"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("%q is not host:port: %w", server, err)
	}
	resp, err := http.DefaultClient.Do(req)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("nothing answers HTTP on %s: is meridian serving there?", server)
	case err != nil:
		return fmt.Errorf("ask %s: %w", server, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return fmt.Errorf("ask %s: %w", server, err)
	}
	if resp.StatusCode != http.StatusOK {
		text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		return fmt.Errorf("%s says %s: %s", server, resp.Status, explain.Clean(text))
	}
	if err := json.Unmarshal(body, status); err != nil {
		return fmt.Errorf("%s gave no status: %w", server, err)
	}
	return nil
}
