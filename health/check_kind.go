package health

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/miekg/dns"

	"meridian/spec"
)

// TCP is up when a connection opens and, where something is expected, that comes.
type TCP struct {
	Port         uint16 `json:"port,omitzero"`          // where it connects to; default the member's; 1 to 65535
	Send         string `json:"send,omitzero"`          // what is sent once it is connected, such as "PING\r\n"; default nothing
	SendHex      string `json:"send_hex,omitzero"`      // the same in hexadecimal, spaces allowed; default nothing; not beside send
	Expect       string `json:"expect,omitzero"`        // a text that the first 64 KiB that come must hold, such as "+PONG"; default none
	ExpectHex    string `json:"expect_hex,omitzero"`    // the same in hexadecimal, spaces allowed; default none; not beside expect or expect_regexp
	ExpectRegexp string `json:"expect_regexp,omitzero"` // a regular expression (RE2) that they must match, such as "^220 "; default none; not beside expect or expect_hex
}

// TLS is up when a connection opens and shakes hands.
type TLS struct {
	Port uint16 `json:"port,omitzero"` // where it connects to; default the member's; 1 to 65535
	Certificate
}

// GRPC is up when the server's health service says that a service is serving
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
type GRPC struct {
	Port    uint16 `json:"port,omitzero"`    // where it connects to; default the member's; 1 to 65535
	Service string `json:"service,omitzero"` // the service that is asked for; default the server as a whole; such as "shop.v1.Cart"
	Host    string `json:"host,omitzero"`    // the authority of the call, with a port or without; default the address; such as "cart.example.com"
	TLS     bool   `json:"tls,omitzero"`     // over TLS; default false
	Certificate
}

// DNS is up when the answer to a query is as expected. It asks over UDP, and over TCP when that is
// cut short.
type DNS struct {
	Port   uint16 `json:"port,omitzero"`   // where it asks; default the member's, else 53; 1 to 65535
	Name   string `json:"name,omitzero"`   // the name that it asks for; required; a domain name such as "www.example.com"
	Type   string `json:"type,omitzero"`   // the type that it asks for; default "A"; such as "AAAA" or "SOA"
	RCode  string `json:"rcode,omitzero"`  // the response code that is expected; default "NOERROR"; such as "NXDOMAIN"
	Answer string `json:"answer,omitzero"` // RDATA of that type, as zone files have it, that a record of the answer must hold; default none: the response code is enough; such as "192.0.2.1"
}

// ICMP is up when an echo request is answered (RFC 792, RFC 4443 section 4).
type ICMP struct{}

// Exec is up when a command on the checker's own host exits with 0. The first line of what it
// writes is the reason.
type Exec struct {
	Command string   `json:"command,omitzero"` // a file in the directory that the checker's configuration names (checker.exec_dir); required; its name alone
	Args    []string `json:"args,omitzero"`    // its arguments, as they are: there is no shell; default none; at most 64
}

func (c *TCP) complete(field string) error {
	switch {
	case c.Send != "" && c.SendHex != "":
		return spec.Errorf(field+".send_hex", `not beside "send"`)
	case c.ExpectHex != "" && c.Expect+c.ExpectRegexp != "":
		return spec.Errorf(field+".expect_hex", `not beside "expect" or "expect_regexp"`)
	case c.ExpectRegexp != "" && c.Expect != "":
		return spec.Errorf(field+".expect_regexp", `not beside "expect"`)
	}
	for _, f := range []struct{ name, text string }{{"send", c.Send}, {"expect", c.Expect}} {
		if len(f.text) > maxValue {
			return spec.Errorf(field+"."+f.name, "%d bytes, expected at most %d", len(f.text), maxValue)
		}
	}
	for _, f := range []struct{ name, text string }{{"send_hex", c.SendHex}, {"expect_hex", c.ExpectHex}} {
		if b, err := ParseHex(f.text); err != nil || len(b) > maxValue || f.text != "" && len(b) == 0 {
			return spec.Errorf(field+"."+f.name, `%.100q is not hexadecimal such as "00 ff", of at most %d bytes`, f.text, maxValue)
		}
	}
	return checkRegexp(field+".expect_regexp", c.ExpectRegexp)
}

// ParseHex reads bytes in hexadecimal, with spaces or without.
func ParseHex(text string) ([]byte, error) {
	return hex.DecodeString(strings.ReplaceAll(text, " ", ""))
}

func (c *TLS) complete(field string) error { return c.Certificate.complete(field, "") }

func (c *GRPC) complete(field string) error {
	switch _, err := hostName(c.Host); {
	case c.Host != "" && err != nil:
		return spec.Errorf(field+".host", "%v", err)
	case len(c.Service) > maxValue:
		return spec.Errorf(field+".service", "%d bytes, expected at most %d", len(c.Service), maxValue)
	case c.TLS:
		return c.Certificate.complete(field, c.Host)
	}
	for _, f := range []struct {
		name string
		said bool
	}{{"sni", c.SNI != ""}, {"verify", c.Verify != nil}, {"warn_days", c.WarnDays != nil}} {
		if f.said {
			return spec.Errorf(field+"."+f.name, `expected "tls": true beside it`)
		}
	}
	return nil
}

func (c *DNS) complete(field string) error {
	if c.Type == "" {
		c.Type = "A"
	}
	if c.RCode == "" {
		c.RCode = "NOERROR"
	}
	if _, ok := dns.IsDomainName(c.Name); c.Name == "" || !ok {
		return spec.Errorf(field+".name", `%q is not a domain name such as "www.example.com"`, c.Name)
	}
	switch t, ok := dns.StringToType[c.Type]; {
	case !ok:
		return spec.Errorf(field+".type", `%q is not a type such as "A" or "SOA"`, c.Type)
	case t == dns.TypeNone || t == dns.TypeOPT || t == dns.TypeTSIG || t == dns.TypeTKEY || t == dns.TypeAXFR || t == dns.TypeIXFR:
		return spec.Errorf(field+".type", "%s cannot be asked for by a query of its own", c.Type)
	}
	if _, ok := dns.StringToRcode[c.RCode]; !ok {
		return spec.Errorf(field+".rcode", `%q is not a response code such as "NOERROR" or "NXDOMAIN"`, c.RCode)
	}
	if c.Answer != "" {
		if _, err := c.Record(); err != nil {
			return spec.Errorf(field+".answer", "%q is not RDATA of type %s", c.Answer, c.Type)
		}
	}
	return nil
}

// Record is the record that the answer must hold, nil for none.
func (c *DNS) Record() (dns.RR, error) {
	if c.Answer == "" {
		return nil, nil
	}
	if strings.ContainsAny(c.Answer, "\r\n") {
		return nil, fmt.Errorf("more than one line")
	}
	r, err := dns.NewRR(dns.Fqdn(c.Name) + " 0 IN " + c.Type + " " + c.Answer)
	if err == nil && r == nil {
		err = fmt.Errorf("no record")
	}
	return r, err
}

// commandForm is the name of a file, and neither that of its directory nor of the one above.
var commandForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}$`)

const maxArgs = 64

func (c *Exec) complete(field string) error {
	if !commandForm.MatchString(c.Command) {
		return spec.Errorf(field+".command", `%q is not the name of a file such as "check-db": expected letters, digits, and - _ . + after the first`, c.Command)
	}
	if len(c.Args) > maxArgs {
		return spec.Errorf(field+".args", "%d arguments, expected at most %d", len(c.Args), maxArgs)
	}
	for i, a := range c.Args {
		if len(a) > maxValue || strings.ContainsRune(a, 0) {
			return spec.Errorf(fmt.Sprintf("%s.args[%d]", field, i), "%.100q is not an argument of at most %d bytes, none of them 0", a, maxValue)
		}
	}
	return nil
}
