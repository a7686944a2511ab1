package server

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"meridian/zones"
)

// TestPanic: a fault of ours costs one message, is counted, and is logged once.
func TestPanic(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	w := newWorker(new(atomic.Pointer[zones.Snapshot]), testSelf, new(counters), false)
	w.random = nil // the fault: to draw a number panics
	w.view.Store(zones.New())
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01")
	for range 3 {
		buf := make([]byte, 1232)
		if size := w.replyOrDrop(logger, buf, copy(buf, query), netip.MustParseAddr("192.0.2.1")); size != 0 {
			t.Errorf("a reply of %d bytes", size)
		}
	}
	w.settle()
	if n := w.count.panics.Load(); n != 3 {
		t.Errorf("counted %d, expected 3", n)
	}
	if n := strings.Count(log.String(), "please report"); n != 1 || !strings.Contains(log.String(), "www.example") {
		t.Errorf("logged %d times, expected once: %s", n, log.String())
	}
}
