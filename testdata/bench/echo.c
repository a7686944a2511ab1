// A bare UDP echo: what a server with plain sockets cannot go below on this machine.
//
//   echo ADDRESS PORT [BATCH [GROW]]
//
// Receives up to BATCH datagrams a call (32), sets QR, and sends each back GROW bytes longer than it came (0): with
// 16 bytes an A record, its replies are as long as those of a server that answers with compressed names.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { MAX_BATCH = 256, MAX_SIZE = 2048, MAX_GROW = 512 };

static uint8_t packets[MAX_BATCH][MAX_SIZE + MAX_GROW];
static struct mmsghdr messages[MAX_BATCH];
static struct iovec vectors[MAX_BATCH];
static struct sockaddr_in clients[MAX_BATCH];

static int listen_on(const char *address, int port) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, room = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (!inet_aton(address, &at.sin_addr)) {
    fprintf(stderr, "echo: %s: expected an IPv4 address\n", address);
    exit(2);
  }
  if (bind(fd, (struct sockaddr *)&at, sizeof at)) {
    perror("echo: bind");
    exit(1);
  }
  return fd;
}

static void echo(int fd, int batch, int grow) {
  for (;;) {
    for (int i = 0; i < batch; i++) {
      vectors[i].iov_len = MAX_SIZE;
      messages[i].msg_hdr.msg_namelen = sizeof clients[i];
    }
    int n = recvmmsg(fd, messages, batch, MSG_WAITFORONE, 0);
    for (int i = 0; i < n; i++) {
      packets[i][2] |= 0x80;
      vectors[i].iov_len = messages[i].msg_len + grow;
    }
    for (int sent = 0; sent < n;) {
      int k = sendmmsg(fd, messages + sent, n - sent, 0);
      if (k < 1)
        break;
      sent += k;
    }
  }
}

int main(int argc, char **argv) {
  int batch = argc > 3 ? atoi(argv[3]) : 32, grow = argc > 4 ? atoi(argv[4]) : 0;
  if (argc < 3 || batch < 1 || batch > MAX_BATCH || grow < 0 || grow > MAX_GROW) {
    fprintf(stderr, "usage: echo ADDRESS PORT [BATCH (1 to %d) [GROW (0 to %d)]]\n", MAX_BATCH, MAX_GROW);
    return 2;
  }
  for (int i = 0; i < batch; i++) {
    vectors[i].iov_base = packets[i];
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1, .msg_name = &clients[i]};
  }
  echo(listen_on(argv[1], atoi(argv[2])), batch, grow);
}
