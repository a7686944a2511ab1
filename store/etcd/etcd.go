// Package etcd brings the registry out of an etcd and writes to it. It knows keys and values as
// text and bytes alone: what they mean is package store's.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"

	"meridian/store/etcd/zaplog"
)

const (
	// opTimeout is how long one request may take: a page of a read, a transaction.
	opTimeout = 10 * time.Second

	// A connection that says nothing is asked by gRPC after ten seconds (its least) and given up
	// after five more.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 5 * time.Second

	// The client tries again by itself where etcd says that it has not done anything yet. A few
	// times, which takes it past an endpoint that is down to the next: Follow and Mirror have
	// their own patience, and a person at a command line none.
	retries = 5
)

// Registry is a connection to the etcd that holds the registry. It may be used by several
// goroutines.
type Registry struct {
	cfg  Config
	log  *slog.Logger
	dial clientv3.Config

	config, live string // prefixes of the keys, with the slash at the end: "/gslb/", "/gslb-live/"

	cancel context.CancelFunc

	mu sync.Mutex
	c  *clientv3.Client // nil until a user is logged in

	contact, liveContact contact
	reads                reads
	renewals             renewals
}

// Open makes a Registry. It does not wait for etcd: one that is away is an error of what is done
// with the Registry. Errors name the option at fault. With a user, it does log in, and refuses a
// wrong password; but where etcd is away that, too, is put off.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Registry, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &Registry{cfg: cfg, log: log, config: cfg.Prefix + "/", live: cfg.Prefix + "-live/",
		contact: contact{what: "registry"}, liveContact: contact{what: "live keys"},
		renewals: renewals{turn: make(chan struct{}, 1)}}
	tls, err := r.cfg.tls()
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.dial = clientv3.Config{
		Context:              life,
		Endpoints:            cfg.Endpoints,
		Username:             cfg.Username,
		Password:             cfg.Password,
		TLS:                  tls,
		DialTimeout:          5 * time.Second, // of the log-in
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		MaxUnaryRetries:      retries,
		Logger:               zaplog.New(log, zaplog.Quiet),
		DialOptions: []grpc.DialOption{
			// gRPC's own back-off goes up to two minutes.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: minDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: 3 * time.Second,
			}),
			grpc.WithChainUnaryInterceptor(failFast, r.cfg.spellOut, r.cfg.nameRefused),
		},
	}
	if cfg.connect != nil {
		r.dial.DialOptions = append(r.dial.DialOptions, grpc.WithContextDialer(cfg.connect))
	}
	stop := context.AfterFunc(ctx, cancel)
	_, err = r.client()
	switch {
	case !stop():
		r.Close()
		return nil, ctx.Err()
	case errors.Is(err, rpctypes.ErrAuthFailed):
		r.Close()
		return nil, fmt.Errorf("etcd.username: etcd does not take user %q with this password", cfg.Username)
	case err != nil && cfg.Username == "":
		r.Close()
		return nil, fmt.Errorf("etcd.endpoints: %w", err)
	}
	return r, nil
}

// failFast has a call fail with the reason why there is no connection, instead of waiting for one
// until its time is up.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

// spellOut has a call that fails because an etcd behind TLS was not greeted with it say so: it closes
// the connection, and gRPC tells no more than that.
func (c *Config) spellOut(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	s, _ := status.FromError(err)
	cause := greeting.FindStringSubmatch(s.Message())
	if cause == nil || strings.HasPrefix(c.Endpoints[0], "https://") || c.tlsFile() != "" {
		return err
	}
	var bare []string
	for _, e := range c.Endpoints {
		bare = append(bare, strings.TrimPrefix(e, "http://"))
	}
	return status.Errorf(s.Code(), "etcd at %s does not speak plain text: %s; if it speaks TLS, write https://%s",
		strings.Join(bare, " or "), cause[1], bare[0])
}

// greeting is how gRPC says that a server has not greeted it.
var greeting = regexp.MustCompile(`^connection error: desc = "(?:transport: )?error reading server preface: (?:read tcp \S+: (?:read: )?)?(.*)"$`)

// plain is an error in etcd's own words, or in those of the system where gRPC has wrapped them in its
// own: what a person is to read.
func plain(err error) error {
	err = rpctypes.Error(err)
	if s, ok := status.FromError(err); ok && err != nil {
		text := s.Message()
		if m := dialing.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("etcd at %s: %s", m[1], m[2])
		}
		return errors.New(text)
	}
	return err
}

// dialing is how gRPC says that it could not connect.
var dialing = regexp.MustCompile(`^connection error: desc = "transport: Error while dialing: dial tcp (\S+): (?:connect: )?(.*)"$`)

// client returns the client. A user has to be logged in to have one, which fails while etcd is away.
func (r *Registry) client() (*clientv3.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.c == nil {
		c, err := clientv3.New(r.dial)
		if err != nil {
			return nil, plain(err)
		}
		r.c = c
	}
	return r.c, nil
}

// Close ends the connections. Follow and the mirrors are to be ended first.
func (r *Registry) Close() error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.c == nil {
		return nil
	}
	if err := r.c.Close(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
