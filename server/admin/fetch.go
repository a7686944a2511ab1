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
	"golang.org/x/sys/unix"

	"meridian/zones/explain"
)

// maxExplanation is the largest response that Fetch reads, in bytes: pools have up to 1,000 members.
const maxExplanation = 64 << 20

// Fetch asks the server at host:port to explain a query. Empty fields are left to its defaults.
func Fetch(ctx context.Context, server string, q explain.Question) (*explain.Explanation, error) {
	query := url.Values{}
	for key, value := range map[string]string{"name": q.Name, "type": q.Type, "client": q.Client, "subnet": q.Subnet, "random": q.Random} {
		if value != "" {
			query.Set(key, value)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	u := url.URL{Scheme: "http", Host: server, Path: "/explain", RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port: %w", server, err)
	}
	resp, err := http.DefaultClient.Do(req)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("nothing answers HTTP on %s: is meridian serving there?", server)
	case err != nil:
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExplanation))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	if resp.StatusCode != http.StatusOK {
		text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		return nil, fmt.Errorf("%s says %s: %s", server, resp.Status, explain.Clean(text))
	}
	e := new(explain.Explanation)
	if err := json.Unmarshal(body, e); err != nil {
		return nil, fmt.Errorf("%s gave no explanation: %w", server, err)
	}
	return e, nil
}
