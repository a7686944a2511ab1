package store

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"
)

// Saver writes disk images when something has changed, as often as is good for the disk. Save and
// Stats may be called by any goroutine.
type Saver struct {
	Every time.Duration // no second write begins within it; 10s unless set before Run

	path  string
	log   *slog.Logger
	write func(path string, img *Image) (size int64, err error)

	saving sync.Mutex   // one write at a time; guards what follows
	seed   maphash.Seed // of state
	state  uint64       // what the file holds, as a hash; only if stats has a write and no error
	next   time.Time    // when the next write may begin

	mu    sync.Mutex // guards stats
	stats SaverStats
}

const (
	saveEvery = 10 * time.Second
	saveSoon  = 500 * time.Millisecond // after a change: what comes together is written together
	saveShare = 20                     // a write takes at most one part in so many of the time
)

// SaverStats are figures of a Saver.
type SaverStats struct {
	Saved  time.Time     // when the file was last written; zero if it has not been
	Size   int64         // bytes of it
	Took   time.Duration // the last write, whether it succeeded or not
	Writes int64         // that succeeded
	Errors int64         // that did not
	Error  string        // of the last write; "" if it succeeded
}

// NewSaver returns a saver of images at path.
func NewSaver(path string, log *slog.Logger) *Saver {
	return &Saver{Every: saveEvery, path: path, log: log, write: WriteImage, seed: maphash.MakeSeed()}
}

// Run writes what take returns whenever changed has received, and again after a write that failed,
// until ctx is done. take may return nil: there is nothing to save. The first write is half a second
// after the change, others Every after the last one began, or later where that took long: writing
// takes at most a twentieth of the time.
func (s *Saver) Run(ctx context.Context, changed <-chan struct{}, take func(context.Context) *Image) {
	for failed := false; ; {
		if !failed {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.pause()):
		}
		select {
		case <-changed: // take knows of it
		default:
		}
		failed = false
		if img := take(ctx); img != nil {
			failed = !s.save(img)
		}
	}
}

// pause is how long from a change to the write that it asks for.
func (s *Saver) pause() time.Duration {
	s.saving.Lock()
	defer s.saving.Unlock()
	return max(min(saveSoon, s.Every), time.Until(s.next))
}

// Save writes an image now, unless the file holds that state already: the last one, when the
// process ends.
func (s *Saver) Save(img *Image) { s.save(img) }

// save says whether the file holds the image now.
func (s *Saver) save(img *Image) bool {
	s.saving.Lock()
	defer s.saving.Unlock()
	stats, start := s.Stats(), time.Now()
	state := s.hash(img)
	if stats.Writes > 0 && stats.Error == "" && state == s.state {
		s.next = start.Add(max(s.Every, saveShare*time.Since(start))) // to find that out is work too
		return true
	}
	size, err := s.write(s.path, img)
	stats.Took = time.Since(start)
	s.next = start.Add(max(s.Every, saveShare*stats.Took))
	switch {
	case err != nil:
		if stats.Error == "" {
			s.log.Error("disk image not written: the former one, if any, stays", "path", s.path, "error", err)
		}
		stats.Errors++
		stats.Error = err.Error()
	default:
		if stats.Error != "" {
			s.log.Info("disk image is written again", "path", s.path, "bytes", size)
		}
		s.state = state
		stats.Writes++
		stats.Saved, stats.Size, stats.Error = time.Now(), size, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = stats
	return err == nil
}

// hash of all of the image but the time.
func (s *Saver) hash(img *Image) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	timeless := *img
	timeless.Saved = time.Time{}
	text, _ := timeless.json() // what cannot be written is an error of write
	h.Write(text)
	img.Names.Dump(&h)
	return h.Sum64()
}

// Stats may be called while an image is written: they are those before it.
func (s *Saver) Stats() SaverStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}
