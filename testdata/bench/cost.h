// What a server costs: its threads' run time, and how much of its core's time is spent in its own code.
#include <stdbool.h>
#include <stdint.h>

// usage is a moment's reading; what counts is the difference of two.
struct usage {
  uint64_t run_ns;        // run time of all threads by the scheduler's clock, softirq work in their context included
  uint64_t switches;      // how often a thread was given a core
  uint64_t user, system;  // the same time in ticks, as the timer's interrupt found it
  uint64_t busy, idle;    // ticks of the server's core, whoever ran there
  double own_seconds;     // CPU time of the generator itself
};

// usage_of reads what the processes have used so far, and core.
struct usage usage_of(const int *pids, int npids, int core);

// watch_start samples core every WATCH_NS for at most seconds; false where the kernel does not allow it.
bool watch_start(int core, double seconds);

// watch_stop returns how many nanoseconds of it were in user code of the processes.
double watch_stop(const int *pids, int npids);
