#!/usr/bin/env bash
# `make fuzz`: every target of Cloud Files' fuzz tests for CASES cases (20,000 unless given), from SEED (a new one each time).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH
export NEPHOS_FUZZ_CASES=${CASES:-20000} NEPHOS_FUZZ_SEED=${SEED:-$RANDOM$RANDOM}
echo "CASES=$NEPHOS_FUZZ_CASES SEED=$NEPHOS_FUZZ_SEED"
cargo test --locked --release -p files --test fuzz
