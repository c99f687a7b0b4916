#!/usr/bin/env bash
# `make bench`: figures beside peers, as ratios of one run.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
scripts/need.sh bench
cargo build --release --locked -p nephos
benches/objects/run.sh "${CARGO_TARGET_DIR:-target}/release/nephos" "$@"
cargo bench --locked -q -p identity
