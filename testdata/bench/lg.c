// A generator of DNS queries over UDP that verifies every answer. Loopback, or a network namespace of one's own, only.
//
// Closed loop, unless -r: every socket keeps a window of queries outstanding. Open loop: a query at each scheduled
// moment, whether or not earlier ones are answered; latency counts from that moment.
//
// It asks for the A records of h0.ZONE, h1.ZONE, … at random. An answer must have the query's id and question, QR, rcode
// 0 and the right number of records, each an address that the name has: 192.d.x.y, x.y being the name's number, d one of
// 1, 2 and 3. So manifest.py and peers.py have it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cost.h"
#include "query.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { MAX_BATCH = 256, REPLY_ROOM = 2048, LOST_NS = 50000000 };

struct options opt = {.address = "127.0.0.1", .port = 53, .zone = "gslb.test", .label = "-", .names = 1000, .sockets = 6,
                      .window = 32, .batch = 32, .answers = -1, .seconds = 5, .warm = 0.5};

static const char usage[] =
    "usage: lg [-s ADDRESS] [-p PORT] [-z ZONE] [-n NAMES] [-a ANSWERS] …\n"
    "  -n NAMES    h0 to h<NAMES-1> (1000)        -m POOLS  addresses are of the name's number modulo POOLS (NAMES)\n"
    "  -a ANSWERS  expected; -1: any number       -G 8, -G 3  the address is by the client's network of that length\n"
    "  -e          EDNS                           -c        EDNS and a random /24 as client subnet\n"
    "  -E          an echo: verify ids alone      -0        letters in mixed case\n"
    "  -S SOCKETS -W WINDOW -B BATCH  (6, 32, 32)   -g      send a batch as one with UDP_SEGMENT\n"
    "  -r RATE     open loop, queries a second    -x        at random (Poisson) moments\n"
    "  -d SECONDS -w WARM-UP  (5, 0.5)            -u SECONDS  of watching user time, before (0)\n"
    "  -P PID,…    the server's processes         -C CORE   and core (0)\n"
    "  -l LABEL    -k  print tab-separated columns\n";

static ns now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// xorshift64 (Marsaglia)
static uint64_t random64(void) {
  static uint64_t state = 88172645463325252ull;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

// ---- sockets

struct client {
  int fd, out;
  uint16_t next_id;
  ns last_reply;
  struct outstanding *by_id;
};
static struct client *clients;
static int poller;

static int open_socket(const struct sockaddr_in *server) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  if (connect(fd, (const struct sockaddr *)server, sizeof *server)) {
    perror("lg: connect");
    exit(1);
  }
  return fd;
}

static void open_clients(void) {
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
  if (!inet_aton(opt.address, &server.sin_addr)) {
    fprintf(stderr, "lg: %s: expected an IPv4 address\n", opt.address);
    exit(2);
  }
  uint32_t host = ntohl(server.sin_addr.s_addr);
  if (host >> 24 != 127 && host >> 8 != 0x0afe01) {  // 10.254.1.0/24: a network namespace of one's own
    fprintf(stderr, "lg: %s: refused, it is not loopback\n", opt.address);
    exit(2);
  }
  poller = epoll_create1(0);
  clients = calloc(opt.sockets, sizeof *clients);
  for (int i = 0; i < opt.sockets; i++) {
    clients[i].fd = open_socket(&server);
    clients[i].by_id = calloc(1 << 16, sizeof *clients[i].by_id);
    clients[i].next_id = random64();
    struct epoll_event readable = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &readable);
  }
}

// ---- what is counted, within the window of time
// Rates and latencies to its end, wrong and lost until nothing is outstanding.

static struct {
  uint64_t sent, right, wrong, unasked, lost, unsent, bytes, polls, idle_polls, sites[4];
  int growth;  // of a reply beyond its query
} n;
static ns window_start;

// A histogram of latencies: exact to 64 ns, then 32 steps an octave.
enum { STEPS = 64 * 40 };
static uint64_t latencies[STEPS];

static int step_of(ns v) {
  if (v < 64)
    return v;
  int octave = 63 - __builtin_clzll(v), i = (octave - 5) * 32 + (int)(v >> (octave - 5) & 31) + 32;
  return i < STEPS ? i : STEPS - 1;
}

static double step_us(int i) {
  if (i < 64)
    return i / 1e3;
  return (double)((ns)(32 + (i - 32) % 32) << (i - 32) / 32) / 1e3;
}

static double percentile_us(double p) {
  uint64_t total = 0, below = 0;
  for (int i = 0; i < STEPS; i++)
    total += latencies[i];
  for (int i = 0; i < STEPS; i++)
    if (total && (below += latencies[i]) >= (uint64_t)ceil(total * p))
      return step_us(i);
  return 0;
}

// ---- sending

// fill writes the next query of c for a name and returns its length.
static int fill(struct client *c, uint8_t *packet, uint32_t name, ns due) {
  struct query *q = &queries[name];
  memcpy(packet, q->packet, q->length);
  uint16_t id = c->next_id++;
  packet[0] = id >> 8;
  packet[1] = id;
  struct outstanding *o = &c->by_id[id];
  if (o->at && !o->given_up) {
    n.lost += o->at >= window_start;
    c->out--;
  }
  *o = (struct outstanding){.at = due, .name = name, .net = 127};
  c->out++;
  if (opt.edns == WITH_SUBNET) {
    uint64_t r = random64();
    uint8_t *net = packet + q->length - 3;
    o->net = net[0] = 1 + r % 222;
    net[1] = r >> 8;
    net[2] = r >> 16;
  }
  if (opt.mixed_case) {
    uint64_t r = random64();
    for (int i = 13; i < q->question_end - 5; i++)
      if (packet[i] >= 'a' && packet[i] <= 'z' && r >> (i & 31) & 1)
        packet[i] -= 32;
  }
  return q->length;
}

static uint8_t out_packets[MAX_BATCH][QUERY_ROOM], in_packets[MAX_BATCH][REPLY_ROOM];
static struct mmsghdr out_messages[MAX_BATCH], in_messages[MAX_BATCH];
static struct iovec out_vectors[MAX_BATCH], in_vectors[MAX_BATCH];

static void prepare_messages(void) {
  for (int i = 0; i < MAX_BATCH; i++) {
    out_vectors[i] = (struct iovec){out_packets[i], 0};
    in_vectors[i] = (struct iovec){in_packets[i], REPLY_ROOM};
    out_messages[i].msg_hdr = (struct msghdr){.msg_iov = &out_vectors[i], .msg_iovlen = 1};
    in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &in_vectors[i], .msg_iovlen = 1};
  }
}

static void send_batch(struct client *c, int count, ns t) {
  for (int i = 0; i < count; i++)
    out_vectors[i].iov_len = fill(c, out_packets[i], random64() % opt.names, t);
  int sent = sendmmsg(c->fd, out_messages, count, MSG_DONTWAIT);
  sent = sent < 0 ? 0 : sent;
  n.sent += sent;
  n.unsent += count - sent;
}

// send_segments sends queries of one length in one call.
static void send_segments(struct client *c, int count, ns t) {
  static uint8_t packets[1 << 16];
  int digits = 0, end = 0, length = 0;
  for (uint64_t r = random64() % opt.names; r >= (uint64_t)(first_of_length[digits] + count_of_length[digits]);)
    digits++;
  for (int i = 0; i < count; i++, end += length)
    length = fill(c, packets + end, first_of_length[digits] + random64() % count_of_length[digits], t);
  struct iovec all = {packets, end};
  char control[CMSG_SPACE(2)] = {0};
  struct msghdr message = {.msg_iov = &all, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *segment = CMSG_FIRSTHDR(&message);
  segment->cmsg_level = IPPROTO_UDP;
  segment->cmsg_type = UDP_SEGMENT;
  segment->cmsg_len = CMSG_LEN(2);
  memcpy(CMSG_DATA(segment), &(uint16_t){length}, 2);
  n.unsent += sendmsg(c->fd, &message, MSG_DONTWAIT) < 0;
  n.sent += count;
}

// give_up counts what has not been answered for too long, so that its place in the window is free again.
static void give_up(struct client *c, ns t) {
  if (t - c->last_reply <= LOST_NS)
    return;
  for (int i = 0; i < 1 << 16; i++)
    if (c->by_id[i].at && !c->by_id[i].given_up && t - c->by_id[i].at > LOST_NS) {
      c->by_id[i].given_up = true;
      c->out--;
      n.lost += c->by_id[i].at >= window_start;
    }
  c->last_reply = t;
}

static void send_closed(ns t) {
  for (int i = 0; i < opt.sockets; i++) {
    struct client *c = &clients[i];
    int room = opt.window - c->out, least = (opt.window < opt.batch ? opt.window : opt.batch) / 2;
    if (room <= 0) {
      give_up(c, t);
      continue;
    }
    // While answers come in, wait until half a batch can be sent: the server is the one to be measured.
    if (room < least && c->out > 0 && t - c->last_reply < 200000)
      continue;
    room = room > opt.batch ? opt.batch : room;
    if (opt.segments && room > 1)
      send_segments(c, room, t);
    else
      send_batch(c, room, t);
  }
}

static double next_due;

static void send_open(ns t) {
  static int turn;
  double gap = 1e9 / opt.rate;
  for (int i = 0; next_due <= t && i < 64; i++) {
    struct client *c = &clients[turn++ % opt.sockets];
    // Of what the generator itself could not send in time, not all delay is the server's.
    ns due = next_due > t - 2e6 ? (ns)next_due : t;
    int length = fill(c, out_packets[0], random64() % opt.names, due);
    if (send(c->fd, out_packets[0], length, MSG_DONTWAIT) < 0) {
      n.unsent++;
      c->by_id[(uint16_t)(c->next_id - 1)].at = 0;
      c->out--;
    } else {
      n.sent++;
    }
    next_due += opt.poisson ? -log(((random64() >> 11) + 1) / 0x1p53) * gap : gap;
  }
}

// ---- receiving

static void take(struct client *c, const uint8_t *packet, int length, ns t) {
  struct outstanding *o = length < 12 ? 0 : &c->by_id[packet[0] << 8 | packet[1]];
  if (!o || !o->at) {
    n.unasked++;
    return;
  }
  int site = 0;
  bool right = opt.echo || answer_right(packet, length, o, &site);
  n.wrong += !right;
  if (right && !o->given_up) {
    n.right++;
    n.sites[site]++;
    latencies[step_of(t > o->at ? t - o->at : 0)]++;
    n.bytes = length;
    n.growth = length - queries[o->name].length;
  }
  c->out -= !o->given_up;
  o->at = 0;
}

static void receive(void) {
  struct epoll_event ready[256];
  int count = epoll_wait(poller, ready, 256, 0);
  n.polls++;
  n.idle_polls += count <= 0;
  for (int i = 0; i < count; i++) {
    struct client *c = &clients[ready[i].data.u32];
    int received = recvmmsg(c->fd, in_messages, opt.batch, MSG_DONTWAIT, 0);
    ns t = now();
    if (received > 0)
      c->last_reply = t;
    for (int k = 0; k < received; k++)
      take(c, in_packets[k], in_messages[k].msg_len, t);
  }
}

// ---- the run

// run drives the server for some seconds and returns how many they were.
static double run(double seconds) {
  ns start = now(), end = start + (ns)(seconds * 1e9), t;
  while ((t = now()) < end) {
    if (opt.rate > 0)
      send_open(t);
    else
      send_closed(t);
    receive();
  }
  return (t - start) / 1e9;
}

// drain waits for what is outstanding, and counts as lost what was asked within the window and never answered.
static void drain(void) {
  ns start = now(), end = start + 2 * LOST_NS;
  int out;
  do {
    receive();
    out = 0;
    for (int i = 0; i < opt.sockets; i++)
      out += clients[i].out;
  } while (out > 0 && now() < end);
  for (int i = 0; i < opt.sockets; i++)
    for (int id = 0; id < 1 << 16; id++)
      n.lost += clients[i].by_id[id].at >= window_start && !clients[i].by_id[id].given_up;
}

// watch_user returns µs of user time a query, in a window of its own, before the one that is measured: being watched
// costs. -1 where it cannot be had.
static double watch_user(void) {
  uint64_t before = n.right;
  if (opt.watch <= 0 || !watch_start(opt.core, opt.watch))
    return -1;
  run(opt.watch);
  double user_ns = watch_stop(opt.pids, opt.npids);
  return n.right > before ? user_ns / 1e3 / (n.right - before) : -1;
}

static double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

static void parse_pids(char *list) {
  for (char *rest, *p = strtok_r(list, ",", &rest); p && opt.npids < MAX_PIDS; p = strtok_r(0, ",", &rest))
    opt.pids[opt.npids++] = atoi(p);
}

static void parse_options(int argc, char **argv) {
  for (int o; (o = getopt(argc, argv, "s:p:z:n:m:a:G:eEcg0S:W:B:r:xd:w:u:P:C:l:k")) != -1;)
    switch (o) {
    case 's': opt.address = optarg; break;
    case 'p': opt.port = atoi(optarg); break;
    case 'z': opt.zone = optarg; break;
    case 'n': opt.names = atoi(optarg); break;
    case 'm': opt.pools = atoi(optarg); break;
    case 'a': opt.answers = atoi(optarg); break;
    case 'G': opt.geo = atoi(optarg); break;
    case 'e': opt.edns = WITH_EDNS; break;
    case 'c': opt.edns = WITH_SUBNET; break;
    case 'E': opt.echo = true; break;
    case 'g': opt.segments = true; break;
    case '0': opt.mixed_case = true; break;
    case 'S': opt.sockets = atoi(optarg); break;
    case 'W': opt.window = atoi(optarg); break;
    case 'B': opt.batch = atoi(optarg); break;
    case 'r': opt.rate = atof(optarg); break;
    case 'x': opt.poisson = true; break;
    case 'd': opt.seconds = atof(optarg); break;
    case 'w': opt.warm = atof(optarg); break;
    case 'u': opt.watch = atof(optarg); break;
    case 'P': parse_pids(optarg); break;
    case 'C': opt.core = atoi(optarg); break;
    case 'l': opt.label = optarg; break;
    case 'k': opt.table = true; break;
    default: fputs(usage, stderr); exit(2);
    }
  opt.pools = opt.pools ? opt.pools : opt.names;
  if (opt.names < 1 || opt.names > 10000000 || opt.batch < 1 || opt.batch > MAX_BATCH || opt.sockets < 1 ||
      strlen(opt.zone) > 60 || (opt.geo && opt.geo != 3 && opt.geo != 8)) {
    fputs(usage, stderr);
    exit(2);
  }
}

static void print(const struct usage *a, const struct usage *b, double right, double seconds, double user_us) {
  double queries = right > 0 ? right : 1, run_ns = b->run_ns - a->run_ns, busy = b->busy - a->busy;
  double user = b->user - a->user, system = b->system - a->system, sites = n.sites[1] + n.sites[2] + n.sites[3];
  const char *form =
      opt.table ? "%s\t%.0f\t%.3f\t%.3f\t%.1f\t%.0f\t%.3f\t%llu\t%.1f\t%.1f\t%.1f\t%.3f\t%llu\t%.1f\t%.1f\t%.1f\t%.4f\t%d\t"
                  "%.2f/%.2f/%.2f\n"
                : "%s: %.0f queries/s, CPU %.3f µs/q, core %.3f µs/q and %.1f%% busy, user %.0f%% by ticks, lost %.3f%%, "
                  "wrong %llu, p50 %.1f p99 %.1f p99.9 %.1f µs, switches/q %.3f, %llu bytes, idle polls %.0f%%, "
                  "generator %.0f%%, server %.0f%%, user %.4f µs/q, growth %d bytes, addresses %.2f/%.2f/%.2f %%\n";
  printf(form, opt.label, right / seconds, run_ns / 1e3 / queries, busy * 1e4 / queries,
         share(busy, busy + b->idle - a->idle), share(user, user + system), share(n.lost, n.sent),
         (unsigned long long)(n.wrong + n.unasked), percentile_us(0.5), percentile_us(0.99), percentile_us(0.999),
         (b->switches - a->switches) / queries, (unsigned long long)n.bytes, share(n.idle_polls, n.polls),
         share(b->own_seconds - a->own_seconds, seconds), share(run_ns / 1e9, seconds), user_us, n.growth,
         share(n.sites[1], sites), share(n.sites[2], sites), share(n.sites[3], sites));
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  make_queries();
  open_clients();
  prepare_messages();
  next_due = now();
  run(opt.warm);
  double user_us = watch_user();

  memset(&n, 0, sizeof n);
  memset(latencies, 0, sizeof latencies);
  struct usage before = usage_of(opt.pids, opt.npids, opt.core);
  window_start = now();
  next_due = next_due < window_start ? window_start : next_due;
  double seconds = run(opt.seconds);
  struct usage after = usage_of(opt.pids, opt.npids, opt.core);

  uint64_t right = n.right;
  drain();
  print(&before, &after, right, seconds, user_us);
}
