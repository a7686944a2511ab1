package zones

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/spec"
)

// Steer is the value of zone/<zone>/name/<owner>/steer.
type Steer struct {
	Pool   string                `json:"pool"`            // the pool that chooses; required; the name of a pool
	TTL    *int64                `json:"ttl,omitzero"`    // how long an answer may be kept, in seconds; default 30; 0 to 2147483647
	Types  []string              `json:"types,omitzero"`  // types that the pool answers for; default "A" and "AAAA"; of "A", "AAAA", "SRV", "HTTPS", "SVCB"
	ECS    *bool                 `json:"ecs,omitzero"`    // whether the client subnet is looked at (RFC 7871); default as the zone's soa says
	ALPN   []string              `json:"alpn,omitzero"`   // of HTTPS and SVCB: protocols (RFC 9460 §7.1); default none; at least one such as "h2"
	Port   *uint16               `json:"port,omitzero"`   // port of HTTPS and SVCB (RFC 9460 §7.2), and of SRV for members that have none; default none; 1 to 65535
	Params map[string]ParamValue `json:"params,omitzero"` // of HTTPS and SVCB: further SvcParams by name, in presentation form; default none; at least one, 16 KiB in all
}

// ParamValue is the value of a SvcParam in presentation form (RFC 9460 §2.1), without quotes around it.
type ParamValue string

// UnmarshalJSONFrom reads "alpn,port" or ["alpn","port"].
func (v *ParamValue) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	wrong := spec.Errorf("", "expected a string or a list of strings")
	switch token.Kind() {
	case '"':
		*v = ParamValue(token.String())
		return nil
	case '[':
	default:
		return wrong
	}
	var list []string
	for d.PeekKind() != ']' {
		if token, err = d.ReadToken(); err != nil {
			return err
		}
		if token.Kind() != '"' {
			return wrong
		}
		list = append(list, token.String())
	}
	*v = ParamValue(strings.Join(list, ","))
	_, err = d.ReadToken()
	return err
}

var (
	// SteeredTypes are what Steer has by default.
	SteeredTypes = []uint16{dns.TypeA, dns.TypeAAAA}

	// Steerable are the types a pool can answer for.
	Steerable = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB}
)

const steerable = `"A", "AAAA", "SRV", "HTTPS" or "SVCB"`

// Compile makes a part that sends the types to the pool of that ID. Errors are *spec.Error.
func (s *Steer) Compile(pool policy.ID, revision int64) (Part, error) {
	ttl, err := checkTTL("ttl", s.TTL, defaultSteerTTL)
	if err != nil {
		return Part{}, err
	}
	if s.Pool == "" {
		return Part{}, spec.Errorf("pool", "expected the name of a pool")
	}
	types, err := s.types()
	if err != nil {
		return Part{}, err
	}
	p := SteeredPart(pool, ttl, types, revision)
	if p.more, err = s.service(types); err != nil {
		return Part{}, err
	}
	switch {
	case s.ECS == nil:
	case *s.ECS:
		p.flags |= subnet
	default:
		p.flags |= noSubnet
	}
	return p, nil
}

func (s *Steer) types() ([]uint16, error) {
	if s.Types == nil {
		return SteeredTypes, nil
	}
	if len(s.Types) == 0 {
		return nil, spec.Errorf("types", "expected at least one of "+steerable)
	}
	var types []uint16
	for i, text := range s.Types {
		typ := dns.StringToType[text]
		if !slices.Contains(Steerable, typ) {
			return nil, spec.Errorf(fmt.Sprintf("types[%d]", i), "%q cannot be steered, expected "+steerable, text)
		}
		if slices.Contains(types, typ) {
			return nil, spec.Errorf(fmt.Sprintf("types[%d]", i), "%q is there twice", text)
		}
		types = append(types, typ)
	}
	return types, nil
}

// service is what answers of SRV, HTTPS and SVCB are made of beside what the pool chooses: uint16 port
// (0: none is given), and the SvcParams in wire form, hints apart; numbers in network order. It is nil
// where none of these types is steered.
func (s *Steer) service(types []uint16) ([]byte, error) {
	binds := slices.Contains(types, dns.TypeHTTPS) || slices.Contains(types, dns.TypeSVCB)
	if !binds {
		const wrong = `it is of HTTPS and SVCB, of which "types" has none`
		if s.ALPN != nil {
			return nil, spec.Errorf("alpn", wrong)
		}
		if s.Params != nil {
			return nil, spec.Errorf("params", wrong)
		}
		if !slices.Contains(types, dns.TypeSRV) {
			if s.Port != nil {
				return nil, spec.Errorf("port", `it is of SRV, HTTPS and SVCB, of which "types" has none`)
			}
			return nil, nil
		}
	}
	port := uint16(0)
	if s.Port != nil {
		if port = *s.Port; port == 0 {
			return nil, spec.Errorf("port", "0 is no port, expected 1 to 65535")
		}
	}
	b := binary.BigEndian.AppendUint16(nil, port)
	if !binds {
		return b, nil
	}
	params, err := s.params()
	return append(b, params...), err
}

// maxParams bounds the SvcParams' bytes: hints have to find room beside them in a message.
const maxParams = 16 << 10

// params are all SvcParams but the hints, in wire form and the order of their keys (RFC 9460 §2.2).
func (s *Steer) params() ([]byte, error) {
	rr := &dns.SVCB{Priority: serviceMode, Target: "."}
	if s.ALPN != nil {
		if err := checkALPN(s.ALPN); err != nil {
			return nil, err
		}
		rr.Value = append(rr.Value, &dns.SVCBAlpn{Alpn: s.ALPN})
	}
	if s.Port != nil {
		rr.Value = append(rr.Value, &dns.SVCBPort{Port: *s.Port})
	}
	if s.Params != nil && len(s.Params) == 0 {
		return nil, spec.Errorf("params", "expected at least one parameter")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		kv, err := parseParam(name, string(s.Params[name]))
		if err != nil {
			return nil, spec.Errorf("params."+name, "%v", err)
		}
		rr.Value = append(rr.Value, kv)
	}
	if err := checkSVCB(rr); err != nil {
		return nil, spec.Errorf("params", "%v", err)
	}
	slices.SortFunc(rr.Value, func(x, y dns.SVCBKeyValue) int { return int(x.Key()) - int(y.Key()) })
	wire, err := PackRData(rr)
	if err != nil {
		return nil, spec.Errorf("params", "%v", err)
	}
	if wire = wire[len(serviceHead):]; len(wire) > maxParams {
		return nil, spec.Errorf("params", "the parameters take %d bytes, expected at most %d", len(wire), maxParams)
	}
	return wire, nil
}

// protocol is an ALPN identifier that needs no escapes.
var protocol = regexp.MustCompile(`^[!#-+\--\[\]-~]{1,255}$`)

func checkALPN(list []string) error {
	if len(list) == 0 {
		return spec.Errorf("alpn", `expected at least one protocol such as "h2"`)
	}
	for i, text := range list {
		field := fmt.Sprintf("alpn[%d]", i)
		if !protocol.MatchString(text) {
			return spec.Errorf(field, `%q is no protocol, expected one such as "h2"`, text)
		}
		if slices.Contains(list[:i], text) {
			return spec.Errorf(field, "%q is there twice", text)
		}
	}
	return nil
}

var paramName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// parseParam reads a SvcParam that an operator may write.
func parseParam(name, value string) (dns.SVCBKeyValue, error) {
	switch name {
	case "alpn", "port":
		return nil, fmt.Errorf("it is a field of its own, %q", name)
	case "ipv4hint", "ipv6hint":
		return nil, errors.New("it is made of the addresses that the pool chooses")
	}
	unknown := fmt.Errorf(`%q is no parameter, expected one such as "ech" or "key65400"`, name)
	if !paramName.MatchString(name) {
		return nil, unknown
	}
	text := name
	if value != "" {
		text += `="` + value + `"`
	}
	words, err := splitWords(text)
	if err != nil || len(words) != 1 {
		return nil, fmt.Errorf("%.100q is no value: quotes and line ends in it need escapes", value)
	}
	rr, err := parseText("SVCB", "1 . "+text, ".")
	switch {
	case err != nil && err.Error() == "bad SVCB key":
		return nil, unknown
	case err != nil: // which says no more
		return nil, fmt.Errorf("%.100q is no value of it", value)
	}
	return rr.(*dns.SVCB).Value[0], nil
}
