package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meridian/zones"
)

// saverScene is a Saver at work on a disk that is a list, in a bubble of its own time, and the state
// that it is to save.
type saverScene struct {
	*Saver
	start   time.Time
	changed chan struct{}
	logged  bytes.Buffer

	mu      sync.Mutex
	state   int64 // 0: there is nothing to save yet
	written []writing
	takes   time.Duration // a write
	fails   error
}

// writing is one write, begun or ended.
type writing struct {
	at    time.Duration // since the start
	state int64
}

// saveRun calls f with a Saver at work.
func saveRun(t *testing.T, f func(s *saverScene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &saverScene{start: time.Now(), changed: make(chan struct{}, 1)}
		s.Saver = NewSaver("/var/lib/meridian/image", slog.New(slog.NewTextHandler(&s.logged, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		s.write = s.writeImage
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx, s.changed, s.take) })
		f(s)
		cancel()
		running.Wait()
	})
}

func (s *saverScene) writeImage(path string, img *Image) (int64, error) {
	s.mu.Lock()
	s.written = append(s.written, writing{time.Since(s.start), img.Revision})
	takes, err := s.takes, s.fails
	s.mu.Unlock()
	time.Sleep(takes)
	return 100 + img.Revision, err
}

func (s *saverScene) take(context.Context) *Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return imageOf(s.state)
}

func imageOf(state int64) *Image {
	if state == 0 {
		return nil
	}
	return &Image{Revision: state, Saved: time.Now(), Names: zones.New()}
}

// change makes another state, as of which Run is told.
func (s *saverScene) change(state int64) {
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *saverScene) disk(takes time.Duration, fails error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.fails = takes, fails
}

func (s *saverScene) want(t *testing.T, want ...writing) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.written, want) {
		t.Errorf("written %v, want %v", s.written, want)
	}
}

func (s *saverScene) wantStats(t *testing.T, want SaverStats) {
	t.Helper()
	synctest.Wait()
	if got := s.Stats(); got != want {
		t.Errorf("stats %+v\nwant  %+v", got, want)
	}
}

const ms = time.Millisecond

// The first write comes soon, the next ones at most every ten seconds; each has the latest state, and
// the last state gets written though nothing more happens.
func TestSaverPace(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		time.Sleep(time.Minute)
		s.want(t)
		for state := range int64(200) { // for 19 seconds
			s.change(state + 1)
			time.Sleep(95 * ms)
		}
		time.Sleep(time.Hour)
		s.want(t, writing{60500 * ms, 6}, writing{70500 * ms, 111}, writing{80500 * ms, 200})
		s.wantStats(t, SaverStats{Saved: s.start.Add(80500 * ms), Size: 300, Writes: 3})
		s.change(201)
		time.Sleep(499 * ms)
		s.wantStats(t, SaverStats{Saved: s.start.Add(80500 * ms), Size: 300, Writes: 3})
		time.Sleep(time.Minute)
		s.want(t, writing{60500 * ms, 6}, writing{70500 * ms, 111}, writing{80500 * ms, 200}, writing{3679500 * ms, 201})
	})
}

// A slow disk is written to for at most a twentieth of the time. What changes meanwhile is not lost.
func TestSaverSlowDisk(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		s.disk(2*time.Second, nil)
		s.change(1)
		time.Sleep(time.Second)
		s.change(2) // while the first is written
		time.Sleep(10 * time.Second)
		s.change(3)
		s.want(t, writing{500 * ms, 1})
		time.Sleep(time.Hour)
		s.want(t, writing{500 * ms, 1}, writing{40500 * ms, 3})
		s.wantStats(t, SaverStats{Saved: s.start.Add(42500 * ms), Size: 103, Took: 2 * time.Second, Writes: 2})
	})
}

// No state is written twice, neither by Run nor by Save, however often it is said to have changed.
func TestSaverSameState(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		for range 100 {
			s.change(1)
			time.Sleep(time.Second)
		}
		s.want(t, writing{500 * ms, 1})
		s.Save(imageOf(1))
		s.want(t, writing{500 * ms, 1})
		s.Save(imageOf(2))
		s.want(t, writing{500 * ms, 1}, writing{100 * time.Second, 2})
		s.Save(imageOf(1))
		s.want(t, writing{500 * ms, 1}, writing{100 * time.Second, 2}, writing{100 * time.Second, 1})
	})
}

func TestSaverNothingToSave(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		s.change(0)
		time.Sleep(time.Minute)
		s.want(t)
		s.wantStats(t, SaverStats{})
		s.change(1)
		time.Sleep(time.Minute)
		s.want(t, writing{60500 * ms, 1})
	})
}

// A write that fails is tried again though nothing changes, at the same pace; it is logged when it
// begins to fail, and when it no longer does.
func TestSaverFailure(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		s.change(1)
		time.Sleep(20 * time.Second)
		s.disk(0, errors.New("no space left on device"))
		s.change(2)
		time.Sleep(25 * time.Second)
		s.wantStats(t, SaverStats{Saved: s.start.Add(500 * ms), Size: 101, Writes: 1, Errors: 3, Error: "no space left on device"})
		s.change(3)
		time.Sleep(5 * time.Second)
		s.disk(time.Second, nil)
		time.Sleep(time.Hour)
		s.want(t, writing{500 * ms, 1}, writing{20500 * ms, 2}, writing{30500 * ms, 2}, writing{40500 * ms, 2}, writing{50500 * ms, 3})
		s.wantStats(t, SaverStats{Saved: s.start.Add(51500 * ms), Size: 103, Took: time.Second, Writes: 2, Errors: 3})
		want := strings.TrimLeft(`
level=ERROR msg="disk image not written: the former one, if any, stays" path=/var/lib/meridian/image error="no space left on device"
level=INFO msg="disk image is written again" path=/var/lib/meridian/image bytes=103
`, "\n")
		if got := s.logged.String(); got != want {
			t.Errorf("logged:\n%swant:\n%s", got, want)
		}
	})
}

// After a write that failed nobody knows what the file holds: what it held before is written too.
func TestSaverFailureAndBack(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		s.change(1)
		time.Sleep(20 * time.Second)
		s.disk(0, errors.New("input/output error"))
		s.change(2)
		time.Sleep(time.Second)
		s.disk(0, nil)
		s.change(1)
		time.Sleep(time.Minute)
		s.want(t, writing{500 * ms, 1}, writing{20500 * ms, 2}, writing{30500 * ms, 1})
		s.wantStats(t, SaverStats{Saved: s.start.Add(30500 * ms), Size: 101, Writes: 2, Errors: 1})
	})
}

// The state that could not be written is written when the process ends, if it can be then.
func TestSaverSaveAfterFailure(t *testing.T) {
	saveRun(t, func(s *saverScene) {
		s.disk(0, errors.New("no space left on device"))
		s.change(1)
		time.Sleep(time.Second)
		s.disk(0, nil)
		s.Save(imageOf(1))
		s.want(t, writing{500 * ms, 1}, writing{time.Second, 1})
		s.wantStats(t, SaverStats{Saved: s.start.Add(time.Second), Size: 101, Writes: 1, Errors: 1})
	})
}

// Run ends at once, whatever it waits for.
func TestSaverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, change := range []bool{false, true} {
			s := NewSaver("image", slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			changed := make(chan struct{}, 1)
			if change {
				changed <- struct{}{}
			}
			start := time.Now()
			time.AfterFunc(100*ms, cancel)
			s.Run(ctx, changed, func(context.Context) *Image { t.Error("an image is taken"); return nil })
			if d := time.Since(start); d != 100*ms {
				t.Errorf("it took %v to end, want 100ms", d)
			}
		}
	})
}

// A Saver writes what ReadImage reads.
func TestSaverWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	s := NewSaver(path, slog.New(slog.DiscardHandler))
	img := someImage(t, 1000, 812)
	s.Save(img)
	wantImage(t, mustRead(t, path), img)
	if got := s.Stats(); got.Size != int64(len(mustFile(t, path))) || got.Writes != 1 || got.Took <= 0 || got.Saved.IsZero() {
		t.Errorf("stats %+v", got)
	}
	// Every part of the state counts, but not when it was looked at.
	img.Saved = img.Saved.Add(time.Second)
	s.Save(img)
	if got := s.Stats(); got.Writes != 1 {
		t.Errorf("%d writes of the same state, want 1", got.Writes)
	}
	for i, change := range []func(){
		func() { img.Health[0].Reason = "connection refused" },
		func() { delete(img.Unregistered, "pool/web/member/b") },
		func() { img.Names = counted(t, img.Names, 813) },
		func() { img.Pools = append(img.Pools, "late") },
	} {
		change()
		s.Save(img)
		if got := s.Stats(); got.Writes != int64(i+2) {
			t.Errorf("change %d: %d writes, want %d", i, got.Writes, i+2)
		}
	}
	wantImage(t, mustRead(t, path), img)
}
