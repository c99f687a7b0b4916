#!/usr/bin/env bash
# `make test-busy`: runs the tests of all crates while other processes use both cores.
#   NEPHOS_BUSY_RUNS (3): number of runs. NEPHOS_BUSY_BURNERS (2): number of processes that use the CPU
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
scripts/need.sh test
cargo test --locked --workspace --exclude tests --exclude hypervisor --no-run
dir=${TMPDIR:-/tmp}/nephos-busy-postgres
NEPHOS_TEST_POSTGRES=$(tests/hosts/postgres.sh start "$dir")
export NEPHOS_TEST_POSTGRES
burners=()
stop() {
  [ ${#burners[@]} -eq 0 ] || kill "${burners[@]}" 2>/dev/null || true
  tests/hosts/postgres.sh stop "$dir" 2>/dev/null || true
}
trap stop EXIT
for ((n = 0; n < ${NEPHOS_BUSY_BURNERS:-2}; n++)); do
  (while :; do :; done) &
  burners+=($!)
done
for ((run = 1; run <= ${NEPHOS_BUSY_RUNS:-3}; run++)); do
  began=$SECONDS
  cargo test --locked --workspace --exclude tests --exclude hypervisor -- --quiet
  echo "run $run on busy cores: green in $((SECONDS - began)) s"
done
