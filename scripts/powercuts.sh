#!/usr/bin/env bash
# `make powercuts`: simulates power cuts at a thousand moments of a recorded run.
#   NEPHOS_POWER_CUTS (1000), NEPHOS_POWER_CUT_SEED
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh test
cargo build --locked -p nephos
NEPHOS_POWER_CUTS=${NEPHOS_POWER_CUTS:-1000} NEPHOS_BIN=$target/debug/nephos \
  exec cargo test --locked -p tests --test powercut -- --nocapture
