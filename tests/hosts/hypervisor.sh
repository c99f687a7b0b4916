#!/usr/bin/env bash
# Runs the tests of the hypervisor crate on a temporary libvirt host. Must run as root; takes minutes.
#   hypervisor.sh [ARGUMENT…]   arguments for the test programs, as in `hypervisor.sh libvirt_host --nocapture`
# NEPHOS_TEST_GUEST is a guest built by guest/build.sh; by default one is built in target/guest.
set -euo pipefail
# The tests also call ip and virsh.
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin

repo=$(cd "$(dirname "$0")/../.." && pwd)
host=nhv$$
# A short path, since sockets are created below it.
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
# Emulation works on every machine; the test of accel=auto selects that itself.
export NEPHOS_TEST_GUEST NEPHOS_TEST_NAMESPACE=$host NEPHOS_TEST_LIBVIRT="$uri&accel=tcg&pool=$dir/pool"
cargo test --locked -p hypervisor -- --test-threads=1 "$@"
