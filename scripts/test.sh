#!/usr/bin/env bash
# `make test`: installs missing packages and runs every test. At the end it prints the minutes that each stage took.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
target=${CARGO_TARGET_DIR:-$PWD/target}
stages=()
began=$SECONDS
stage() {
  local name=$1 from=$SECONDS
  shift
  echo "== $name"
  "$@"
  stages+=("$(awk -v s=$((SECONDS - from)) -v n="$name" 'BEGIN { printf "%6.1f min  %s", s / 60, n }')")
}

postgres_dir=${TMPDIR:-/tmp}/nephos-test-postgres
stop() { tests/hosts/postgres.sh stop "$postgres_dir" 2>/dev/null || true; }
trap stop EXIT

# environment REQUIREMENTS DIRECTORY COMMAND...: creates an environment with third-party clients from their own packages,
# and recreates it when its requirements change.
environment() {
  local requirements=tests/clients/$1 home=$2 stamp
  shift 2
  stamp=$(sha256sum "$requirements" | cut -c1-16)
  if [ "$(cat "$home/.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$home"
    "$@" "$home"
    "$home/bin/python" -m pip install -q --disable-pip-version-check --no-warn-script-location -r "$requirements"
    echo "$stamp" >"$home/.stamp"
  fi
}

# Python 2 has no venv; virtualenv from PyPI creates the environment and installs pip.
environment_of_python2() {
  local python2
  python2=$(tests/clients/python2.sh)
  "$target/clients/bin/pip" install -q --disable-pip-version-check 'virtualenv<20.22'
  "$target/clients/bin/virtualenv" -q -p "$python2" "$1"
}

clients() {
  environment requirements.txt "$target/clients" python3 -m venv
  environment novaclient.txt "$target/clients/novaclient" python3 -m venv
  environment python2.txt "$target/clients/python2" environment_of_python2
}

stage "packages" scripts/need.sh test
stage "clients" clients
stage "guest image" guest/build.sh "$target/guest"
stage "build" cargo build --locked --workspace --bins --tests
NEPHOS_TEST_POSTGRES=$(tests/hosts/postgres.sh start "$postgres_dir")
export NEPHOS_TEST_POSTGRES
export NEPHOS_TEST_GUEST=$target/guest NEPHOS_TEST_CLIENTS=$target/clients NEPHOS_BIN=$target/debug/nephos
stage "unit and service tests" cargo test --locked --workspace --exclude tests --exclude hypervisor -- --quiet
stage "hypervisors" tests/hosts/hypervisor.sh
stage "Swift's own tests" tests/swift/suite.sh "$NEPHOS_BIN" "$target/swift"
stage "the cloud from outside" cargo test --locked -p tests -- --test-threads=2
printf '%s\n' "${stages[@]}"
awk -v s=$((SECONDS - began)) 'BEGIN { printf "%6.1f min  all\n", s / 60 }'
