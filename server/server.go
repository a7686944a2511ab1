// Package server answers DNS messages over UDP and TCP from the current snapshot.
package server

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"meridian/zones"
)

// Config of a Server.
type Config struct {
	// Listen holds host:port, for UDP and TCP alike. Without host it is every address of both
	// families; "0.0.0.0" and "[::]" are every address of their own family. Port 0 is a free one.
	Listen  []string
	Workers int // UDP sockets for each of Listen; default 1

	// TCP connections open at once, in all and of one client: an IPv4 address, or the IPv6 addresses
	// of one /64. Beyond either, the one whose last message is longest ago makes room. Default 1000
	// and 100. One that waits takes some 5 KB, one in the middle of a reply up to 80 KB more.
	TCPMax, TCPMaxPerClient int

	TCPIdle time.Duration // how long a TCP connection may take for its next message, or to take a reply; default 10s
	NSID    string        // who this is, to those who ask (RFC 5001, RFC 4892 id.server); "": not told; up to MaxIdentity bytes
	Version string        // what this is (RFC 4892 version.bind); as NSID
	Log     *slog.Logger  // default slog.Default()
}

// Server answers on all its sockets. Call Listen, then Serve or Close.
type Server struct {
	cfg  Config
	self *identity
	view *atomic.Pointer[zones.Snapshot]
	udp  []*udpSocket
	tcp  *streams
}

// New makes a Server that answers from whatever view holds. While that is nil, queries are REFUSED.
func New(cfg Config, view *atomic.Pointer[zones.Snapshot]) *Server {
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	if cfg.TCPMax == 0 {
		cfg.TCPMax = 1000
	}
	if cfg.TCPMaxPerClient == 0 {
		cfg.TCPMaxPerClient = 100
	}
	if cfg.TCPIdle == 0 {
		cfg.TCPIdle = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	self := newIdentity(cfg.NSID, cfg.Version)
	return &Server{cfg: cfg, self: self, view: view, tcp: newStreams(cfg, self, view)}
}

// Addrs returns the address that each of Config.Listen is bound to, on UDP and TCP alike.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, l := range s.tcp.listeners {
		addrs = append(addrs, addrPort(l.Addr()))
	}
	return addrs
}

// Serve answers until ctx is done; then TCP queries that have been read are still answered. It
// returns an error only where a socket fails for good.
//
// GOMAXPROCS should be more than there are UDP sockets: one that is busy keeps a processor of the
// scheduler to itself.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, u := range s.udp {
		group.Go(u.serve)
	}
	for _, l := range s.tcp.listeners {
		group.Go(func() error { return s.tcp.accept(l) })
	}
	group.Go(func() error {
		<-ctx.Done()
		for _, u := range s.udp {
			u.stop()
		}
		s.tcp.stop()
		return nil
	})
	return group.Wait()
}

// backoff paces the tries after errors that may come as fast as they are asked for, and says in
// the log when they begin and end.
type backoff struct {
	log   *slog.Logger
	what  string // "receive over UDP"
	delay time.Duration
}

func (b *backoff) failed(err error) {
	if b.delay == 0 {
		b.log.Warn("cannot "+b.what+", trying again and again", "error", err)
		b.delay = time.Millisecond
	}
	time.Sleep(b.delay)
	b.delay = min(2*b.delay, 100*time.Millisecond)
}

func (b *backoff) worked() {
	if b.delay != 0 {
		b.log.Info("can " + b.what + " again")
		b.delay = 0
	}
}
