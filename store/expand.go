package store

import (
	"maps"
	"slices"

	"meridian/policy"
)

// Policy is the policy of a pool, as it is written.
type Policy struct {
	Pool    string
	Written policy.Spec // zero where no key says it
}

// Policies are those of the pools of which a manifest has keys, by name, as they would be if it were put into
// the registry as it is now. A policy that is wrong is left out.
func Policies(m Manifest, now Update) []Policy {
	pools, values := map[string]bool{}, map[string][]byte{}
	for _, e := range now.Entries {
		if k, err := parseKey(e.Key); err == nil && k.kind == kindPolicy {
			values[k.name] = e.Value
		}
	}
	for _, e := range m {
		switch k, err := parseKey(e.Key); {
		case err != nil:
		case k.kind == kindPolicy:
			pools[k.name], values[k.name] = true, e.Value
		case k.kind == kindMember:
			pools[k.name] = true
		}
	}
	var list []Policy
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		p := Policy{Pool: pool}
		if value, ok := values[pool]; ok && decode(value, &p.Written) != nil {
			continue
		}
		list = append(list, p)
	}
	return list
}
