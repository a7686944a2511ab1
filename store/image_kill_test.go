//go:build faults

package store

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/zones"
)

var imageKills = flag.Int("kills", 200, "of writers of images")

// killVariable in the environment makes TestImageKill the writer: the image's path.
const killVariable = "IMAGE_KILL"

// TestImageKill kills processes that write images of 100,000 names, at random moments. Whatever the
// moment: there is an image, it is the last one of which the writer could say that it was written or
// the one begun after it, and all of it is of one state.
func TestImageKill(t *testing.T) {
	if path := os.Getenv(killVariable); path != "" {
		writeUntilKilled(t, path)
	}
	seed := *randomSeed
	if seed == 0 {
		seed = rand.Uint64N(1_000_000)
	}
	t.Logf("-seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	var written, inWrite, leftovers int64
	var last int64 // whose write was finished
	for kill := range *imageKills {
		child := exec.Command(os.Args[0], "-test.run=^TestImageKill$")
		child.Env = append(os.Environ(), killVariable+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // it has begun
		time.AfterFunc(time.Duration(random.Int64N(int64(150*time.Millisecond))), func() { child.Process.Kill() })
		begun := last
		for ok := true; ok; ok = lines.Scan() {
			word, number, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.ParseInt(number, 10, 64)
			switch {
			case err != nil:
				rest, _ := io.ReadAll(out)
				t.Fatalf("-seed %d, kill %d: the writer says %q\n%s", seed, kill, lines.Text(), rest)
			case word == "begin":
				begun = n
			case word == "done":
				last = n
				written++
			}
		}
		child.Wait()
		if begun != last {
			inWrite++
		}
		if _, err := os.Stat(path + ".tmp"); err == nil {
			leftovers++
		}
		img, err := ReadImage(path)
		if errors.Is(err, fs.ErrNotExist) && last == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("-seed %d, kill %d: %v", seed, kill, err)
		}
		if img.Revision != last && img.Revision != begun {
			t.Fatalf("-seed %d, kill %d: image %d, want %d or %d", seed, kill, img.Revision, last, begun)
		}
		if err := whole(t, img); err != nil {
			t.Fatalf("-seed %d, kill %d: image %d: %v", seed, kill, img.Revision, err)
		}
		last = img.Revision
	}
	t.Logf("%d images written, %d of %d kills within a write, %d leftovers", written, inWrite, *imageKills, leftovers)
	if inWrite < int64(*imageKills)/4 {
		t.Errorf("%d of %d kills were within a write: they prove little", inWrite, *imageKills)
	}
	// The next write leaves nothing of the killed ones.
	mustWrite(t, path, someImage(t, 10, 1))
	if got := files(t, dir); len(got) != 1 || got[0] != "image" {
		t.Errorf("the directory holds %v, want the image alone", got)
	}
}

// writeUntilKilled goes on from the image that is there, as a server that is started anew does.
func writeUntilKilled(t *testing.T, path string) {
	img, err := ReadImage(path)
	if errors.Is(err, fs.ErrNotExist) {
		img, err = bigImage(t, 0), nil
	}
	for revision := int64(0); err == nil; {
		revision = img.Revision + 1
		img.Revision, img.Names = revision, counted(t, img.Names, revision)
		img.Objects[0].Revision, img.Held[0].Revision = revision, revision
		fmt.Println("begin", revision)
		if _, err = WriteImage(path, img); err == nil {
			fmt.Println("done", revision)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// whole says what of an image is of another state than its revision says.
func whole(t *testing.T, img *Image) error {
	p, _ := img.Names.Part(mustOwner(t, "zone0000.example", "count"), dns.TypeTXT)
	want, err := zones.ParseRRset(mustOwner(t, "zone0000.example", "count"), dns.TypeTXT, fmt.Sprintf(`"n %d"`, img.Revision), img.Revision)
	switch {
	case err != nil:
		return err
	case fmt.Sprint(p) != fmt.Sprint(want):
		return fmt.Errorf("its names tell %v, want %v", p, want)
	case img.Names.Revision != img.Revision:
		return fmt.Errorf("its names are of %d", img.Names.Revision)
	case img.Objects[0].Revision != img.Revision, img.Held[0].Revision != img.Revision:
		return fmt.Errorf("its objects are of %d, what is held of %d", img.Objects[0].Revision, img.Held[0].Revision)
	case img.Names.Names != 100_000+2*100+1, len(img.Objects) != 1003, len(img.Health) != 1003:
		return fmt.Errorf("%d names, %d objects, %d states", img.Names.Names, len(img.Objects), len(img.Health))
	}
	return nil
}
