package health

import (
	"fmt"
	"regexp"

	"meridian/spec"
)

// maxParts is how many others a check may be made of.
const maxParts = 16

// checkName is the name of a check, a site or a checker.
var checkName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// Parts are the names of the checks that c is made of, nil where it looks itself, or is nil.
func (c *Check) Parts() []string {
	switch {
	case c == nil:
		return nil
	case c.All != nil:
		return c.All
	case c.Any != nil:
		return c.Any
	}
	return c.Of
}

// Needs is how many of the parts have to be up.
func (c *Check) Needs() int {
	switch {
	case c.All != nil:
		return len(c.All)
	case c.Any != nil:
		return 1
	}
	return c.AtLeast
}

func (c *Check) completeParts(field string) error {
	parts := c.Parts()
	if len(parts) < 1 || len(parts) > maxParts {
		return spec.Errorf(field, "%d checks, expected 1 to %d", len(parts), maxParts)
	}
	for i, name := range parts {
		if !checkName.MatchString(name) {
			return spec.Errorf(fmt.Sprintf("%s[%d]", field, i), "%q is not the name of a check", name)
		}
	}
	if name := repeated(parts); name != "" {
		return spec.Errorf(field, "%q is there twice", name)
	}
	switch {
	case c.Of != nil && c.AtLeast == 0:
		return spec.Errorf(field, `expected "at_least" beside it`)
	case c.Of != nil && (c.AtLeast < 1 || c.AtLeast > len(c.Of)):
		return spec.Errorf("at_least", "%d is out of range, expected 1 to %d, as many as there are", c.AtLeast, len(c.Of))
	}
	return nil
}

// Fold is what the states of c's parts come to, Invert included: up when enough are up, down when
// enough cannot be any more.
func (c *Check) Fold(parts []State) State {
	up, down := 0, 0
	for _, s := range parts {
		switch s {
		case Up:
			up++
		case Down:
			down++
		}
	}
	s := Unknown
	switch need := c.Needs(); {
	case up >= need:
		s = Up
	case len(parts)-down < need:
		s = Down
	}
	if c.Invert {
		return s.inverse()
	}
	return s
}

func (s State) inverse() State {
	switch s {
	case Up:
		return Down
	case Down:
		return Up
	}
	return s
}
