package etcd

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Contact says whether the registry is followed.
type Contact struct {
	InReach bool
	Since   time.Time // when InReach became what it is; zero before Follow
	Last    time.Time // when etcd was last heard of; zero if it never was. While InReach at most some seconds ago
}

// Contact says how Follow stands with etcd.
func (r *Registry) Contact() Contact {
	r.contact.mu.Lock()
	defer r.contact.mu.Unlock()
	return r.contact.Contact
}

// LiveLapsed says whether live keys have been out of reach for longer than a lease: what is known of them is
// not true any more.
func (r *Registry) LiveLapsed() bool {
	r.liveContact.mu.Lock()
	defer r.liveContact.mu.Unlock()
	c := &r.liveContact.Contact
	return !c.InReach && !c.Last.IsZero() && time.Since(c.Last) > r.cfg.LeaseTTL
}

// contact keeps a Contact and logs when it changes.
type contact struct {
	what string // with which: "registry"

	mu sync.Mutex
	Contact
}

func (c *contact) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Last = time.Now()
}

func (c *contact) reached(log *slog.Logger, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case c.InReach:
	case c.Since.IsZero():
		log.Info(c.what+" found", "revision", revision)
	default:
		log.Info(c.what+" regained", "revision", revision, "after", now.Sub(c.Since).Round(time.Millisecond))
	}
	if !c.InReach {
		c.InReach, c.Since = true, now
	}
	c.Last = now
}

func (c *contact) lost(log *slog.Logger, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.InReach:
		log.Warn(c.what+" lost", "reason", plain(reason))
	case c.Since.IsZero():
		log.Warn(c.what+" not found", "reason", plain(reason))
	default:
		return
	}
	c.InReach, c.Since = false, time.Now()
}

const (
	minDelay = 50 * time.Millisecond
	maxDelay = 3 * time.Second
)

// delay is how long to wait after so many failures in a row, the first of which is 1: doubled each
// time, and shortened at random by up to half, so that those who lost etcd together do not come
// back together. Random is from 0 to 1.
func delay(failures int, random float64) time.Duration {
	d := maxDelay
	if n := failures - 1; n < 16 { // far beyond maxDelay, far below the range of a Duration
		d = min(d, minDelay<<n)
	}
	return d - time.Duration(random*float64(d)/2)
}

// pause waits after a failure, or until ctx is done.
func pause(ctx context.Context, failures int) {
	select {
	case <-time.After(delay(failures, rand.Float64())):
	case <-ctx.Done():
	}
}
