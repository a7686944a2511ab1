#define _GNU_SOURCE
#include "cost.h"

#include <dirent.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef unsigned long long ull;

// add_threads reads /proc/PID/task/*/schedstat: run time and wait time in ns, time slices.
static void add_threads(struct usage *u, int pid) {
  char path[300];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *dir = opendir(path);
  if (!dir)
    return;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (entry->d_name[0] == '.')
      continue;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, entry->d_name);
    FILE *file = fopen(path, "r");
    ull run, wait, slices;
    if (file && fscanf(file, "%llu %llu %llu", &run, &wait, &slices) == 3) {
      u->run_ns += run;
      u->switches += slices;
    }
    if (file)
      fclose(file);
  }
  closedir(dir);
}

// add_ticks reads utime and stime of /proc/PID/stat, the 14th and 15th field. The second is a name in parentheses
// that may hold anything.
static void add_ticks(struct usage *u, int pid) {
  char path[64], line[2048];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file)
    return;
  if (fgets(line, sizeof line, file)) {
    ull user, system;
    char *rest = strrchr(line, ')');
    if (rest && sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2) {
      u->user += user;
      u->system += system;
    }
  }
  fclose(file);
}

static void read_core(struct usage *u, int core) {
  FILE *file = fopen("/proc/stat", "r");
  char line[512], name[16];
  snprintf(name, sizeof name, "cpu%d ", core);
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, name, strlen(name)))
      continue;
    ull user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0;
    sscanf(line + strlen(name), "%llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
           &softirq);
    u->busy = user + nice + system + irq + softirq;
    u->idle = idle + iowait;
  }
  if (file)
    fclose(file);
}

struct usage usage_of(const int *pids, int npids, int core) {
  struct usage u = {0};
  for (int i = 0; i < npids; i++) {
    add_threads(&u, pids[i]);
    add_ticks(&u, pids[i]);
  }
  read_core(&u, core);
  struct rusage own;
  getrusage(RUSAGE_SELF, &own);
  u.own_seconds = own.ru_utime.tv_sec + own.ru_stime.tv_sec + (own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
  return u;
}

// The timer's interrupt finds a thread in user code or not some hundred times a second: too seldom for the few percent
// that a server's own code takes. The kernel's sampling clock does the same more often. No sample falls into the
// sampling itself, so that its own time is not counted as anybody's.
enum { WATCH_NS = 500000 };

struct found {
  struct perf_event_header header;
  uint32_t pid, tid;
};

static int watch_fd = -1;
static struct perf_event_mmap_page *watch_ring;
static uint64_t watch_bytes;  // of samples that fit, a power of two

bool watch_start(int core, double seconds) {
  struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                 .size = sizeof attr,
                                 .config = PERF_COUNT_SW_CPU_CLOCK,
                                 .sample_period = WATCH_NS,
                                 .sample_type = PERF_SAMPLE_TID,
                                 .disabled = 1};
  watch_fd = syscall(SYS_perf_event_open, &attr, -1, core, -1, PERF_FLAG_FD_CLOEXEC);
  if (watch_fd < 0)
    return false;
  long page = sysconf(_SC_PAGESIZE);
  for (watch_bytes = page; watch_bytes < 1.1 * seconds * 1e9 / WATCH_NS * sizeof(struct found);)
    watch_bytes *= 2;
  watch_ring = mmap(0, page + watch_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, watch_fd, 0);
  return watch_ring != MAP_FAILED && !ioctl(watch_fd, PERF_EVENT_IOC_ENABLE, 0);
}

double watch_stop(const int *pids, int npids) {
  ioctl(watch_fd, PERF_EVENT_IOC_DISABLE, 0);
  uint64_t end = __atomic_load_n(&watch_ring->data_head, __ATOMIC_ACQUIRE), user = 0;
  uint8_t *ring = (uint8_t *)watch_ring + watch_ring->data_offset;
  for (uint64_t at = 0; at < end;) {
    struct found *f = (struct found *)(ring + (at & (watch_bytes - 1)));
    bool in_user = (f->header.misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER;
    if (f->header.type == PERF_RECORD_SAMPLE && in_user)
      for (int i = 0; i < npids; i++)
        user += f->pid == (uint32_t)pids[i];
    at += f->header.size;
  }
  close(watch_fd);
  return (double)user * WATCH_NS;
}
