#!/usr/bin/env python3
"""manifest.py [--names N] [--pools N] [--geo]: writes the registry that is measured, as a manifest, to standard output.

gslb.test  h0, h1, …: three A records each, 192.1.x.y, 192.2.x.y and 192.3.x.y, x.y being the name's number
gslw.test  the same three as a pool, one of them by weight 5, 3, 2
gslg.test  the same three as a pool (--geo), one of them by the client's network: a.0.0.0/8 is sent to dc(a mod 3 + 1)

Names of gslw.test and gslg.test share the pools (as many as names unless said), number modulo pools.
"""
import argparse
import json

WEIGHTS = (5, 3, 2)
DCS = (1, 2, 3)


def addresses(i):
    return ["192.%d.%d.%d" % (dc, i >> 8 & 255, i & 255) for dc in DCS]


def zone(keys, name):
    keys["zone/%s/soa" % name] = {"ns": ["ns1.%s." % name], "ttl": 60, "negative_ttl": 60}
    keys["zone/%s/name/ns1/A" % name] = "127.0.77.1"


def static(keys, names):
    zone(keys, "gslb.test")
    for i in range(names):
        keys["zone/gslb.test/name/h%d/A" % i] = "$TTL 60\n" + "\n".join(addresses(i))


def steered(keys, name, prefix, names, pools):
    zone(keys, name)
    for i in range(names):
        keys["zone/%s/name/h%d/steer" % (name, i)] = {"pool": "%s%d" % (prefix, i % pools), "types": ["A"], "ttl": 60}


def weighted(keys, names, pools):
    for i in range(pools):
        for dc, addr, weight in zip(DCS, addresses(i), WEIGHTS):
            keys["pool/w%d/member/dc%d" % (i, dc)] = {"addr": [addr], "weight": weight}
    steered(keys, "gslw.test", "w", names, pools)


def geo(keys, names, pools):
    nets = {"%d.0.0.0/8" % a: "dc%d" % (a % 3 + 1) for a in range(1, 224) if a != 127}
    keys["map/m1/nets"] = {"net": nets | {"127.0.0.0/8": "dc1"}}
    for i in range(pools):
        keys["pool/g%d/policy" % i] = {"policy": "geo"}
        for dc, addr in zip(DCS, addresses(i)):
            keys["pool/g%d/member/dc%d" % (i, dc)] = {"addr": [addr], "serves": ["map:m1/dc%d" % dc]}
    steered(keys, "gslg.test", "g", names, pools)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--names", type=int, default=1000)
    args.add_argument("--pools", type=int)
    args.add_argument("--geo", action="store_true")
    args = args.parse_args()
    pools = args.pools or args.names
    keys = {}
    static(keys, args.names)
    weighted(keys, args.names, pools)
    if args.geo:
        geo(keys, args.names, pools)
    print("{\n" + ",\n".join("%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in keys.items()) + "\n}")


if __name__ == "__main__":
    main()
