//go:build faults

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	streamsUDP = 4
	streamsTCP = 1
	perStream  = 80 // queries a second, at most

	// An answer is lost when it has not come after so long: long enough that two busy cores are no loss.
	lostAfter = 3 * time.Second
)

// stream asks a server the oracle's questions without end, over several sockets at once.
type stream struct {
	oracle    *oracle
	addr      string
	questions []string
	stop      func() // and wait
}

func startStream(o *oracle, addr string, seed uint64) *stream {
	o.mu.Lock()
	s := &stream{oracle: o, addr: addr}
	for q := range o.answers {
		s.questions = append(s.questions, q)
	}
	o.mu.Unlock()
	slices.Sort(s.questions)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range streamsUDP + streamsTCP {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		network := "udp"
		if i >= streamsUDP {
			network = "tcp"
		}
		running.Go(func() { s.run(ctx, network, random) })
	}
	s.stop = func() { cancel(); running.Wait() }
	return s
}

// run asks one question after the other over one socket.
func (s *stream) run(ctx context.Context, network string, random *rand.Rand) {
	tick := time.NewTicker(time.Second / perStream)
	defer tick.Stop()
	var c net.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		question := s.questions[random.IntN(len(s.questions))]
		floor := s.oracle.floor(question)
		used := c != nil
		sent := time.Now()
		answer, err := s.ask(&c, network, question, uint16(random.Uint32()), sent)
		if err != nil && network == "tcp" && used && !errors.Is(err, os.ErrDeadlineExceeded) {
			// A server may close a connection between two queries (RFC 7766, section 6.2.3).
			sent = time.Now()
			answer, err = s.ask(&c, network, question, uint16(random.Uint32()), sent)
		}
		if err != nil {
			s.oracle.unanswered(question, sent, time.Now(), fmt.Errorf("%s: %w", network, err))
			continue
		}
		s.oracle.answered(question, floor, sent, time.Now(), answer)
	}
}

// ask sends a question and waits for its answer. After an error the connection is nil.
func (s *stream) ask(c *net.Conn, network, question string, id uint16, sent time.Time) (answer string, err error) {
	defer func() {
		if err != nil && *c != nil {
			(*c).Close()
			*c = nil
		}
	}()
	if *c == nil {
		if *c, err = net.DialTimeout(network, s.addr, lostAfter); err != nil {
			return "", err
		}
	}
	(*c).SetDeadline(sent.Add(lostAfter))
	name, typ, _ := strings.Cut(question, " ")
	q := new(dns.Msg).SetQuestion(name, dns.StringToType[typ])
	q.Id = id
	wire, err := q.Pack()
	if err != nil {
		return "", err
	}
	if network == "tcp" {
		wire = append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
	}
	if _, err := (*c).Write(wire); err != nil {
		return "", err
	}
	for {
		r, err := receiveMessage(*c, network)
		if err != nil {
			return "", err
		}
		if r.Id == id { // another is of a question given up
			return answerText(r), nil
		}
	}
}

func receiveMessage(c net.Conn, network string) (*dns.Msg, error) {
	wire := make([]byte, 4096)
	if network == "tcp" {
		if _, err := io.ReadFull(c, wire[:2]); err != nil {
			return nil, err
		}
		wire = make([]byte, binary.BigEndian.Uint16(wire))
		if _, err := io.ReadFull(c, wire); err != nil {
			return nil, err
		}
	} else {
		n, err := c.Read(wire)
		if err != nil {
			return nil, err
		}
		wire = wire[:n]
	}
	r := new(dns.Msg)
	return r, r.Unpack(wire)
}

// answerText is a reply as the oracle knows it: its records without name and TTL, or else why there
// are none.
func answerText(r *dns.Msg) string {
	switch {
	case r.Truncated:
		return "truncated"
	case r.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[r.Rcode]
	case len(r.Answer) == 0:
		return "NODATA"
	}
	var list []string
	for _, rr := range r.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			list = append(list, "A "+rr.A.String())
		case *dns.TXT:
			list = append(list, "TXT "+strings.Join(rr.Txt, " "))
		default:
			list = append(list, rr.String())
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// askOnce asks one question apart from any stream. Without an answer it is "lost".
func askOnce(addr, question string, wait time.Duration) string {
	name, typ, _ := strings.Cut(question, " ")
	q := new(dns.Msg).SetQuestion(name, dns.StringToType[typ])
	r, _, err := (&dns.Client{Timeout: wait}).Exchange(q, addr)
	if err != nil {
		return string(lost)
	}
	return answerText(r)
}
