#!/usr/bin/env bash
# `make test-oracle`: Nephos beside Swift, and its identity v3 beside Keystone, under the same generated requests.
#   scripts/oracle.sh [compare.py's words…], such as --sequences 100 --seed 7 --all
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh oracle
cargo build --locked -p nephos
[ $# -gt 0 ] || set -- --sequences 3000
tests/oracle/suite.sh "$target/debug/nephos" "$target/oracle" "$@"
tests/oracle/identity.sh "$target/debug/nephos" "$target/oracle" --sequences 200
