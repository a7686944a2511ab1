package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"meridian/store"
)

// writePolicies writes policies with what their short names and defaults stand for.
func writePolicies(w io.Writer, policies []store.Policy) error {
	for _, p := range policies {
		text, err := policyText(p)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// policyText is such as
//
//	pool/web: policy "failover"
//	  "steps": ["up","tier","weighted",{"take":{"n":1}}]
//	  "check": "web"
//	  "on_empty": ["all"] (default; as a member of another pool, what that pool says)
func policyText(p store.Policy) (string, error) {
	spec := &p.Written
	var b strings.Builder
	switch {
	case spec.Steps != nil:
		fmt.Fprintf(&b, "pool/%s: steps of its own\n", p.Pool)
	case spec.Policy == "":
		fmt.Fprintf(&b, "pool/%s: policy \"weighted\" (default)\n", p.Pool)
	default:
		fmt.Fprintf(&b, "pool/%s: policy %q\n", p.Pool, spec.Policy)
	}
	onEmpty, elsewhere := spec.OnEmpty, ""
	if onEmpty == nil {
		onEmpty, elsewhere = []string{"all"}, " (default; as a member of another pool, what that pool says)"
	}
	check, unchecked := any(spec.Check), ""
	if spec.Check == "" {
		check, unchecked = nil, " (default: the members are up)"
	}
	minUp, least := any(spec.MinUp), ""
	if spec.MinUp.N == 0 && spec.MinUp.Share == 0 {
		minUp, least = 1, " (default)"
	}
	linger, usual := spec.LingerFor().String(), ""
	if spec.Linger == nil {
		usual = " (default)"
	}
	for _, field := range []struct {
		name  string
		value any
		note  string
	}{
		{"steps", spec.Chain(), ""}, {"check", check, unchecked}, {"on_empty", onEmpty, elsewhere}, {"min_up", minUp, least}, {"linger", linger, usual},
	} {
		text, err := json.Marshal(field.value)
		if err != nil {
			return "", fmt.Errorf("pool/%s: %s: %w", p.Pool, field.name, err)
		}
		if field.value == nil {
			text = []byte("none")
		}
		fmt.Fprintf(&b, "  %q: %s%s\n", field.name, text, field.note)
	}
	return b.String(), nil
}
