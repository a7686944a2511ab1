package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"meridian/zones"
)

// Parts of hand-made messages. What a client library would not send is what has to be tried.

const id = 0x1234

// header has flags and the counts of the four sections.
func header(flags uint16, qd, an, ns, ar int) []byte {
	b := make([]byte, headerSize)
	for i, v := range []uint16{id, flags, uint16(qd), uint16(an), uint16(ns), uint16(ar)} {
		binary.BigEndian.PutUint16(b[2*i:], v)
	}
	return b
}

// name in wire form; the labels are as they are written.
func name(s string) []byte {
	var b []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label != "" {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

func question(owner string, typ, class uint16) []byte { return questionOf(name(owner), typ, class) }

func questionOf(owner []byte, typ, class uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(slices.Clone(owner), typ), class)
}

// rr is a record; its class and TTL are what OPT makes something else of.
func rr(owner []byte, typ, class uint16, ttl uint32, rdata []byte) []byte {
	b := binary.BigEndian.AppendUint32(questionOf(owner, typ, class), ttl)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(rdata))), rdata...)
}

var root = []byte{0}

// opt is an OPT record of version 0.
func opt(size uint16, options ...[]byte) []byte {
	return rr(root, dns.TypeOPT, size, 0, bytes.Join(options, nil))
}

func optTTL(ttl uint32, content ...byte) []byte { return rr(root, dns.TypeOPT, 1232, ttl, content) }

func edns(code uint16, content ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(content))), content...)
}

// subnet is a client subnet option.
func subnet(family uint16, source, scope byte, addr ...byte) []byte {
	return edns(dns.EDNS0SUBNET, append([]byte{byte(family >> 8), byte(family), source, scope}, addr...)...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// plain asks for the addresses of a name; withOPT does with one more record.
func plain(owner string) []byte {
	return join(header(0, 1, 0, 0, 0), question(owner, dns.TypeA, dns.ClassINET))
}

func typed(owner string, typ uint16) []byte {
	return join(header(0, 1, 0, 0, 0), question(owner, typ, dns.ClassINET))
}

func withOPT(owner string, record []byte) []byte {
	return join(header(0, 1, 0, 0, 1), question(owner, dns.TypeA, dns.ClassINET), record)
}

// tsig is a TSIG record by a key of that name, at a time of 0x6b03a74b seconds.
func tsig(key string) []byte {
	rdata := join(name("hmac-sha256"), []byte{0, 0, 0x6b, 3, 0xa7, 0x4b, 1, 44, 0, 32}, make([]byte, 32), []byte{0x12, 0x34, 0, 0, 0, 0})
	return rr(name(key), dns.TypeTSIG, dns.ClassANY, 0, rdata)
}

var longName = strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 49) + ".example.com" // 255 bytes on the wire

// shape spells what a reply says: response code, flags but for QR, the counts of the sections,
// and what the OPT and TSIG records have.
func shape(reply []byte) string {
	if reply == nil {
		return "silence"
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		return fmt.Sprintf("%x does not unpack: %v", reply, err)
	}
	if m.Id != id || !m.Response {
		return fmt.Sprintf("id %x, response %v", m.Id, m.Response)
	}
	var b strings.Builder
	b.WriteString(rcodeText(m.Rcode))
	if m.Opcode != dns.OpcodeQuery {
		fmt.Fprintf(&b, " opcode=%d", m.Opcode)
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"},
		{m.Zero, "z"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	fmt.Fprintf(&b, " %d/%d/%d/%d", len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra))
	if o := m.IsEdns0(); o != nil {
		fmt.Fprintf(&b, " opt %d", o.UDPSize())
		if o.Version() != 0 {
			fmt.Fprintf(&b, " version=%d", o.Version())
		}
		if o.Do() {
			b.WriteString(" do")
		}
		if o.Z() != 0 {
			fmt.Fprintf(&b, " z=%x", o.Z())
		}
		for _, option := range o.Option {
			if e, ok := option.(*dns.EDNS0_EDE); ok {
				fmt.Fprintf(&b, " error %d %q", e.InfoCode, e.ExtraText)
			} else {
				fmt.Fprintf(&b, " %d=%s", option.Option(), option)
			}
		}
	}
	if t := m.IsTsig(); t != nil {
		fmt.Fprintf(&b, " tsig %s %s", t.Hdr.Name, dns.RcodeToString[int(t.Error)])
	}
	return b.String()
}

// rcodeText: 16 is BADVERS in a reply; in a TSIG record it would be BADSIG.
func rcodeText(rcode int) string {
	if rcode == dns.RcodeBadVers {
		return "BADVERS"
	}
	return dns.RcodeToString[rcode]
}

const optOut = " opt 1232"

var wireTests = []struct {
	name string
	rfc  string
	msg  []byte
	want string
}{
	// The header.
	{"found", "1035 §4.1.1", plain("www.example.com"), "NOERROR aa 1/2/0/0"},
	{"recursion desired", "1035 §4.1.1: RD is copied", join(header(0x0100, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa rd 1/2/0/0"},
	{"checking disabled", "4035 §3.1.6: CD is copied", join(header(0x0010, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa cd 1/2/0/0"},
	{"authentic data", "4035 §3.1.6: AD is clear", join(header(0x0020, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa 1/2/0/0"},
	{"reserved bit", "1035 §4.1.1: Z is zero", join(header(0x0040, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa 1/2/0/0"},
	{"truncation in a query", "1035 §4.1.1", join(header(0x0200, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa 1/2/0/0"},
	{"authoritative in a query", "1035 §4.1.1: AA is of responses", join(header(0x0400, 1, 0, 0, 0), question("example.org", 1, 1)), "REFUSED 1/0/0/0"},
	{"recursion available in a query", "1035 §4.1.1: RA is of responses", join(header(0x0080, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa 1/2/0/0"},
	{"response code in a query", "1035 §4.1.1: RCODE is of responses", join(header(0x000f, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOERROR aa 1/2/0/0"},
	{"a reply", "1035 §4.1.1", join(header(0x8000, 1, 0, 0, 0), question("www.example.com", 1, 1)), "silence"},
	{"11 bytes", "", plain("www.example.com")[:11], "silence"},
	{"nothing", "", nil, "silence"},

	// Opcodes.
	{"IQUERY", "3425 §3", join(header(1<<11, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOTIMP opcode=1 1/0/0/0"},
	{"STATUS", "1035 §4.1.1", join(header(2<<11, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOTIMP opcode=2 1/0/0/0"},
	{"opcode 3", "8906 §3.1.4", join(header(3<<11, 1, 0, 0, 0), question("www.example.com", 1, 1)), "NOTIMP opcode=3 1/0/0/0"},
	{"NOTIFY", "1996", join(header(4<<11|0x0400, 1, 0, 0, 0), question("example.com", 6, 1)), "NOTIMP opcode=4 1/0/0/0"},
	{"UPDATE", "2136", join(header(5<<11, 1, 0, 1, 0), question("example.com", 6, 1), rr(name("x.example.com"), 1, 1, 60, []byte{1, 2, 3, 4})), "NOTIMP opcode=5 1/0/0/0"},
	{"DSO", "8490", header(6<<11, 0, 0, 0, 0), "NOTIMP opcode=6 0/0/0/0"},
	{"opcode 15, header alone", "8906 §8.1.4", header(15<<11, 0, 0, 0, 0), "NOTIMP opcode=15 0/0/0/0"},
	{"opcode 15 with OPT", "6891 §6.1.1", join(header(15<<11, 1, 0, 0, 1), question("www.example.com", 1, 1), opt(1232)), "NOTIMP opcode=15 1/0/0/1" + optOut},

	// The question.
	{"no question", "9619", header(0, 0, 0, 0, 0), "FORMERR 0/0/0/0"},
	{"no question, with OPT", "6891 §6.1.1", join(header(0, 0, 0, 0, 1), opt(1232)), "FORMERR 0/0/0/1" + optOut},
	{"two questions", "9619", join(header(0, 2, 0, 0, 0), question("www.example.com", 1, 1), question("example.com", 1, 1)), "FORMERR 0/0/0/0"},
	{"two questions, one there", "9619", join(header(0, 2, 0, 0, 0), question("www.example.com", 1, 1)), "FORMERR 0/0/0/0"},
	{"pointer to itself", "1035 §4.1.4", join(header(0, 1, 0, 0, 0), questionOf([]byte{0xc0, 12}, 1, 1)), "FORMERR 0/0/0/0"},
	{"pointer forward", "1035 §4.1.4", join(header(0, 1, 0, 0, 0), questionOf([]byte{0xc0, 0xff}, 1, 1)), "FORMERR 0/0/0/0"},
	{"pointer after a label", "1035 §4.1.4", join(header(0, 1, 0, 0, 0), questionOf([]byte{3, 'w', 'w', 'w', 0xc0, 12}, 1, 1)), "FORMERR 0/0/0/0"},
	{"label type 01", "6891 §5", join(header(0, 1, 0, 0, 0), questionOf(join([]byte{0x40}, make([]byte, 64), root), 1, 1)), "FORMERR 0/0/0/0"},
	{"label type 10", "1035 §4.1.4", join(header(0, 1, 0, 0, 0), questionOf([]byte{0x80, 1, 0}, 1, 1)), "FORMERR 0/0/0/0"},
	{"name of 257 bytes", "1035 §2.3.4", plain(strings.Repeat(strings.Repeat("a", 63)+".", 4)), "FORMERR 0/0/0/0"},
	{"name of 256 bytes", "1035 §2.3.4", plain(strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 50) + ".example.com"), "FORMERR 0/0/0/0"},
	{"name of 255 bytes", "1035 §2.3.4", plain(longName), "NXDOMAIN aa 1/0/1/0"},
	{"name cut short", "1035 §4.1.2", plain("www.example.com")[:20], "FORMERR 0/0/0/0"},
	{"class cut short", "1035 §4.1.2", plain("www.example.com")[:32], "FORMERR 0/0/0/0"},
	{"header alone", "1035 §4.1.2", header(0, 1, 0, 0, 0), "FORMERR 0/0/0/0"},
	{"trailing bytes", "1035 §4.1", join(plain("www.example.com"), []byte{0xff, 0xff}), "FORMERR 1/0/0/0"},
	{"an answer in a query", "1035 §4.1", join(header(0, 1, 1, 0, 0), question("www.example.com", 1, 1), rr(name("x"), 1, 1, 0, []byte{1, 2, 3, 4})), "FORMERR 1/0/0/0"},
	{"authority in a query", "1035 §4.1", join(header(0, 1, 0, 1, 0), question("www.example.com", 1, 1), rr(name("x"), 1, 1, 0, []byte{1, 2, 3, 4})), "FORMERR 1/0/0/0"},
	{"count without record", "1035 §4.1", join(header(0, 1, 0, 0, 1), question("www.example.com", 1, 1)), "FORMERR 1/0/0/0"},
	{"record cut short", "1035 §4.1.3", withOPT("www.example.com", opt(1232)[:8]), "FORMERR 1/0/0/0"},
	{"record with a name cut short", "1035 §4.1.3", withOPT("www.example.com", []byte{3, 'w'}), "FORMERR 1/0/0/0"},
	{"record with a pointer cut short", "1035 §4.1.4", withOPT("www.example.com", []byte{0xc0}), "FORMERR 1/0/0/0"},
	{"record with a label type 10", "1035 §4.1.4", withOPT("www.example.com", rr([]byte{0x80, 0}, 1, 1, 0, nil)), "FORMERR 1/0/0/0"},
	{"record with a label type 01, else good", "6891 §5", withOPT("www.example.com", rr(join([]byte{0x40}, make([]byte, 0x40), root), 1, 1, 0, []byte{1, 2, 3, 4})), "FORMERR 1/0/0/0"},
	{"record with a label type 10, else good", "1035 §4.1.4", withOPT("www.example.com", rr(join([]byte{0x80}, make([]byte, 0x80), root), 1, 1, 0, []byte{1, 2, 3, 4})), "FORMERR 1/0/0/0"},
	{"record with a label of 63 bytes", "1035 §2.3.4", withOPT("www.example.com", rr(join([]byte{0x3f}, make([]byte, 0x3f), root), 1, 1, 0, []byte{1, 2, 3, 4})), "NOERROR aa 1/2/0/0"},
	{"a record of no concern", "1035 §4.1", withOPT("www.example.com", rr([]byte{0xc0, 12}, 1, 1, 0, []byte{1, 2, 3, 4})), "NOERROR aa 1/2/0/0"},

	// Types and classes.
	{"OPT asked for", "6895 §3.1", typed("example.com", dns.TypeOPT), "FORMERR 1/0/0/0"},
	{"TSIG asked for", "6895 §3.1", typed("example.com", dns.TypeTSIG), "FORMERR 1/0/0/0"},
	{"TKEY asked for", "6895 §3.1", typed("example.com", dns.TypeTKEY), "FORMERR 1/0/0/0"},
	{"NXNAME asked for", "9824 §3.5", join(header(0, 1, 0, 0, 1), question("example.com", 128, 1), opt(1232)), "FORMERR 1/0/0/1" + optOut + " error 30 \"\""},
	{"MAILA", "1035 §3.2.3", typed("example.com", dns.TypeMAILA), "NOTIMP 1/0/0/0"},
	{"MAILB", "1035 §3.2.3", typed("example.com", dns.TypeMAILB), "NOTIMP 1/0/0/0"},
	{"AXFR", "5936 §4.2", typed("example.com", dns.TypeAXFR), "REFUSED 1/0/0/0"},
	{"IXFR", "1995 §3", join(header(0, 1, 0, 1, 0), question("example.com", dns.TypeIXFR, 1), rr([]byte{0xc0, 12}, 6, 1, 0, join(root, root, make([]byte, 20)))), "REFUSED 1/0/0/0"},
	{"CHAOS, the server's name", "4892 §3", join(header(0, 1, 0, 0, 0), question("iD.SErver", 16, 3)), "NOERROR aa 1/1/0/0"},
	{"CHAOS, another name", "4892 §3", join(header(0, 1, 0, 0, 1), question("authors.bind", 16, 3), opt(512)), "REFUSED 1/0/0/1" + optOut + " error 21 \"\""},
	{"CHAOS, a name below", "4892 §3", join(header(0, 1, 0, 0, 0), question("x.id.server", 16, 3)), "REFUSED 1/0/0/0"},
	{"CHAOS, another type", "4892 §3", join(header(0, 1, 0, 0, 0), question("id.server", 1, 3)), "REFUSED 1/0/0/0"},
	{"CHAOS, ANY", "4892 §3", join(header(0, 1, 0, 0, 0), question("id.server", 255, 3)), "REFUSED 1/0/0/0"},
	{"a name of CHAOS in class IN", "4892 §3", typed("id.server", 16), "REFUSED 1/0/0/0"},
	{"class ANY", "1035 §3.2.5", join(header(0, 1, 0, 0, 0), question("www.example.com", 1, 255)), "REFUSED 1/0/0/0"},
	{"class NONE, with OPT", "8914 §4.22", join(header(0, 1, 0, 0, 1), question("www.example.com", 1, 254), opt(512)), "REFUSED 1/0/0/1" + optOut + " error 21 \"\""},
	{"type 0", "6895 §3.1", typed("www.example.com", 0), "NOERROR aa 1/0/1/0"},
	{"a type nobody knows", "3597", typed("t666.example.com", 666), "NOERROR aa 1/1/0/0"},
	{"ANY", "8482 §4.2", typed("example.com", dns.TypeANY), "NOERROR aa 1/1/0/0"},

	// EDNS.
	{"OPT", "6891 §6.1.1", withOPT("www.example.com", opt(4096)), "NOERROR aa 1/2/0/1" + optOut},
	{"DO", "3225 §3", withOPT("www.example.com", optTTL(0x8000)), "NOERROR aa 1/2/0/1" + optOut + " do"},
	{"unknown flags", "6891 §6.1.4", withOPT("www.example.com", optTTL(0x40ff)), "NOERROR aa 1/2/0/1" + optOut},
	{"unknown option", "6891 §6.1.2", withOPT("www.example.com", opt(1232, edns(100, 1, 2), edns(20), edns(65001))), "NOERROR aa 1/2/0/1" + optOut},
	{"a hundred unknown options", "8906 §8.2.2", withOPT("www.example.com", opt(1232, bytes.Repeat(edns(65001), 100))), "NOERROR aa 1/2/0/1" + optOut},
	{"NSID", "5001 §2.2", withOPT("www.example.com", opt(1232, edns(3))), "NOERROR aa 1/2/0/1" + optOut + " 3=66726131"},
	{"NSID with content", "5001 §2.2: is ignored", withOPT("www.example.com", opt(1232, edns(3, 1, 2))), "NOERROR aa 1/2/0/1" + optOut + " 3=66726131"},
	{"NSID twice", "5001 §2.2", withOPT("www.example.com", opt(1232, edns(3), edns(3))), "NOERROR aa 1/2/0/1" + optOut + " 3=66726131"},
	{"NSID, not our zone", "5001 §2.2", withOPT("example.org", opt(1232, edns(3))), "REFUSED 1/0/0/1" + optOut + " 3=66726131 error 20 \"\""},
	{"NSID with version 1", "6891 §6.1.3", withOPT("www.example.com", optTTL(0x10000, edns(3)...)), "BADVERS 1/0/0/1" + optOut},
	{"EXPIRE", "7314", withOPT("www.example.com", opt(1232, edns(9))), "NOERROR aa 1/2/0/1" + optOut},
	{"cookie, not given yet", "6891 §6.1.2", withOPT("www.example.com", opt(1232, edns(10, 1, 2, 3, 4, 5, 6, 7, 8))), "NOERROR aa 1/2/0/1" + optOut},
	{"padding, not given yet", "6891 §6.1.2", withOPT("www.example.com", opt(1232, edns(12, 0, 0))), "NOERROR aa 1/2/0/1" + optOut},
	{"version 1", "6891 §6.1.3", withOPT("www.example.com", optTTL(0x10000)), "BADVERS 1/0/0/1" + optOut},
	{"version 100, DO", "6891 §6.1.3", withOPT("www.example.com", optTTL(0x648000)), "BADVERS 1/0/0/1" + optOut + " do"},
	{"version 1, options of another form", "6891 §6.1.3", withOPT("www.example.com", optTTL(0x10000, 0xff)), "BADVERS 1/0/0/1" + optOut},
	{"extended response code in a query", "6891 §6.1.3", withOPT("www.example.com", optTTL(0xff000000)), "NOERROR aa 1/2/0/1" + optOut},
	{"two OPT", "6891 §6.1.1", join(header(0, 1, 0, 0, 2), question("www.example.com", 1, 1), opt(1232), opt(1232)), "FORMERR 1/0/0/1" + optOut},
	{"OPT not of the root", "6891 §6.1.2", withOPT("www.example.com", rr(name("x.y"), dns.TypeOPT, 1232, 0, nil)), "FORMERR 1/0/0/0"},
	{"OPT as an answer", "6891 §6.1.1", join(header(0, 1, 1, 0, 0), question("www.example.com", 1, 1), opt(1232)), "FORMERR 1/0/0/0"},
	{"option beyond its record", "6891 §6.1.2", withOPT("www.example.com", optTTL(0, 0, 3, 0, 200, 'a')), "FORMERR 1/0/0/1" + optOut},
	{"option without length", "6891 §6.1.2", withOPT("www.example.com", optTTL(0, 0, 3, 0)), "FORMERR 1/0/0/1" + optOut},
	{"OPT beyond the message", "6891 §6.1.2", withOPT("www.example.com", opt(1232, edns(3, 1, 2))[:14]), "FORMERR 1/0/0/0"},
	{"keepalive over UDP", "7828 §3.3.1", withOPT("www.example.com", opt(1232, edns(11))), "NOERROR aa 1/2/0/1" + optOut},
	{"keepalive with a time over UDP", "7828 §3.3.1", withOPT("www.example.com", opt(1232, edns(11, 0, 100))), "NOERROR aa 1/2/0/1" + optOut},
	{"extended error", "8914", withOPT("example.org", opt(1232)), "REFUSED 1/0/0/1" + optOut + " error 20 \"\""},
	{"signed", "8945 §5.2.1", withOPT("www.example.com", tsig("key.")), "NOTAUTH 1/0/0/1 tsig key. BADKEY"},
	{"signed, with OPT", "8945 §5.2.1", join(header(0, 1, 0, 0, 2), question("www.example.com", 1, 1), opt(1232), tsig("key.")), "NOTAUTH 1/0/0/2" + optOut + " tsig key. BADKEY"},
	{"signed, with a subnet", "8945 §5.2.1", join(header(0, 1, 0, 0, 2), question("www.example.com", 1, 1), opt(1232, subnet(1, 24, 0, 10, 2, 3)), tsig("key.")), "NOTAUTH 1/0/0/2" + optOut + " 8=10.2.3.0/24/0 tsig key. BADKEY"},
	{"signed, and of version 1", "6891 §6.1.3", join(header(0, 1, 0, 0, 2), question("www.example.com", 1, 1), optTTL(0x10000), tsig("key.")), "BADVERS 1/0/0/1" + optOut},
	{"signed, no room for the error", "8945 §5.2.1", withOPT(longName, tsig(longName)), "NOTAUTH 1/0/0/0"},
	{"signature not at the end", "8945 §5.2", join(header(0, 1, 0, 0, 2), question("www.example.com", 1, 1), tsig("key."), opt(1232)), "FORMERR 1/0/0/0"},
	{"signed twice", "8945 §5.2", join(header(0, 1, 0, 0, 2), question("www.example.com", 1, 1), tsig("key."), tsig("key.")), "FORMERR 1/0/0/0"},

	// Client subnet.
	{"subnet IPv4", "7871 §7.2.1", withOPT("www.example.com", opt(1232, subnet(1, 24, 0, 10, 2, 3))), "NOERROR aa 1/2/0/1" + optOut + " 8=10.2.3.0/24/0"},
	{"subnet IPv6", "7871 §7.2.1", withOPT("www.example.com", opt(1232, subnet(2, 56, 0, 0x2a, 0, 0x14, 0x50, 0, 0, 1))), "NOERROR aa 1/2/0/1" + optOut + " 8=[2a00:1450:0:100::]/56/0"},
	{"subnet of 20 bits", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 20, 0, 10, 2, 0x30))), "NOERROR aa 1/2/0/1" + optOut + " 8=10.2.48.0/20/0"},
	{"subnet of one address", "7871 §6", withOPT("www.example.com", opt(1232, subnet(2, 128, 0, make([]byte, 16)...))), "NOERROR aa 1/2/0/1" + optOut + " 8=[::]/128/0"},
	{"subnet /0", "7871 §7.1.2", withOPT("www.example.com", opt(1232, subnet(1, 0, 0))), "NOERROR aa 1/2/0/1" + optOut + " 8=0.0.0.0/0/0"},
	{"subnet, not our zone", "7871 §7.2.1", withOPT("example.org", opt(1232, subnet(1, 8, 0, 10))), "REFUSED 1/0/0/1" + optOut + " 8=10.0.0.0/8/0 error 20 \"\""},
	{"subnet /33", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 33, 0, 1, 2, 3, 4, 0))), "FORMERR 1/0/0/1" + optOut},
	{"subnet /129", "7871 §6", withOPT("www.example.com", opt(1232, subnet(2, 129, 0, make([]byte, 17)...))), "FORMERR 1/0/0/1" + optOut},
	{"subnet with a scope", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 24, 24, 1, 2, 3))), "FORMERR 1/0/0/1" + optOut},
	{"subnet too long", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 24, 0, 1, 2, 3, 4))), "FORMERR 1/0/0/1" + optOut},
	{"subnet too short", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 24, 0, 1, 2))), "FORMERR 1/0/0/1" + optOut},
	{"subnet with bits beyond its length", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 20, 0, 1, 2, 0x31))), "FORMERR 1/0/0/1" + optOut},
	{"subnet of family 9", "7871 §7.2.1", withOPT("www.example.com", opt(1232, subnet(9, 8, 0, 1))), "FORMERR 1/0/0/1" + optOut},
	{"subnet of family 0 and no address", "7871 §7.1.2", withOPT("www.example.com", opt(1232, subnet(0, 0, 0))), "NOERROR aa 1/2/0/1" + optOut + " 8=0.0.0.0/0/0"},
	{"subnet of family 0 and an address", "7871 §7.2.1", withOPT("www.example.com", opt(1232, subnet(0, 8, 0, 10))), "FORMERR 1/0/0/1" + optOut},
	{"subnet of 3 bytes", "7871 §6", withOPT("www.example.com", opt(1232, edns(8, 0, 1, 24))), "FORMERR 1/0/0/1" + optOut},
	{"two subnets", "7871 §6", withOPT("www.example.com", opt(1232, subnet(1, 8, 0, 1), subnet(1, 8, 0, 2))), "FORMERR 1/0/0/1 opt 1232 8=1.0.0.0/8/0"},

	// Sizes.
	{"512 without EDNS", "1035 §4.2.1", plain("mid.example.com"), "NOERROR aa tc 1/0/0/0"},
	{"an offer of 0 is 512", "6891 §6.2.3", withOPT("mid.example.com", opt(0)), "NOERROR aa tc 1/0/0/1" + optOut},
	{"an offer of 1000", "6891 §6.2.3", withOPT("mid.example.com", opt(1000)), "NOERROR aa 1/40/0/1" + optOut},
	{"an offer of 65535 is 1232", "9715 §3.1", withOPT("big.example.com", opt(65535)), "NOERROR aa tc 1/0/0/1" + optOut},

	// What Resolve gives, steered names included; the oracle has the rest.
	{"steered by a subnet", "7871 §7.2.1", withOPT("geo.example.com", opt(1232, subnet(1, 24, 0, 198, 51, 100))), "NOERROR aa 1/1/0/1" + optOut + " 8=198.51.100.0/24/24"},
	{"steered by a longer subnet", "7871 §7.2.1", withOPT("geo.example.com", opt(1232, subnet(1, 32, 0, 198, 51, 101, 7))), "NOERROR aa 1/1/0/1" + optOut + " 8=198.51.101.7/32/24"},
	{"steered by a subnet of IPv6", "7871 §7.2.1", withOPT("geo.example.com", opt(1232, subnet(2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0xa, 1))), "NOERROR aa 1/1/0/1" + optOut + " 8=[2001:db8:a:100::]/56/48"},
	{"steered, by a subnet that nobody serves", "7871 §7.2.1", withOPT("geo.example.com", opt(1232, subnet(1, 24, 0, 203, 0, 112))), "NOERROR aa 1/1/0/1" + optOut + " 8=203.0.112.0/24/5"},
	{"steered, no subnet looked at", "7871 §7.1.2", withOPT("noecs.example.com", opt(1232, subnet(1, 24, 0, 198, 51, 100))), "NOERROR aa 1/1/0/1" + optOut + " 8=198.51.100.0/24/0"},
	{"SRV of members", "2782", join(header(0, 1, 0, 0, 0), question("_srv._tcp.example.com", dns.TypeSRV, 1)), "NOERROR aa 1/1/0/2"},
	{"HTTPS with hints", "9460 §7.3", join(header(0, 1, 0, 0, 0), question("bound.example.com", dns.TypeHTTPS, 1)), "NOERROR aa 1/1/0/0"},
	{"a name chosen", "1034 §3.6.2", join(header(0, 1, 0, 0, 0), question("cdn.example.com", dns.TypeMX, 1)), "NOERROR aa 1/1/1/0"},
	{"a member's name", "", join(header(0, 1, 0, 0, 0), question("m1.svc.example.com", dns.TypeAAAA, 1)), "NOERROR aa 1/1/0/0"},
	{"above a member's name", "8020", join(header(0, 1, 0, 0, 0), question("svc.example.com", dns.TypeAAAA, 1)), "NOERROR aa 1/0/1/0"},
	{"steered, by no subnet", "7871 §7.1.2", withOPT("geo.example.com", opt(1232, subnet(1, 0, 0))), "NOERROR aa 1/1/0/1" + optOut + " 8=0.0.0.0/0/0"},
	{"not there, whatever the subnet", "7871 §7.4", join(header(0, 1, 0, 0, 1), question("geo.example.com", dns.TypeAAAA, 1), opt(1232, subnet(1, 24, 0, 198, 51, 100))), "NOERROR aa 1/0/1/1" + optOut + " 8=198.51.100.0/24/0"},
	{"steered", "", withOPT("pool.example.com", opt(1232, subnet(1, 24, 0, 10, 2, 3))), "NOERROR aa 1/1/0/1" + optOut + " 8=10.2.3.0/24/0"},
	{"steered, no such address", "2308 §2.2", typed("pool.example.com", dns.TypeAAAA), "NOERROR aa 1/0/1/0"},
	{"CNAME to a steered name", "1034 §4.3.2", plain("cnpool.example.com"), "NOERROR aa 1/2/0/0"},
	{"fail open", "8914", withOPT("failopen.example.com", opt(1232)), "NOERROR aa 1/1/0/1" + optOut + " error 0 \"no member of the pool is up: all are given\""},
	{"nobody", "2308 §2.2", withOPT("nobody.example.com", opt(1232)), "NOERROR aa 1/0/1/1" + optOut + " error 0 \"no member of the pool is up\""},
	{"steered to SERVFAIL", "8914", withOPT("servfail.example.com", opt(1232)), "SERVFAIL 1/0/0/1" + optOut + " error 0 \"no member of the pool is up\""},
	{"referral", "1034 §4.2.1", plain("x.sub.example.com"), "NOERROR 1/0/2/2"},
}

func TestWire(t *testing.T) {
	w := testWorker(false)
	for _, test := range wireTests {
		t.Run(test.name, func(t *testing.T) {
			if got := shape(ask(w, test.msg)); got != test.want {
				t.Errorf("\nreply %s\nwant  %s (RFC %s)", got, test.want, test.rfc)
			}
		})
	}
}

// TestQuestionComesBack: with the case the client chose (RFC 4343 §4.1), which the owners of the
// answer share by pointing to it.
func TestQuestionComesBack(t *testing.T) {
	query := plain("wWw.eXAMPLE.cOm")
	reply := ask(testWorker(false), query)
	if !bytes.Equal(reply[headerSize:len(query)], query[headerSize:]) {
		t.Errorf("question %x, came back as %x", query[headerSize:], reply[headerSize:len(query)])
	}
	want := []byte{0xc0, headerSize, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1}
	if got := reply[len(query) : len(query)+len(want)]; !bytes.Equal(got, want) {
		t.Errorf("first record %x, want %x", got, want)
	}
}

func TestNotReady(t *testing.T) {
	w := newWorker(new(atomic.Pointer[zones.Snapshot]), testSelf, new(counters), false)
	want := "REFUSED 1/0/0/1 opt 1232 error 14 \"no configuration has been read yet\""
	if got := shape(ask(w, withOPT("www.example.com", opt(1232)))); got != want {
		t.Errorf("reply %s, want %s", got, want)
	}
	if got, want := shape(ask(w, plain("www.example.com"))), "REFUSED 1/0/0/0"; got != want {
		t.Errorf("reply %s, want %s", got, want)
	}
}

// TestSteeredAnswer: each draw is fresh, and gives members that are up.
func TestSteeredAnswer(t *testing.T) {
	w := testWorker(false)
	given := map[string]int{}
	for range 400 {
		m := new(dns.Msg)
		if err := m.Unpack(ask(w, plain("pool.example.com"))); err != nil {
			t.Fatal(err)
		}
		given[m.Answer[0].String()]++
	}
	one, two := given["pool.example.com.\t30\tIN\tA\t192.0.2.101"], given["pool.example.com.\t30\tIN\tA\t192.0.2.102"]
	if one+two != 400 || one < 50 || two < 200 { // weights 1 and 3: 100 and 300 expected, with a deviation of 9
		t.Errorf("given: %v", given)
	}
}

// TestClient: the address reaches the policy.
func TestClient(t *testing.T) {
	w := testWorker(false)
	ask(w, plain("pool.example.com"))
	if want := netip.MustParseAddr("203.0.113.9"); w.in.query.Client.Addr != want {
		t.Errorf("client %v, want %v", w.in.query.Client.Addr, want)
	}
}

// TestSubnetSteers: the client subnet reaches the policy, and without one the address of who asks.
func TestSubnetSteers(t *testing.T) {
	w := testWorker(false)
	for _, test := range []struct {
		client string
		msg    []byte
		want   string
	}{
		{"203.0.113.9", withOPT("geo.example.com", opt(1232, subnet(1, 24, 0, 198, 51, 100))), "192.0.2.101"},
		{"198.51.100.1", withOPT("geo.example.com", opt(1232, subnet(1, 24, 0, 198, 51, 101))), "192.0.2.103"},
		{"198.51.100.1", withOPT("geo.example.com", opt(1232, subnet(2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0xa, 1))), "192.0.2.102"},
		{"198.51.100.1", withOPT("geo.example.com", opt(1232, subnet(1, 0, 0))), "192.0.2.101"},
		{"198.51.101.1", withOPT("geo.example.com", opt(1232)), "192.0.2.103"},
		{"2001:db8:a::1", plain("geo.example.com"), "192.0.2.102"},
		{"198.51.101.1", withOPT("noecs.example.com", opt(1232, subnet(1, 24, 0, 198, 51, 100))), "192.0.2.103"},
	} {
		buf := make([]byte, maxUDP)
		n := w.reply(buf, copy(buf, test.msg), netip.MustParseAddr(test.client))
		var m dns.Msg
		if err := m.Unpack(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != test.want {
			t.Errorf("from %s: %v, want %s", test.client, m.Answer, test.want)
		}
	}
}

// TestStatsOfReplies: every reply is counted once, by its result.
func TestStatsOfReplies(t *testing.T) {
	w := testWorker(false)
	want := map[string]uint64{}
	for _, test := range wireTests {
		ask(w, test.msg)
		want[strings.Fields(test.want)[0]]++
	}
	w.settle()
	var got Traffic
	w.count.addTo(&got)
	sums := map[string]uint64{"silence": got.Dropped}
	for r, n := range got.Results {
		if n > 0 {
			sums[rcodeText(int(Result(r).Rcode()))] += n
		}
	}
	if fmt.Sprint(sums) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", sums, want)
	}
	if got.Truncated != 3 {
		t.Errorf("%d truncated, want 3", got.Truncated)
	}
	if got.Subnet != 17 || got.EDNS <= got.Subnet {
		t.Errorf("%d with a subnet, %d with EDNS", got.Subnet, got.EDNS)
	}
}

// TestResult: zones.Outcome and Result share their first numbers.
func TestResult(t *testing.T) {
	for r := Result(0); r < numResults; r++ {
		if r.String() == "" || rcodeText(int(r.Rcode())) == "" {
			t.Errorf("result %d: %q, rcode %d", r, r, r.Rcode())
		}
	}
	if got := Result(zones.NXDomain).String(); got != "nxdomain" {
		t.Errorf("Result(zones.NXDomain) is %q", got)
	}
}
