#!/usr/bin/env bash
# `make kills`: kills Nephos, libvirt and QEMU at every step of every operation on real machines and prints a table.
#   kills.sh [OPERATION[:STEP]…]   such as `kills.sh resize revert:after.start`. NEPHOS_KILLS_AT_ONCE (2): clouds in parallel
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh test
guest/build.sh "$target/guest"
cargo build --locked -p nephos -p tests
NEPHOS_BIN=$target/debug/nephos NEPHOS_TEST_GUEST=$target/guest exec "$target/debug/kills" "$@"
