#!/usr/bin/env bash
# Runs scripts/need.sh on fresh Debian 12 systems, each in a chroot: one with nothing but the base system, one on which
# installing a package removes another, and one whose qemu-utils comes from backports and does not fit the rest of QEMU.
# As root; downloads some 500 MB and takes minutes.
#   fresh.sh [run|test|oracle|bench|lint]   what need.sh is asked for; `run` without it
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
repo=$(cd "$(dirname "$0")/../.." && pwd)
wanted=${1:-run}
mirror=${NEPHOS_TEST_DEBIAN:-http://deb.debian.org/debian}
[ "$(id -u)" = 0 ] || { echo "fresh.sh: must run as root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "fresh.sh: debootstrap is missing: apt-get install debootstrap" >&2; exit 2; }

dir=$(mktemp -d /tmp/nephos-fresh.XXXXXX)
trap 'rm -rf "$dir"' EXIT

echo "== a fresh Debian 12"
debootstrap --variant=minbase --include=ca-certificates bookworm "$dir/base" "$mirror" >"$dir/log" 2>&1 ||
  { tail -n 20 "$dir/log" >&2; exit 1; }
# No service is started in a chroot.
printf '#!/bin/sh\nexit 101\n' >"$dir/base/usr/sbin/policy-rc.d"
chmod 755 "$dir/base/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$dir/base/etc/resolv.conf"
# need.sh does not install Rust, but checks for it.
ln -s /bin/true "$dir/base/usr/local/bin/cargo"
mkdir -p "$dir/base/repo/scripts"
cp "$repo/scripts/need.sh" "$dir/base/repo/scripts/"

# inside SYSTEM COMMAND...: in a mount namespace of its own, so that its /proc goes with it.
inside() {
  local system=$1
  shift
  unshare -m --propagation private bash -c '
    mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" env -i \
      PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"' \
    "$dir/$system" "$@"
}

# check SYSTEM: need.sh succeeds, and again without anything left to install.
check() {
  inside "$1" /repo/scripts/need.sh "$wanted"
  local again
  again=$(inside "$1" /repo/scripts/need.sh "$wanted")
  [ -z "$again" ] || { echo "fresh.sh: a second run says: $again" >&2; exit 1; }
  if [ "$wanted" = run ] || [ "$wanted" = test ] || [ "$wanted" = bench ]; then
    inside "$1" qemu-img --version
    inside "$1" qemu-system-x86_64 --version | head -n 1
  fi
}

cp -a "$dir/base" "$dir/mixed"
echo "== need.sh $wanted on the base system"
check base

echo "== need.sh $wanted where installing one package removes another"
inside base dpkg --remove --force-depends cpio >"$dir/log" 2>&1
cat >"$dir/base/usr/local/bin/apt-get" <<'END'
#!/bin/sh
# The first installation removes qemu-utils, as apt does with a package that conflicts with those it was asked for.
/usr/bin/apt-get "$@" || exit
case " $* " in
*" install "*) [ -e /removed ] || { touch /removed && dpkg --remove --force-depends qemu-utils; } ;;
esac
END
chmod 755 "$dir/base/usr/local/bin/apt-get"
check base
[ -e "$dir/base/removed" ] || { echo "fresh.sh: nothing was removed" >&2; exit 1; }
rm -rf "$dir/base"

echo "== need.sh $wanted beside qemu-utils from backports"
echo "deb $mirror bookworm-backports main" >>"$dir/mixed/etc/apt/sources.list"
inside mixed apt-get -q update >"$dir/log" 2>&1
inside mixed apt-get -q -y install --no-install-recommends qemu-utils/bookworm-backports >>"$dir/log" 2>&1 ||
  { tail -n 20 "$dir/log" >&2; exit 1; }
inside mixed qemu-img --version | head -n 1
check mixed
echo "both systems have all that need.sh $wanted promises"
