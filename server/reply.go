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

	in     message
	query  zones.Query
	answer zones.Answer
	blamed time.Time // when a panic was last logged
	names  []int     // where the encoded message holds the names of each hop; see zones.RRset
}

// newWorker makes a worker for messages over UDP, or else for those of streams.
func newWorker(view *atomic.Pointer[zones.Snapshot], self *identity, count *counters, stream bool) *worker {
	var seed [32]byte
	crypto.Read(seed[:])
	return &worker{
		view: view, self: self, random: rand.NewChaCha8(seed), count: count,
		in: message{stream: stream},
	}
}

// replyOrDrop is reply, but that a fault of ours costs the one message that meets it, not the server.
func (w *worker) replyOrDrop(log *slog.Logger, buf []byte, n int, client netip.Addr) (size int) {
	defer func() {
		if fault := recover(); fault != nil {
			w.tally.Panics++
			if time.Since(w.blamed) > time.Minute { // whoever has found such a message may send it again and again
				w.blamed = time.Now()
				log.Error("a query was dropped: please report this", "panic", fault,
					"name", w.query.Name.String(), "type", w.query.Type, "stack", string(debug.Stack()))
			}
			size = 0
		}
	}()
	return w.reply(buf, n, client)
}

// settle makes what was counted seen. It is called before replies leave.
func (w *worker) settle() { w.count.add(&w.tally) }

// response is what is to be said in reply to a message.
type response struct {
	result Result
	aa     bool
	sets   []zones.RRset
	err    *zones.ExtendedError // nil: none
}

// Extended errors beside those of zones.Resolve (RFC 8914 §4, RFC 9824 §3.5).
var (
	errNotReady     = &zones.ExtendedError{Code: dns.ExtendedErrorCodeNotReady, Text: "no configuration has been read yet"}
	errNotSupported = &zones.ExtendedError{Code: dns.ExtendedErrorCodeNotSupported}
	errInvalidType  = &zones.ExtendedError{Code: dns.ExtendedErrorCodeInvalidQueryType}
)

// reply answers the message in buf[:n] and writes the reply over it. It returns the size of the
// reply; 0 is silence. buf has room for maxUDP bytes, or maxTCP on a stream. It is the one way
// from message to reply on every transport; nothing on it locks, logs, formats or allocates.
func (w *worker) reply(buf []byte, n int, client netip.Addr) int {
	if n < headerSize || buf[2]&flagQR != 0 { // two servers answering each other's replies would never end
		w.tally.Dropped++
		return 0
	}
	var r response
	wellFormed := w.in.parse(buf[:n], &w.query)
	switch {
	case opcode(buf) != dns.OpcodeQuery:
		r.result = NotImp // RFC 1035 §4.1.1; NOTIFY and UPDATE have their place here
	case !wellFormed:
		r.result = FormErr
	case w.in.version != 0:
		r.result = BadVers // RFC 6891 §6.1.3
	case w.in.tsigSize > 0:
		r.result = NotAuth // RFC 8945 §5.2.1: no key is known yet
	case w.in.class == dns.ClassINET:
		r = w.ask(client)
	case w.in.class == dns.ClassCHAOS:
		r = w.self.answer(&w.query)
	default:
		r.result, r.err = NotServed, errNotSupported
	}
	return w.encode(buf, &r)
}

// ask answers the question.
func (w *worker) ask(client netip.Addr) response {
	switch w.query.Type {
	case dns.TypeAXFR, dns.TypeIXFR: // transfers have their place here
		return response{result: NotServed, err: errNotSupported}
	case dns.TypeMAILA, dns.TypeMAILB:
		return response{result: NotImp}
	case dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeNXNAME: // no name has these (RFC 6895 §3.1, RFC 9824 §3.5)
		return response{result: FormErr, err: errInvalidType}
	}
	snapshot := w.view.Load()
	if snapshot == nil {
		return response{result: NotReady, err: errNotReady}
	}
	w.query.Client.Addr = client
	w.query.Random = w.random.Uint64()
	zones.Resolve(snapshot, &w.query, &w.answer, nil)
	return response{Result(w.answer.Outcome), w.answer.AA, w.answer.Sets, w.answer.Error}
}
