#include "query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct query *queries;
int first_of_length[8], count_of_length[8];

static uint8_t *put_name(uint8_t *p, const char *name) {
  while (*name) {
    size_t label = strcspn(name, ".");
    *p++ = label;
    p = (uint8_t *)memcpy(p, name, label) + label;
    name += label + (name[label] == '.');
  }
  *p++ = 0;
  return p;
}

static void make_query(struct query *q, int number) {
  char name[100];
  snprintf(name, sizeof name, "h%d.%s", number, opt.zone);
  q->packet[5] = 1;  // QDCOUNT
  uint8_t *p = put_name(q->packet + 12, name);
  p = (uint8_t *)memcpy(p, "\0\1\0\1", 4) + 4;  // A, IN
  q->question_end = p - q->packet;
  if (opt.edns) {
    q->packet[11] = 1;  // ARCOUNT
    p = (uint8_t *)memcpy(p, "\0\0\51\4\320\0\0\0\0\0\0", 11) + 11;  // OPT, 1232 bytes
  }
  if (opt.edns == WITH_SUBNET) {
    p[-1] = 11;  // RDLENGTH
    p = (uint8_t *)memcpy(p, "\0\10\0\7\0\1\30\0\306\63\144", 11) + 11;  // RFC 7871: IPv4, source /24, scope 0
  }
  q->length = p - q->packet;
}

void make_queries(void) {
  queries = calloc(opt.names, sizeof *queries);
  for (int i = 0; i < opt.names; i++) {
    make_query(&queries[i], i);
    int digits = snprintf(0, 0, "%d", i) - 1;
    if (!count_of_length[digits]++)
      first_of_length[digits] = i;
  }
}

static const uint8_t *skip_name(const uint8_t *p, const uint8_t *end) {
  while (p < end && *p && *p < 0xc0)
    p += *p + 1;
  return p < end ? p + (*p ? 2 : 1) : end;
}

static int expected_site(uint8_t net) {
  if (opt.geo == 3)
    return net / 32 % 3 + 1;
  return net == 127 ? 1 : net % 3 + 1;
}

// addresses_right tells whether the answer section holds addresses of the name, none twice. Of a single one it gives the
// site.
static bool addresses_right(const uint8_t *p, const uint8_t *end, int count, const struct outstanding *o, int *one) {
  uint32_t number = o->name % opt.pools;
  int seen = 0, site = 0;
  for (int i = 0; i < count; i++, p += 14) {
    p = skip_name(p, end);
    if (end - p < 14 || memcmp(p, "\0\1\0\1", 4) || p[9] != 4)
      return false;
    site = p[11];
    if (p[10] != 192 || site < 1 || site > 3 || p[12] != (number >> 8 & 255) || p[13] != (number & 255) || seen & 1 << site)
      return false;
    seen |= 1 << site;
  }
  *one = count == 1 ? site : 0;
  return !opt.geo || site == expected_site(o->net);
}

bool answer_right(const uint8_t *p, int length, const struct outstanding *o, int *site) {
  struct query *q = &queries[o->name];
  int answers = p[6] << 8 | p[7];
  return p[2] & 0x80 && (p[3] & 15) == 0 && (opt.answers < 0 || answers == opt.answers) && length >= q->question_end &&
         (opt.mixed_case || !memcmp(p + 12, q->packet + 12, q->question_end - 12)) && (!opt.edns || p[11]) &&
         addresses_right(p + q->question_end, p + length, answers, o, site);
}
