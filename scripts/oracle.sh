#!/usr/bin/env bash
# `make test-oracle`: sends the same generated requests to Nephos and to Swift, and to Nephos's identity v3 and Keystone.
#   scripts/oracle.sh [ARGUMENT…]   arguments of compare.py, such as --sequences 100 --seed 7 --all
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh oracle
cargo build --locked -p nephos
[ $# -gt 0 ] || set -- --sequences 3000
tests/oracle/suite.sh "$target/debug/nephos" "$target/oracle" "$@"
tests/oracle/identity.sh "$target/debug/nephos" "$target/oracle" --sequences 200
