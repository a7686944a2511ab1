package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/store"
	"meridian/store/etcd"
)

// checkerOf is a checker that is live, by its own word.
type checkerOf struct {
	Name string `json:"checker"`
	checkerKey
	Differs int `json:"differs,omitzero"` // targets of which it says otherwise than a server counts, the most that any does
}

func readCheckers(ctx context.Context, registry *etcd.Registry) ([]checkerOf, error) {
	entries, _, err := registry.ReadLive(ctx, "checker")
	if err != nil {
		return nil, err
	}
	return parseCheckers(entries), nil
}

// parseCheckers reads the live keys below checker/. Of one that nobody can read there is the name.
func parseCheckers(entries []store.Entry) (list []checkerOf) {
	for _, e := range entries {
		c := checkerOf{Name: e.Key}
		if err := json.Unmarshal(e.Value, &c.checkerKey); err != nil {
			c.checkerKey = checkerKey{}
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b checkerOf) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// withCheckers adds the checkers, and what the servers say of them.
func (c cluster) withCheckers(list []checkerOf) cluster {
	for i := range list {
		for _, s := range c.Servers {
			list[i].Differs = max(list[i].Differs, s.Differ[list[i].Name])
		}
	}
	c.Checkers = list
	return c
}

// checkerTable is a row for each checker, below one of headings.
func (c cluster) checkerTable(now time.Time) [][]cell {
	rows := [][]cell{{
		{"CHECKER", bold}, {"SITE", bold}, {"VERSION", bold}, {"UP", bold}, {"SEES", bold}, {"DIFFERS", bold}, {"ABSTAINS", bold},
	}}
	for _, k := range c.Checkers {
		differs := "-"
		if k.Differs > 0 {
			differs = grouped(k.Differs)
		}
		rows = append(rows, []cell{
			{text: orDash(k.Name)}, {text: orDash(k.Site)}, {text: orDash(k.Version)}, {text: since(k.Started, now)},
			{text: k.sees()}, {differs, yellow}, {orDash(strings.Join(k.Abstains, ",")), red},
		})
	}
	return withoutEmpty(rows)
}

// sees is how many targets the checker sees in which state: "3 up, 1 down".
func (k *checkerKey) sees() string {
	var parts []string
	for _, state := range []string{"up", "down", "unknown"} {
		if n := k.Targets[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", grouped(n), state))
		}
	}
	return orDash(strings.Join(parts, ", "))
}
