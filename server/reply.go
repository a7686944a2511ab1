package server

import (
	crypto "crypto/rand"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"meridian/zones"
)

// worker answers messages, one at a time. It belongs to one goroutine.
type worker struct {
	view   *atomic.Pointer[zones.Snapshot]
	self   *identity
	random *rand.ChaCha8
	count  *counters // what settle has moved there
	tally  Traffic   // since then
	idle   uint16    // how long the client may keep the connection idle, in units of 100 ms (RFC 7828 §3.1)

	in     *message // that is answered now
	own    message  // for reply: a stream has one at a time
	answer zones.Answer
	blamed time.Time   // when a panic was last logged
	names  [256]uint16 // by hop, where the encoded message holds its name; see zones.RRset. Any uint8 is in bounds
}

// newWorker makes a worker for messages over UDP, or else for those of streams.
func newWorker(view *atomic.Pointer[zones.Snapshot], self *identity, count *counters, stream bool) *worker {
	var seed [32]byte
	crypto.Read(seed[:])
	w := &worker{view: view, self: self, random: rand.NewChaCha8(seed), count: count, own: message{stream: stream}}
	w.in = &w.own
	w.names[0] = headerSize // the question's
	return w
}

// replyOrDrop is reply, but that a fault of ours is silence.
func (w *worker) replyOrDrop(log *slog.Logger, buf []byte, n int, client netip.Addr) (size int) {
	w.each(log, 1, func(int) { size = w.reply(buf, n, client) })
	return size
}

// each calls f with 0 to n−1. A fault of ours costs the one message that meets it, not the server.
func (w *worker) each(log *slog.Logger, n int, f func(i int)) {
	for i := 0; i < n; {
		i = w.from(log, i, n, f)
	}
}

// from is each from i on, until there is a fault. It returns where to go on.
func (w *worker) from(log *slog.Logger, i, n int, f func(i int)) (next int) {
	defer func() {
		if fault := recover(); fault != nil {
			w.blame(log, fault)
			next = i + 1
		}
	}()
	for ; i < n; i++ {
		f(i)
	}
	return n
}

// blame counts a fault, and logs it.
func (w *worker) blame(log *slog.Logger, fault any) {
	w.tally.Panics++
	if time.Since(w.blamed) > time.Minute { // whoever has found such a message may send it again and again
		w.blamed = time.Now()
		log.Error("a query was dropped: please report this", "panic", fault,
			"name", w.in.query.Name.String(), "type", w.in.query.Type, "stack", string(debug.Stack()))
	}
}

// settle makes what was counted seen. It is called before replies leave.
func (w *worker) settle() { w.count.add(&w.tally) }

// response is what is to be said in reply to a message.
type response struct {
	result Result
	aa     bool
	sets   []zones.RRset
	scope  uint8                // prefix length (RFC 7871 §7.2.1)
	err    *zones.ExtendedError // nil: none
}

// Extended errors beside those of zones.Resolve (RFC 8914 §4, RFC 9824 §3.5).
var (
	errNotReady     = &zones.ExtendedError{Code: dns.ExtendedErrorCodeNotReady, Text: "no configuration has been read yet"}
	errNotSupported = &zones.ExtendedError{Code: dns.ExtendedErrorCodeNotSupported}
	errInvalidType  = &zones.ExtendedError{Code: dns.ExtendedErrorCodeInvalidQueryType}
)

// reply answers the message in buf[:n] and writes the reply over it. It returns the size of the
// reply; 0 is silence. buf has room for maxUDP bytes, or maxTCP on a stream.
func (w *worker) reply(buf []byte, n int, client netip.Addr) int {
	w.own.read(buf[:n])
	return w.answerTo(&w.own, buf, client)
}

// answerTo is reply for a message that has been read into in. It is the one way from message to
// reply on every transport; nothing on it locks, logs, formats or allocates,
// explanations apart.
func (w *worker) answerTo(in *message, buf []byte, client netip.Addr) int {
	if in.form == noQuery {
		w.tally.Dropped++
		return 0
	}
	w.in = in
	var r response
	switch {
	case opcode(buf) != dns.OpcodeQuery:
		r.result = NotImp // RFC 1035 §4.1.1; NOTIFY and UPDATE have their place here
	case in.form == malformed:
		r.result = FormErr
	case in.version != 0:
		r.result = BadVers // RFC 6891 §6.1.3
	case in.tsigSize > 0:
		r.result = NotAuth // RFC 8945 §5.2.1: no key is known yet
	case in.class == dns.ClassINET:
		in.query.Client.Addr = client
		w.ask(&in.query, &r)
	case in.class == dns.ClassCHAOS:
		w.self.answer(&in.query, &r)
	default:
		r.result, r.err = NotServed, errNotSupported
	}
	return w.encode(buf, &r)
}

// ask answers the question.
func (w *worker) ask(q *zones.Query, r *response) {
	switch q.Type {
	case dns.TypeAXFR, dns.TypeIXFR: // transfers have their place here
		r.result, r.err = NotServed, errNotSupported
		return
	case dns.TypeMAILA, dns.TypeMAILB:
		r.result = NotImp
		return
	case dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeNXNAME: // no name has these (RFC 6895 §3.1, RFC 9824 §3.5)
		r.result, r.err = FormErr, errInvalidType
		return
	}
	snapshot := w.view.Load()
	if snapshot == nil {
		r.result, r.err = NotReady, errNotReady
		return
	}
	q.Random = w.random.Uint64()
	if q.Type == dns.TypeTXT && w.explain(snapshot, q, r) {
		return
	}
	a := &w.answer
	zones.Resolve(snapshot, q, a, nil)
	r.result, r.aa, r.sets, r.scope, r.err = Result(a.Outcome), a.AA, a.Sets, a.Scope, a.Error
}
