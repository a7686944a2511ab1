package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	"meridian/health"
)

// conversation says something to a target and looks at what comes.
type conversation struct {
	*vantage
	send   []byte
	expect []byte         // nil: nothing by text
	match  *regexp.Regexp // nil: nothing by pattern
	words  string         // what is expected
}

func (v *vantage) newTCP(spec *health.TCP) prober {
	c := &conversation{vantage: v, send: []byte(spec.Send), expect: []byte(spec.Expect)}
	if spec.SendHex != "" {
		c.send, _ = health.ParseHex(spec.SendHex) // parses: the check is completed
	}
	c.words = fmt.Sprintf("does not contain %q", spec.Expect)
	if spec.ExpectHex != "" {
		c.expect, _ = health.ParseHex(spec.ExpectHex)
		c.words = "does not contain " + spec.ExpectHex
	}
	if spec.ExpectRegexp != "" {
		c.match = regexp.MustCompile(spec.ExpectRegexp)
		c.words = fmt.Sprintf("does not match %q", spec.ExpectRegexp)
	}
	return c.probe
}

func (c *conversation) probe(ctx context.Context, t *target) error {
	conn, err := c.dial(ctx, t)
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // ends every read and write
	defer stop()
	if len(c.send) > 0 {
		if _, err := conn.Write(c.send); err != nil {
			return plain(err)
		}
	}
	if len(c.expect) == 0 && c.match == nil {
		return nil
	}
	return c.await(conn)
}

// await reads until what is expected is there, or can no longer come.
func (c *conversation) await(conn io.Reader) error {
	var came []byte
	for buf := make([]byte, 4096); len(came) < bodyLimit; {
		n, err := conn.Read(buf[:min(len(buf), bodyLimit-len(came))])
		came = append(came, buf[:n]...)
		switch {
		case n > 0 && c.suffices(came):
			return nil
		case errors.Is(err, io.EOF) && len(came) == 0:
			return errors.New("connection closed without an answer")
		case errors.Is(err, io.EOF):
			return fmt.Errorf("answer %s %s", quote(came), c.words)
		case err != nil && len(came) == 0:
			return plain(err)
		case err != nil:
			return waitedError{fmt.Sprintf("answer %s %s", quote(came), c.words)}
		}
	}
	return fmt.Errorf("the first 64 KiB of the answer %s %s", quote(came), c.words)
}

func (c *conversation) suffices(came []byte) bool {
	if c.match != nil {
		return c.match.Match(came)
	}
	return bytes.Contains(came, c.expect)
}
