#!/usr/bin/env bash
# The tests of the hypervisor crate, on a libvirt host of their own that is gone afterwards. As root; takes minutes.
#   hypervisor.sh [ARGUMENT…]   arguments go to the test programs, as in `hypervisor.sh libvirt_host --nocapture`
# NEPHOS_TEST_GUEST is a guest that guest/build.sh has built; without it one is built in target/guest.
set -euo pipefail
# The tests call ip and virsh, too.
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin

repo=$(cd "$(dirname "$0")/../.." && pwd)
host=nhv$$
# Short, since sockets are made below it.
dir=$(mktemp -d /tmp/nhv.XXXXXX)
export NEPHOS_TEST_LIBVIRTD=$repo/tests/hosts/libvirtd.sh

cleanup() {
	"$NEPHOS_TEST_LIBVIRTD" stop "$host" "$dir" || true
	rm -rf "$dir"
}
trap cleanup EXIT

cd "$repo"
if [ -z "${NEPHOS_TEST_GUEST:-}" ]; then
	NEPHOS_TEST_GUEST=${CARGO_TARGET_DIR:-$repo/target}/guest
	guest/build.sh "$NEPHOS_TEST_GUEST"
fi
NEPHOS_TEST_GUEST=$(cd "$NEPHOS_TEST_GUEST" && pwd)
uri=$("$NEPHOS_TEST_LIBVIRTD" start "$host" "$dir")
# Emulation runs everywhere; the test of accel=auto asks for that itself.
export NEPHOS_TEST_GUEST NEPHOS_TEST_NAMESPACE=$host NEPHOS_TEST_LIBVIRT="$uri&accel=tcg&pool=$dir/pool"
cargo test --locked -p hypervisor -- --test-threads=1 "$@"
