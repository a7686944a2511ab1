//go:build race

package server

// raceEnabled: the race detector makes everything some ten times slower.
const raceEnabled = true
