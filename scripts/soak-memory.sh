#!/usr/bin/env bash
# `make soak-memory`: measures the memory of a release build with mixed clients.
# `make soak-sign-ins`: measures it after ten thousand sign-ins (NEPHOS_SOAK_SIGN_INS); at most 100 MiB are allowed.
#   NEPHOS_SOAK_MINUTES (60), NEPHOS_SOAK_MEMORY_MAX in MiB (150), NEPHOS_BIN: a program other than the release build
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/need.sh test
cargo build --locked -p tests --bins
if [ -z "${NEPHOS_BIN:-}" ]; then
  cargo build --locked --release -p nephos
  export NEPHOS_BIN=$target/release/nephos
fi
exec "$target/debug/soak-memory"
