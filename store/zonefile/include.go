package zonefile

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"meridian/zones"
)

const (
	maxDepth    = 8    // of files that include each other
	maxIncluded = 1000 // files in all: eight of them can include each other billions of times
)

// include reads the file that $INCLUDE names, with another origin if that says one. Origin and
// owner are not changed by it (RFC 1035 §5.1), and the owner goes on into it.
func (r *reader) include(sc scope, at Place, args []string) {
	if len(args) < 1 || len(args) > 2 {
		r.refuse(at, "$INCLUDE: expected a file and perhaps an origin, found %d words", len(args))
		return
	}
	if len(args) == 2 {
		sc.origin = absolute(args[1], sc.origin)
		if _, err := parseName(sc.origin); err != nil {
			r.refuse(at, "$INCLUDE: %v", err)
			return
		}
	}
	name := zones.Unquoted(args[0])
	text, inFolder, err := r.load(name)
	if err != nil {
		r.refuse(at, "$INCLUDE %s: %v", name, err)
		return
	}
	sc.file = filepath.Join(filepath.Dir(r.file), inFolder)
	r.open = append(r.open, inFolder)
	r.read(&sc, text)
	r.open = r.open[:len(r.open)-1]
}

// load returns the text of a file and its path in the folder. A relative name is one in that folder
// also where a file in another one has it, as in BIND.
func (r *reader) load(name string) (text, inFolder string, err error) {
	if r.folder.FS == nil {
		return "", "", errors.New("nothing can be included here")
	}
	outside := fmt.Errorf("it lies outside of %s, the folder of the zone file", r.folder.Dir)
	if path.IsAbs(name) {
		below, ok := strings.CutPrefix(path.Clean(name), strings.TrimSuffix(r.folder.Dir, "/")+"/")
		if !ok {
			return "", "", outside
		}
		inFolder = below
	} else {
		inFolder = path.Clean(name)
	}
	switch {
	case !fs.ValidPath(inFolder):
		return "", "", outside
	case slices.Contains(r.open, inFolder):
		return "", "", errors.New("it is being read already, and includes itself")
	case len(r.open) > maxDepth:
		return "", "", fmt.Errorf("more than %d files include each other", maxDepth)
	case r.included == maxIncluded:
		return "", "", fmt.Errorf("more than %d files are included", maxIncluded)
	}
	r.included++
	var file *fs.PathError
	switch info, err := fs.Stat(r.folder.FS, inFolder); {
	case errors.As(err, &file):
		return "", "", file.Err
	case err != nil:
		return "", "", err
	case !info.Mode().IsRegular():
		return "", "", errors.New("it is not a regular file")
	}
	read, err := fs.ReadFile(r.folder.FS, inFolder)
	return string(read), inFolder, err
}
