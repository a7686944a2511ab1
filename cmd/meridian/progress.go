package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// progress draws how far a long run has come. Where out is no terminal it does nothing.
type progress struct {
	out   io.Writer // nil: nobody looks
	of    int
	what  string // that are counted
	began time.Time
	done  atomic.Int64
	over  chan struct{}
	ended chan struct{}
}

// newProgress draws ten times a second, until stopped.
func newProgress(out io.Writer, of int, what string) *progress {
	p := &progress{of: of, what: what, began: time.Now(), over: make(chan struct{}), ended: make(chan struct{})}
	if newView(out, os.Getenv).terminal {
		p.out = out
	}
	go p.run()
	return p
}

// add says that n more are done. Any goroutine may.
func (p *progress) add(n int) { p.done.Add(int64(n)) }

// stop takes the line away.
func (p *progress) stop() {
	close(p.over)
	<-p.ended
}

func (p *progress) run() {
	defer close(p.ended)
	if p.out == nil {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.over:
			io.WriteString(p.out, "\r\x1b[K")
			return
		case <-tick.C:
			io.WriteString(p.out, "\r"+p.text(time.Since(p.began))+"\x1b[K")
		}
	}
}

// text is such as "[######--------------]  30 %, 1,200,000 clients/s, 2s left".
func (p *progress) text(after time.Duration) string {
	const width = 20
	done := int(p.done.Load())
	share := float64(done) / float64(max(1, p.of))
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = '-'
		if float64(i) < share*width {
			bar[i] = '#'
		}
	}
	text := fmt.Sprintf("[%s] %3.0f %%", bar, 100*share)
	if done == 0 {
		return text
	}
	rate := float64(done) / after.Seconds()
	left := time.Duration(float64(p.of-done) / rate * float64(time.Second))
	return fmt.Sprintf("%s, %s %s/s, %v left", text, grouped(int(rate)), p.what, left.Round(time.Second))
}
