package store

import "slices"

// KeyForms are the keys that the registry has, below its prefix.
func KeyForms() []string { return slices.Clone(forms) }
