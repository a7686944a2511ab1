#!/bin/bash
# install.sh: a compiler and the peers, from Debian, where they are missing; CoreDNS, which Debian does not have, into bin/.
set -eu
cd "$(dirname "$0")/../.."
COREDNS=v1.15.0
policy=/usr/sbin/policy-rc.d

# Debian starts what it installs, unless policy-rc.d forbids it.
install() {
	command -v apt-get >/dev/null || { echo "install these: $*" >&2; exit 1; }
	local sudo=() forbid="" status=0
	[ "$(id -u)" = 0 ] || sudo=(sudo)
	if [ ! -e $policy ]; then
		forbid=1
		printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
		"${sudo[@]}" chmod +x $policy
	fi
	"${sudo[@]}" apt-get update -q && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" || status=$?
	[ -z "$forbid" ] || "${sudo[@]}" rm -f $policy
	return $status
}

missing=()
while read -r command packages; do
	PATH=$PATH:/usr/sbin command -v "$command" >/dev/null || read -ra missing <<<"${missing[*]} $packages"
done <<'END'
gcc gcc libc6-dev
python3 python3
taskset util-linux
sysctl procps
gdnsd gdnsd
knotd knot
nsd nsd
named bind9
pdns_server pdns-server pdns-backend-bind
valgrind valgrind
END
compgen -G '/usr/lib/*/knot/modules-*/geoip.so' >/dev/null || missing+=(knot-module-geoip)
if [ ${#missing[@]} -gt 0 ]; then
	echo "installing ${missing[*]}"
	install "${missing[@]}"
fi
if [ ! -x bin/coredns ]; then
	echo "building CoreDNS $COREDNS"
	GOBIN=$PWD/bin ${GO:-go} install -trimpath "github.com/coredns/coredns@$COREDNS"
fi
