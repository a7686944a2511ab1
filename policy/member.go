package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/spec"
)

// Member is one backend of a pool, by its addresses or by a name, or another pool.
type Member struct {
	Name   string
	Addrs  []netip.Addr // 1 to health.MaxAddrs; none where it has a CNAME or is a pool
	CNAME  string       // where it is known by that name
	Pool   string       // where it is that pool
	Child  ID           // of Pool
	Weight uint16       // 0: only when nothing else is left
	Tier   uint16       // 1 is the first
	Site   string       // "" when not said
	Bias   int8         // −99 to 99: how much nearer it counts, in percent
	Port   uint16       // where it serves; 0 when not said
	Checks int          // of a name: how many addresses are checked in its place, 0 or 1
	Serves []Term       // whom the step geo keeps it for; none: everybody
}

// MemberSpec is a member as an operator writes it: the value of pool/<pool>/member/<member>. The
// shorthand, a bare address, is a MemberSpec with that Addr alone.
type MemberSpec struct {
	Addr      []netip.Addr `json:"addr,omitzero"`       // its addresses; default none, then cname or pool is said; 1 to 16
	CNAME     string       `json:"cname,omitzero"`      // or the name it is known by; default none; a name with a final dot
	Pool      string       `json:"pool,omitzero"`       // or the pool that it is; default none; the name of a pool
	Weight    *int         `json:"weight,omitzero"`     // its share among those left; default 1; 0 (only when nothing else is left) to 65535
	Tier      *int         `json:"tier,omitzero"`       // lower goes first, in the step tier; default 1; 1 to 65535
	Site      string       `json:"site,omitzero"`       // where it stands; default nowhere; the name of a site/<site>
	Serves    []string     `json:"serves,omitzero"`     // whom the step geo keeps it for; default everybody; up to 256 of "cidr:192.0.2.0/24", "asn:64500", "map:<map>/<tag>", "subdivision:DE-HE", "country:DE", "continent:EU", "any"
	Bias      int          `json:"bias,omitzero"`       // by so many percent nearer (above 0) or farther it counts, in the step nearest by distance; default 0; -99 to 99
	CheckAddr *netip.Addr  `json:"check_addr,omitzero"` // the address that is checked in place of each of its own; default none; not of a pool
	Port      uint16       `json:"port,omitzero"`       // where it serves, and is checked unless the check says otherwise; default none; 1 to 65535, not of a pool
	Leaving   bool         `json:"leaving,omitzero"`    // it means to go: it is given no more, and does not linger; default false
}

// Validate says what is wrong with m, as a *spec.Error.
func (m *MemberSpec) Validate() error {
	if err := m.validateTarget(); err != nil {
		return err
	}
	if m.CheckAddr != nil {
		if m.Pool != "" {
			return spec.Errorf("check_addr", "a member that is a pool is as its own members are: it is not checked itself")
		}
		if err := checkAddr("check_addr", *m.CheckAddr); err != nil {
			return err
		}
	}
	if m.Weight != nil && (*m.Weight < 0 || *m.Weight > math.MaxUint16) {
		return spec.Errorf("weight", "%d is out of range, expected 0 to 65535", *m.Weight)
	}
	if m.Tier != nil && (*m.Tier < 1 || *m.Tier > math.MaxUint16) {
		return spec.Errorf("tier", "%d is out of range, expected 1 to 65535", *m.Tier)
	}
	if m.Bias < -maxBias || m.Bias > maxBias {
		return spec.Errorf("bias", "%d is out of range, expected -%d to %d", m.Bias, maxBias, maxBias)
	}
	if m.Port != 0 && m.Pool != "" {
		return spec.Errorf("port", "a member that is a pool has the ports of its members")
	}
	return checkServes(m.Serves)
}

const maxBias = 99

// validateTarget checks what m is: addresses, a name or a pool.
func (m *MemberSpec) validateTarget() error {
	switch {
	case m.Addr != nil && m.CNAME != "":
		return spec.Errorf("cname", `a member has either "addr" or "cname"`)
	case m.Addr != nil && m.Pool != "":
		return spec.Errorf("pool", `a member has either "addr" or "pool"`)
	case m.CNAME != "" && m.Pool != "":
		return spec.Errorf("pool", `a member has either "cname" or "pool"`)
	case m.Pool != "":
		return nil
	case m.CNAME != "":
		_, err := packName(m.CNAME)
		return err
	}
	if len(m.Addr) == 0 || len(m.Addr) > health.MaxAddrs {
		return spec.Errorf("addr", "expected 1 to %d addresses, found %d", health.MaxAddrs, len(m.Addr))
	}
	for i, a := range m.Addr {
		field := fmt.Sprintf("addr[%d]", i)
		if err := checkAddr(field, a); err != nil {
			return err
		}
		if slices.Contains(m.Addr[:i], a) {
			return spec.Errorf(field, "%s is there twice", a)
		}
	}
	return nil
}

// packName is a name as the wire has it.
func packName(text string) ([]byte, error) {
	if !strings.HasSuffix(text, ".") {
		return nil, spec.Errorf("cname", "%q does not end in a dot, expected %q: a pool is of no zone that it could be relative to", text, text+".")
	}
	wire := make([]byte, 256)
	n, err := dns.PackDomainName(text, wire, 0, nil, false)
	if err != nil || text == "." {
		return nil, spec.Errorf("cname", `%q is no name, expected one such as "x.example.org."`, text)
	}
	return wire[:n], nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func checkAddr(field string, a netip.Addr) error {
	switch {
	case !a.IsValid():
		return spec.Errorf(field, "expected an address, found an empty string")
	case a.Zone() != "":
		return spec.Errorf(field, "%s has a zone, which means nothing elsewhere", a)
	case a.Is4In6():
		return spec.Errorf(field, "%s is IPv4 in IPv6 form, expected %s", a, a.Unmap())
	case a.IsUnspecified() || a.IsMulticast() || a == broadcast:
		return spec.Errorf(field, "%s is no address of one host", a)
	}
	return nil
}

// Compile makes a Member of it. A pool's ID is left for the caller to fill in.
func (m *MemberSpec) Compile(name string) Member {
	c := Member{
		Name: name, Addrs: m.Addr, CNAME: m.CNAME, Pool: m.Pool, Weight: 1, Tier: 1,
		Site: m.Site, Bias: int8(m.Bias), Port: m.Port,
	}
	if m.Weight != nil {
		c.Weight = uint16(*m.Weight)
	}
	if m.Tier != nil {
		c.Tier = uint16(*m.Tier)
	}
	if m.CNAME != "" && m.CheckAddr != nil {
		c.Checks = 1
	}
	for _, text := range m.Serves {
		if t, err := ParseTerm(text); err == nil {
			c.Serves = append(c.Serves, t)
		}
	}
	return c
}
