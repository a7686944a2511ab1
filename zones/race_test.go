//go:build race

package zones

// raceEnabled: the race detector makes everything some ten times slower.
const raceEnabled = true
