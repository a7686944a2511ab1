//go:build race

package policy

// raceEnabled: the race detector makes everything some ten times slower.
const raceEnabled = true
