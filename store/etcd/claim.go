package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Claim is a live key that one process at a time has, such as "checker/fra1". It is created where it is not there,
// under a lease of its own, and goes with it.
type Claim struct {
	r   *Registry
	key string

	mu    sync.Mutex
	value string // that it is to have

	changed chan struct{} // of size one: value is another

	id      clientv3.LeaseID // 0: none
	renew   time.Time        // when it is to be renewed
	written string
}

// TakenError says that another process has a live key.
type TakenError struct {
	Key   string // below the live prefix
	Value string // that it gave it
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("live key %s is another process's: %s", e.Key, e.Value)
}

// lookAgain is how often a claim looks at the key of another.
const lookAgain = time.Second

// Claim takes a live key, and returns when it has it. While etcd is away it tries again and again, and says so
// once. A key that is there already is waited for as long as it may be of a process that has ended: one whose
// lease is renewed is a *TakenError.
func (r *Registry) Claim(ctx context.Context, key, value string) (*Claim, error) {
	c := &Claim{r: r, key: checkLive(key), value: value, changed: make(chan struct{}, 1)}
	if err := c.insist(ctx, c.take); err != nil {
		c.giveBack()
		return nil, err
	}
	r.log.Info("live key claimed", "key", key)
	return c, nil
}

// Set gives the key another value. It does not block; the last one given counts.
func (c *Claim) Set(value string) {
	c.mu.Lock()
	c.value = value
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *Claim) wanted() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

// Run keeps the key until ctx is done, then gives it back. Where its lease has ended, as after a pause of the
// process, it claims it again; that another has it by then is a *TakenError.
func (c *Claim) Run(ctx context.Context) error {
	defer c.giveBack()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(c.renew)):
		case <-c.changed:
		}
		switch err := c.insist(ctx, c.keep); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// insist does something until it succeeds, or the key is taken, or ctx is done.
func (c *Claim) insist(ctx context.Context, do func(context.Context) error) error {
	for failures := 1; ; failures++ {
		err := do(ctx)
		var taken *TakenError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && failures > 1:
			c.r.log.Info("live key is held again", "key", c.key)
			return nil
		case err == nil || errors.As(err, &taken):
			return err
		case failures == 1:
			c.r.log.Warn("live key cannot be held", "key", c.key, "reason", plain(err))
		}
		pause(ctx, failures)
	}
}

// keep renews the lease when it is time to, or takes the key again where there is none any more, and writes what it is
// to be.
func (c *Claim) keep(ctx context.Context) error {
	if c.id != 0 && time.Now().Before(c.renew) {
		return c.write(ctx)
	}
	if c.id != 0 {
		client, err := c.r.client()
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, c.timeout())
		defer cancel()
		began := time.Now()
		left, err := c.r.renew(limited, client, c.id)
		if err != nil {
			return err
		}
		if left > 0 {
			c.renew = began.Add(c.r.cfg.LeaseTTL / 3)
			return c.write(ctx)
		}
		c.r.log.Info("lease of live key is lost, claiming it again", "key", c.key)
		c.id = 0
	}
	return c.take(ctx)
}

// write gives the key its value, if that is another. A key that somebody has taken away is taken again.
func (c *Claim) write(ctx context.Context) error {
	value := c.wanted()
	if value == c.written {
		return nil
	}
	client, err := c.r.client()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	key := c.r.live + c.key
	done, err := client.Txn(limited).
		If(clientv3.Compare(clientv3.LeaseValue(key), "=", c.id)).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(c.id))).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		c.id = 0
		return err
	case err != nil:
		return err
	case done.Succeeded:
		c.written = value
		return nil
	}
	return c.take(ctx)
}

func (c *Claim) timeout() time.Duration { return min(opTimeout, c.r.cfg.LeaseTTL/3) }

// take creates the key, once no process that has ended holds it any more.
func (c *Claim) take(ctx context.Context) error {
	for {
		there, err := c.create(ctx)
		if err != nil || there == nil {
			return err
		}
		if err := c.outlast(ctx, there); err != nil {
			return err
		}
	}
}

// create makes the key if it is not there, and returns it if it is.
func (c *Claim) create(ctx context.Context) (there *mvccpb.KeyValue, err error) {
	client, err := c.r.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	if c.id == 0 {
		began := time.Now()
		granted, err := client.Grant(ctx, int64(c.r.cfg.LeaseTTL/time.Second))
		if err != nil {
			return nil, err
		}
		c.id, c.renew = granted.ID, began.Add(c.r.cfg.LeaseTTL/3)
	}
	key, value := c.r.live+c.key, c.wanted()
	done, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(c.id))).
		Else(clientv3.OpGet(key)).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		c.id = 0
	}
	if err != nil {
		return nil, err
	}
	if done.Succeeded {
		c.written = value
		return nil, nil
	}
	there = done.Responses[0].GetResponseRange().Kvs[0]
	if clientv3.LeaseID(there.Lease) == c.id { // written by a call whose answer was lost
		c.written = string(there.Value)
		return nil, nil
	}
	return there, nil
}

// outlast waits for the key of another to go with its lease. A lease that is renewed, or none, is of one that
// lives: a *TakenError.
func (c *Claim) outlast(ctx context.Context, there *mvccpb.KeyValue) error {
	taken := &TakenError{Key: c.key, Value: string(there.Value)}
	if there.Lease == 0 {
		return taken
	}
	c.giveBack() // the wait may be longer than its time
	c.r.log.Info("live key is there already, waiting for its lease to end", "key", c.key, "value", taken.Value)
	began, least := time.Now(), int64(-1)
	for {
		left, granted, err := c.left(ctx, there.Lease)
		switch {
		case err != nil:
			return err
		case left < 0: // it has ended; the key goes within half a second
			return wait(ctx, lookAgain/10)
		case least >= 0 && left > least, time.Since(began) > time.Duration(granted+1)*time.Second:
			return taken
		}
		least = left
		if err := wait(ctx, lookAgain); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// left is how many seconds a lease has to go, of how many; -1 where there is no such lease.
func (c *Claim) left(ctx context.Context, id int64) (left, granted int64, err error) {
	client, err := c.r.client()
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	ttl, err := client.TimeToLive(ctx, clientv3.LeaseID(id))
	if err != nil {
		return 0, 0, err
	}
	return ttl.TTL, ttl.GrantedTTL, nil
}

// giveBack ends the lease, and with it the key.
func (c *Claim) giveBack() {
	if c.id == 0 {
		return
	}
	id := c.id
	c.id = 0
	client, err := c.r.client()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeTimeout)
	defer cancel()
	if _, err := client.Revoke(ctx, id); err != nil {
		c.r.log.Warn("live key stays until its lease ends", "key", c.key, "ttl", c.r.cfg.LeaseTTL, "reason", plain(err))
	}
}
