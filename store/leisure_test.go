package store

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What is done at leisure has a low priority, and what comes after it the one it had.
func TestAtLeisure(t *testing.T) {
	own := func() int {
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid()) // 20 less the priority
		if err != nil {
			t.Error(err)
		}
		return 20 - raw
	}
	before, within := own(), 0
	atLeisure(func() { within = own() })
	if within != lowPriority {
		t.Errorf("priority %d, want %d", within, lowPriority)
	}
	for range 100 {
		done := make(chan int)
		go func() { done <- own() }()
		if after := <-done; after != before {
			t.Fatalf("priority %d afterwards, want %d", after, before)
		}
	}
}

func TestAppendInParts(t *testing.T) {
	var list, want []Entry
	for i, n := range []int{0, 1, 1024, 1025, 5000, 1, 2049, 0} {
		more := make([]Entry, n)
		for j := range more {
			more[j].Key = fmt.Sprint(i, "/", j)
		}
		before := slices.Clone(more)
		list, want = appendInParts(list, more...), append(want, more...)
		same := func(x, y Entry) bool { return x.Key == y.Key }
		if !slices.EqualFunc(list, want, same) || !slices.EqualFunc(more, before, same) {
			t.Fatalf("after %d more: %d entries, want %d", n, len(list), len(want))
		}
	}
}
