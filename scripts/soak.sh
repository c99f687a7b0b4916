#!/usr/bin/env bash
# `make soak`: kill -9 at random moments under 32 clients; afterwards every acknowledged write must be there.
#   NEPHOS_SOAK_ROUNDS (500), NEPHOS_SOAK_SEED, NEPHOS_SOAK_DATABASE (sqlite:)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh test
cargo build --locked -p nephos -p tests --bins
NEPHOS_BIN=$target/debug/nephos exec "$target/debug/soak"
