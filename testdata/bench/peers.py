#!/usr/bin/env python3
"""peers.py DIRECTORY: writes the configuration of every peer: 1,000 names of 3 A records, or of a pool of 3.

gslb.test  static: 192.1.x.y, 192.2.x.y and 192.3.x.y, x.y being the name's number
gslw.test  one of the three by weight 5, 3, 2
gslg.test  one of the three by the client's network: gdnsd sends a.0.0.0/8 to the (a mod 3 + 1)th, Knot each /3 in turn

One thread, no log of queries, no rate limits, minimal responses, caches as they come.
"""
import os
import sys

NAMES = 1000
WEIGHTS = (5, 3, 2)


def addresses(i):
    return ["192.%d.%d.%d" % (dc, i >> 8 & 255, i & 255) for dc in (1, 2, 3)]


def lines(form):
    """One line, or several, for each name: form is given its number and its addresses."""
    return "".join(form(i, *addresses(i)) + "\n" for i in range(NAMES))


def zone(name, body):
    return ("$ORIGIN %s.\n$TTL 60\n@ IN SOA ns1 hostmaster 1 7200 3600 1209600 60\n@ IN NS ns1\nns1 IN A 127.0.78.1\n"
            % name + body)


STATIC = lines(lambda i, a, b, c: "h%d IN A %s\nh%d IN A %s\nh%d IN A %s" % (i, a, i, b, i, c))


def gdnsd(write):
    weighted = lines(lambda i, a, b, c: "  r%d => { a => [ %s, 5 ], b => [ %s, 3 ], c => [ %s, 2 ] }" % (i, a, b, c))
    resources = lines(lambda i, a, b, c: "   g%d => { map => m1, service_types => up, "
                      "dcmap => { dc1 => %s, dc2 => %s, dc3 => %s } }" % (i, a, b, c))
    nets = ", ".join("%d.0.0.0/8 => [ dc%d, dc%d ]" % (a, a % 3 + 1, (a + 1) % 3 + 1)
                     for a in range(1, 224) if a != 127)
    write("gdnsd/zones/gslb.test", zone("gslb.test", STATIC))
    write("gdnsd/zones/gslw.test", zone("gslw.test", lines(lambda i, *_: "h%d DYNA weighted!r%d" % (i, i))))
    write("gdnsd/zones/gslg.test", zone("gslg.test", lines(lambda i, *_: "h%d DYNA geoip!g%d" % (i, i))))
    write("gdnsd/run/.keep", "")
    write("gdnsd/state/.keep", "")
    write("gdnsd/config", """options => {
 run_dir => @DIR@/gdnsd/run
 state_dir => @DIR@/gdnsd/state
 listen => 127.0.78.12
 dns_port => 5402
 udp_threads => 1
 tcp_threads => 1
 edns_client_subnet => true
}
plugins => {
 weighted => {
  service_types => up
  multi => false
%s }
 geoip => {
  maps => { m1 => { datacenters => [dc1, dc2, dc3], nets => { 127.0.0.0/8 => [dc1, dc2], %s } } }
  resources => {
%s  }
 }
}
""" % (weighted, nets, resources))


def knot(write):
    def weighted(i, *addrs):
        return "h%d.gslw.test:\n" % i + "\n".join("  - weight: %d\n    A: %s" % wa for wa in zip(WEIGHTS, addrs))

    def geo(i, *addrs):
        return "h%d.gslg.test:\n" % i + "\n".join("  - net: %d.0.0.0/3\n    A: %s" % (b * 32, addrs[b % 3])
                                                  for b in range(8))

    write("knot/weighted.conf", lines(weighted))
    write("knot/geo.conf", lines(geo))
    for name in ("gslb.test", "gslw.test", "gslg.test"):
        write("knot/zones/%s.zone" % name, zone(name, STATIC))
    write("knot/db/.keep", "")
    write("knot/run/.keep", "")
    write("knot/knot.conf", """server:
    rundir: "@DIR@/knot/run"
    listen: [ 127.0.78.13@5403 ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
database:
    storage: "@DIR@/knot/db"
log:
  - target: stderr
    any: warning
mod-geoip:
  - id: w
    config-file: @DIR@/knot/weighted.conf
    ttl: 60
    mode: weighted
  - id: g
    config-file: @DIR@/knot/geo.conf
    ttl: 60
    mode: subnet
template:
  - id: default
    storage: "@DIR@/knot/zones"
    semantic-checks: off
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: gslb.test
    file: gslb.test.zone
  - domain: gslw.test
    file: gslw.test.zone
    module: mod-geoip/w
  - domain: gslg.test
    file: gslg.test.zone
    module: mod-geoip/g
""")


def nsd(write):
    write("nsd/nsd.conf", """server:
    server-count: 1
    ip-address: 127.0.78.14@5404
    port: 5404
    database: ""
    zonesdir: "@DIR@/zones"
    username: ""
    chroot: ""
    pidfile: "@DIR@/nsd/nsd.pid"
    xfrdfile: "@DIR@/nsd/xfrd.state"
    zonelistfile: "@DIR@/nsd/zone.list"
    xfrdir: "@DIR@/nsd"
    logfile: "@DIR@/nsd/nsd.log"
    verbosity: 0
    log-only-syslog: no
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    minimal-responses: yes
    refuse-any: no
    reuseport: no
remote-control:
    control-enable: no
zone:
    name: gslb.test
    zonefile: gslb.test.zone
""")


def powerdns(write):
    def lua(i, a, b, c):
        return "h%d IN LUA A \"pickwrandom({ {5,'%s'}, {3,'%s'}, {2,'%s'} })\"" % (i, a, b, c)

    write("pdns/gslw.test.zone", zone("gslw.test", lines(lua)))
    write("pdns/bind.conf", """zone "gslb.test" { type master; file "@DIR@/zones/gslb.test.zone"; };
zone "gslw.test" { type master; file "@DIR@/pdns/gslw.test.zone"; };
""")
    write("pdns/pdns.conf", """daemon=no
guardian=no
launch=bind
bind-config=@DIR@/pdns/bind.conf
local-address=127.0.78.15
local-port=5405
receiver-threads=1
distributor-threads=1
enable-lua-records=shared
edns-subnet-processing=no
loglevel=3
log-dns-queries=no
socket-dir=@DIR@/pdns
version-string=anonymous
security-poll-suffix=
setuid=
setgid=
""")


def bind(write):
    # It listens on addresses that interfaces have, and lo has just this one.
    write("bind/named.conf", """options {
  directory "@DIR@/bind"; listen-on port 5416 { 127.0.0.1; }; listen-on-v6 { none; };
  pid-file "@DIR@/bind/named.pid"; session-keyfile "@DIR@/bind/session.key"; managed-keys-directory "@DIR@/bind";
  recursion no; allow-transfer { none; }; minimal-responses yes; querylog no; notify no; dnssec-validation no;
};
controls { };
logging { channel c { file "@DIR@/bind/named.log"; severity warning; }; category default { c; }; };
zone "gslb.test" { type primary; file "@DIR@/zones/gslb.test.zone"; };
""")


def coredns(write):
    write("coredns/Corefile", """gslb.test:5407 {
  bind 127.0.78.17
  file @DIR@/zones/gslb.test.zone
  loadbalance
}
gslb.test:5408 {
  bind 127.0.78.17
  cache
  file @DIR@/zones/gslb.test.zone
  loadbalance
}
""")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = os.path.abspath(sys.argv[1])

    def write(path, text):
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text.replace("@DIR@", root))

    write("zones/gslb.test.zone", zone("gslb.test", STATIC))
    for server in (gdnsd, knot, nsd, powerdns, bind, coredns):
        server(write)


if __name__ == "__main__":
    main()
