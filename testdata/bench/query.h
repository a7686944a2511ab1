// The queries that are sent, and what is a right answer to them.
#include <stdbool.h>
#include <stdint.h>

enum { QUERY_ROOM = 128, MAX_PIDS = 64 };
enum edns { PLAIN, WITH_EDNS, WITH_SUBNET };

typedef uint64_t ns;

// options are those of the command line.
struct options {
  const char *address, *zone, *label;
  int port, names, pools, sockets, window, batch, answers, geo, core;
  double seconds, warm, watch, rate;
  enum edns edns;
  bool echo, segments, poisson, table, mixed_case;
  int pids[MAX_PIDS], npids;
};
extern struct options opt;

// query is that for one name, in full but for its id and the client's network.
struct query {
  uint8_t packet[QUERY_ROOM];
  int length, question_end;
};
extern struct query *queries;

// Names by the number of their digits, less one: their queries are of one length.
extern int first_of_length[8], count_of_length[8];

// outstanding is a query that has been sent.
struct outstanding {
  ns at;  // when it was due; 0: nothing is outstanding under this id
  uint32_t name;
  uint8_t net;    // first byte of the client's address
  bool given_up;  // counted as lost; its answer may come yet, and must be right
};

void make_queries(void);

// answer_right tells whether a packet of at least a header answers the query. Of a single address it gives the site,
// 1 to 3, else 0.
bool answer_right(const uint8_t *p, int length, const struct outstanding *o, int *site);
