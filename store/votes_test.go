package store

import (
	"testing"
	"time"

	"meridian/health"
)

// TestCountDueClockSetBack: a site that has ceased to vote is forgotten in ten minutes, though the clock is set back.
func TestCountDueClockSetBack(t *testing.T) {
	c := newCrowd(1, `{"check":"http"}`)
	c.hear("down")
	c.say(health.Down, 0, 1)
	c.say(health.Up, 0, 1)
	c.TakeLive(liveKeys(3, "checker/a", ""))
	c.pass(-time.Hour)
	if n := c.up(); n != 0 {
		t.Errorf("at once: %d are up", n)
	}
	c.pass(health.VoteWindow)
	if n := c.up(); n != 1 {
		t.Errorf("ten minutes later: %d are up, expected 1", n)
	}
}
