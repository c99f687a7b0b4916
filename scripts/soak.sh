#!/usr/bin/env bash
# `make soak`: kills the program at random moments with 32 clients; no acknowledged write may be lost.
#   NEPHOS_SOAK_ROUNDS (500), NEPHOS_SOAK_SEED, NEPHOS_SOAK_DATABASE (sqlite:)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh test
cargo build --locked -p nephos -p tests --bins
NEPHOS_BIN=$target/debug/nephos exec "$target/debug/soak"
