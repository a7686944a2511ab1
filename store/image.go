package store

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"meridian/health"
	"meridian/zones"
)

// Image is what a server knows when it is started anew: the last good registry and the states of health.
type Image struct {
	Prefix   string    `json:"prefix"`   // etcd.prefix it was read from
	Cluster  uint64    `json:"cluster"`  // etcd cluster
	Revision int64     `json:"revision"` // that is served
	Saved    time.Time `json:"saved"`

	// Sites, checks, parts of maps, policies, members, overrides and latches as they are served: the last good
	// value and its revision, the lease. Deleted: gone from the registry, but still referred to. Of a member
	// that is left out of its pool and serves on as before there is also, behind that, what is written.
	// A latch of revision 0 is held by the server alone.
	Objects []Entry `json:"objects"`

	Pools        []string             `json:"pools"`        // by policy.ID; "" is free
	Unregistered map[string]time.Time `json:"unregistered"` // keys of members whose lease has ended: since when
	Held         []Entry              `json:"held"`         // deletes held back
	Deleted      map[string]time.Time `json:"deleted"`      // keys of names and members that went within the last minute: when
	Health       []health.Report      `json:"health"`

	Names *zones.Snapshot `json:"-"` // without pools; never nil
}

// An image file is
//
//	a line   meridian image, form 3
//	a line   the bytes of JSON and of names
//	JSON     all of Image but Names, in one line
//	names    see zones.Snapshot.Dump
//	SHA-256  of all that, 32 bytes
//
// imageForm changes with the shape of the JSON and with that of dumps.
const (
	imageForm  = 3
	imageMagic = "meridian image, form "
	imageSizes = "%d bytes of JSON, %d of names\n"
)

var (
	// ErrDamaged is an image that is not as it was written.
	ErrDamaged = errors.New("the disk image is damaged")
	// ErrForm is an image that another version has written.
	ErrForm = errors.New("the disk image was written by another version")
)

// WriteImage puts an image into the place of the one at path, and returns its size in bytes. The
// former one stays until the new one is whole and on the disk. The directory must be there.
func WriteImage(path string, img *Image) (size int64, err error) {
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a process that was killed
		return 0, fmt.Errorf("disk image: %w", err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("disk image: %w", err)
	}
	size, err = writeImage(f, img)
	if err == nil {
		err = f.Sync()
	}
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return 0, fmt.Errorf("disk image: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return 0, fmt.Errorf("disk image: %w", err)
	}
	return size, nil
}

// syncDir has the disk hold which files are in a directory.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return cmp.Or(d.Sync(), d.Close())
}

// writeImage writes a file's bytes and returns how many.
func writeImage(w io.Writer, img *Image) (size int64, err error) {
	if err := img.check(); err != nil {
		return 0, fmt.Errorf("not written: %w", err) // a fault of ours: it could not be read again
	}
	text, err := img.json()
	if err != nil {
		return 0, err
	}
	var names sizeWriter
	img.Names.Dump(&names)
	sum := sha256.New()
	b := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head := imageMagic + strconv.Itoa(imageForm) + "\n" + fmt.Sprintf(imageSizes, len(text), names)
	b.WriteString(head)
	b.Write(text)
	if err := cmp.Or(img.Names.Dump(b), b.Flush()); err != nil {
		return 0, err
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return 0, err
	}
	return int64(len(head)+len(text)) + int64(names) + sha256.Size, nil
}

// json is all of the image but Names. It is the same for the same state.
func (img *Image) json() ([]byte, error) {
	out := *img
	out.Objects, out.Held = sortedEntries(img.Objects), sortedEntries(img.Held)
	out.Health = slices.SortedFunc(slices.Values(img.Health), func(x, y health.Report) int {
		return cmp.Or(strings.Compare(x.Check, y.Check), x.Addr.Compare(y.Addr))
	})
	// Bytes of a check's reason that are no UTF-8 must not be what keeps an image from being written.
	text, err := json.Marshal(&out, json.Deterministic(true), json.OmitZeroStructFields(true), jsontext.AllowInvalidUTF8(true))
	return append(text, '\n'), err
}

func sortedEntries(entries []Entry) []Entry {
	return slices.SortedStableFunc(slices.Values(entries), byKey)
}

// check says what makes an image unfit to be served from.
func (img *Image) check() error {
	named := map[string]bool{}
	for _, name := range img.Pools {
		if name != "" && named[name] {
			return fmt.Errorf("pool %q has two IDs", name)
		}
		named[name] = true
	}
	for id := range img.Names.Referred() {
		if int(id) >= len(img.Pools) || img.Pools[id] == "" {
			return fmt.Errorf("names refer to pool %d, which has no name", id)
		}
	}
	for _, r := range img.Health {
		if r.State > health.Down {
			return fmt.Errorf("check %q of %v has %v", r.Check, r.Addr, r.State)
		}
	}
	return nil
}

// ReadImage reads the image at path. Errors: fs.ErrNotExist where there is none, ErrDamaged, ErrForm,
// or that of the file system.
func ReadImage(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("disk image: %w", err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("disk image: %w", err)
	}
	img, err := readImage(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}

// readImage reads a file of that size. Nothing is made of its bytes before their checksum is right;
// even then none is taken on trust.
func readImage(r io.ReaderAt, size int64) (*Image, error) {
	start, text, names, err := readHead(r, size)
	if err != nil {
		return nil, err
	}
	if err := checkSum(r, size-sha256.Size); err != nil {
		return nil, err
	}
	img := new(Image)
	value := make([]byte, text)
	if _, err := r.ReadAt(value, start); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(value, img, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: from byte %d: %w", ErrDamaged, start, err)
	}
	start += text
	b := bufio.NewReaderSize(io.NewSectionReader(r, start, names), 1<<16)
	if img.Names, err = zones.Load(b); err != nil {
		return nil, fmt.Errorf("%w: names, from byte %d: %w", ErrDamaged, start, err)
	}
	if _, err := b.Discard(1); err != io.EOF {
		return nil, fmt.Errorf("%w: names, from byte %d: they end before the %d bytes do that they should take", ErrDamaged, start, names)
	}
	if err := img.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return img, nil
}

// readHead reads the first two lines: where the JSON starts, its bytes and those of the names, which
// are as many as a file of that size has.
func readHead(r io.ReaderAt, size int64) (start, text, names int64, err error) {
	head := make([]byte, min(size, 128))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return 0, 0, 0, err
	}
	magic, rest, _ := bytes.Cut(head, []byte("\n"))
	number, isImage := strings.CutPrefix(string(magic), imageMagic)
	form, err := strconv.Atoi(number)
	switch {
	case !isImage || err != nil || form < 0:
		return 0, 0, 0, fmt.Errorf("%w: its first line is not %q", ErrDamaged, imageMagic+strconv.Itoa(imageForm))
	case form != imageForm:
		return 0, 0, 0, fmt.Errorf("%w: form %d, expected %d", ErrForm, form, imageForm)
	}
	sizes, _, _ := bytes.Cut(rest, []byte("\n"))
	start = int64(len(magic) + 1 + len(sizes) + 1)
	fmt.Sscanf(string(sizes), imageSizes, &text, &names)
	if string(sizes)+"\n" != fmt.Sprintf(imageSizes, text, names) || text < 0 || names < 0 {
		return 0, 0, 0, fmt.Errorf("%w: its second line is not such as %q", ErrDamaged, fmt.Sprintf(imageSizes[:len(imageSizes)-1], 100, 200))
	}
	left := size - start - sha256.Size
	if left < text || left-text != names {
		return 0, 0, 0, fmt.Errorf("%w: it has %d bytes, expected %d", ErrDamaged, size, start+text+names+sha256.Size)
	}
	return start, text, names, nil
}

// checkSum compares what the first size bytes come to with what stands after them.
func checkSum(r io.ReaderAt, size int64) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := r.ReadAt(want, size); err != nil && err != io.EOF {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("%w: the checksum of its %d bytes is not the one at its end", ErrDamaged, size)
	}
	return nil
}

// sizeWriter counts the bytes written to it.
type sizeWriter int64

func (w *sizeWriter) Write(b []byte) (int, error) {
	*w += sizeWriter(len(b))
	return len(b), nil
}
