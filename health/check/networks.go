package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Networks say which addresses a checker may touch. The zero value is what NewNetworks makes of
// nothing.
type Networks struct{ rules []rule }

type rule struct {
	net     netip.Prefix
	allowed bool
	why     string // in words, of one that denies
}

// special are the networks that nobody means to be checked who can write a member: what listens
// there trusts its own host or link, such as a cloud's metadata service at 169.254.169.254.
var special = []rule{
	{netip.MustParsePrefix("0.0.0.0/8"), false, "unspecified"}, // RFC 6890; Linux takes 0.0.0.0 for the loopback
	{netip.MustParsePrefix("127.0.0.0/8"), false, "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), false, "link-local"}, // RFC 3927
	{netip.MustParsePrefix("224.0.0.0/4"), false, "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), false, "broadcast"},
	{netip.MustParsePrefix("::/128"), false, "unspecified"},
	{netip.MustParsePrefix("::1/128"), false, "loopback"},
	{netip.MustParsePrefix("fe80::/10"), false, "link-local"},
	{netip.MustParsePrefix("ff00::/8"), false, "multicast"},
}

// NewNetworks makes Networks of what is allowed and what is denied. The longest network that
// covers an address decides, of two alike the one that is denied, and what is said here goes before
// the loopback, link-local, multicast and unspecified addresses, which are denied. What no network
// covers is allowed.
func NewNetworks(allow, deny []netip.Prefix) Networks {
	var rules []rule
	for _, p := range deny {
		rules = append(rules, rule{plainPrefix(p), false, "checker.deny"})
	}
	for _, p := range allow {
		rules = append(rules, rule{plainPrefix(p), true, ""})
	}
	rules = append(rules, special...)
	slices.SortStableFunc(rules, func(x, y rule) int { return cmp.Compare(y.net.Bits(), x.net.Bits()) })
	return Networks{rules}
}

// plainPrefix is p as it is compared: masked, and of IPv4 where it is IPv4 mapped into IPv6.
func plainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// permit says why addr may not be touched, as an *unableError; nil if it may.
func (n Networks) permit(addr netip.Addr) error {
	rules := n.rules
	if rules == nil {
		rules = special // none lies within another
	}
	addr = addr.Unmap().WithZone("")
	for _, r := range rules {
		if !r.net.Contains(addr) {
			continue
		}
		if r.allowed {
			return nil
		}
		return &unableError{fmt.Sprintf("not checked from here: %v is in %v (%s), see checker.allow", addr, r.net, r.why)}
	}
	return nil
}
