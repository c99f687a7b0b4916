#!/usr/bin/env bash
# `make fuzz`: runs each of Cloud Files' fuzz targets for CASES cases (20,000 by default) with SEED (a new one by default).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH
export NEPHOS_FUZZ_CASES=${CASES:-20000} NEPHOS_FUZZ_SEED=${SEED:-$RANDOM$RANDOM}
echo "CASES=$NEPHOS_FUZZ_CASES SEED=$NEPHOS_FUZZ_SEED"
cargo test --locked --release -p files --test fuzz
