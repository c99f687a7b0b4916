#!/usr/bin/env bash
# `make bench`: measures Nephos and its peers and prints ratios within one run.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
scripts/need.sh bench
cargo build --release --locked -p nephos
target=${CARGO_TARGET_DIR:-$PWD/target}
guest/build.sh "$target/guest"
benches/objects/run.sh "$target/release/nephos" "$@"
benches/servers/api.sh "$target/release/nephos"
benches/servers/boot.sh "$target/release/nephos" "$target/guest"
cargo bench --locked -q -p identity
