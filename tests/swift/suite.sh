#!/usr/bin/env bash
# Runs the functional tests from Swift's source distribution, including those for Keystone and, in a browser, those for
# CORS, against the built program. Fails on any failure or error, and if fewer tests pass than tests/swift/passes says.
#   suite.sh PROGRAM DIR [ARGUMENT…]     DIR keeps the source, its environment and the logs
# With arguments for pytest, such as -k slo, runs only the selected tests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
mkdir -p "$2"
dir=$(realpath "$2")
shift 2
workers=4

# Variables of the caller would override what the clouds are configured with here.
for name in $(compgen -e | grep -E '^(NEPHOS_|OS_|ST_|SWIFT_)|_(proxy|PROXY)$'); do unset "$name"; done

stamp=$(cat "$here/requirements.txt" "$here/source.txt" | sha256sum | cut -c1-16)
if [ "$(cat "$dir/.stamp" 2>/dev/null)" != "$stamp" ]; then
  rm -rf "$dir/venv" "$dir/source"
  mkdir -p "$dir/source"
  python3 -m venv "$dir/venv"
  pip=("$dir/venv/bin/pip" -q --disable-pip-version-check)
  "${pip[@]}" install -r "$here/requirements.txt"
  "${pip[@]}" download --no-deps --no-binary swift --no-build-isolation -d "$dir/source" -r "$here/source.txt"
  tar -xzf "$dir"/source/swift-*.tar.gz -C "$dir/source" --strip-components 1
  echo "$stamp" >"$dir/.stamp"
fi

pids=()
stop() {
  [ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
  wait
}
trap stop EXIT

# Starts a cloud with the accounts and users of Swift's sample configuration.
cloud() {
  local cloud=$1 port=$2 log=$1/log
  rm -rf "$cloud"
  mkdir -p "$cloud"
  : >"$cloud/ready"
  "$program" serve --config "$here/nephos.toml" --data-dir "$cloud/data" --listen "127.0.0.1:$port" --edge-listen off \
    --hypervisor simulated: >"$cloud/ready" 2>"$log" &
  pids+=($!)
  local tries=0
  until grep -q '^ready ' "$cloud/ready"; do
    kill -0 "${pids[-1]}" 2>/dev/null && [ $((tries += 1)) -lt 600 ] || { cat "$log" >&2; return 1; }
    sleep 0.1
  done
  local admin=("$program" --data-dir "$cloud/data")
  for tenant in test test2 test5; do
    "${admin[@]}" tenant create "$tenant" >/dev/null
  done
  user() {
    "${admin[@]}" user create "$1" --tenant "$2" --password "$1-secret" --api-key "$1-secret" --role "$3" >/dev/null
  }
  user tester test admin
  user tester2 test2 admin
  user tester3 test none
  user tester5 test5 service
  user tester6 test admin
  "${admin[@]}" role grant operator --user tester6 >/dev/null
  cat >"$cloud/test.conf" <<CONF
[func_test]
auth_uri = http://127.0.0.1:$port/auth/v1.0
account = test
username = tester
password = tester-secret
account2 = test2
username2 = tester2
password2 = tester2-secret
username3 = tester3
password3 = tester3-secret
account5 = test5
username5 = tester5
password5 = tester5-secret
service_prefix = SERVICE
account6 = test
username6 = tester6
password6 = tester6-secret
collate = C
storage_domain = example.com
CONF
}

export NEPHOS_SWIFT_CLOUDS=$dir/clouds
ports=($(python3 - "$((workers + 1))" <<'PYTHON'
import socket, sys
taken = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in taken:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in taken))
PYTHON
))
for ((n = 0; n < workers; n++)); do
  cloud "$NEPHOS_SWIFT_CLOUDS/gw$n" "${ports[n]}"
done
cd "$dir/source"
tests=("$dir/venv/bin/python" -m pytest -q -o addopts= -p no:cacheprovider --timeout=120 -rs)

functional() {
  PYTHONPATH=$here "${tests[@]}" -p workers -o python_files='test_*.py tests.py' --ignore test/functional/s3api \
    -n "$workers" --dist loadscope test/functional "$@" >"$dir/functional.log" 2>&1
}

# Tests that Swift's own all-in-one installation skips, since it has no Keystone: the roles and names of v3.
keystone() {
  local cloud=$NEPHOS_SWIFT_CLOUDS/gw1
  (
    # shellcheck source=/dev/null
    . "$cloud/data/openrc"
    "$dir/venv/bin/python" "$here/keystone.py"
  ) >"$dir/keystone.log" 2>&1 || return 1
  sed "s,^auth_uri = .*,auth_uri = http://127.0.0.1:${ports[1]}/identity/v3/\nauth_version = 3," "$cloud/test.conf" >"$cloud/v3.conf"
  printf '%s\n' 'account4 = test4' 'username4 = tester4' 'password4 = tester4-secret' 'domain4 = test-domain' >>"$cloud/v3.conf"
  local chosen
  mapfile -t chosen <"$here/keystone.txt"
  SWIFT_TEST_CONFIG_FILE=$cloud/v3.conf "${tests[@]}" -W ignore "${chosen[@]}" >"$dir/keystone.log" 2>&1
}

# Tests in a browser, with pages of another origin: localhost is another origin than 127.0.0.1. Leaves out the tests of the
# S3 dialect, which Nephos does not have. Returns pytest's exit codes.
cors() {
  rm -f "$dir/cors.tap"
  ST_AUTH=http://127.0.0.1:${ports[0]}/auth/v1.0 ST_USER=test:tester ST_KEY=tester-secret \
    timeout 300 "$dir/venv/bin/python" "$here/cors.py" "$dir/source/test/cors/main.py" -P "${ports[workers]}" \
    -o "$dir/cors.tap" chrome >"$dir/cors.log" 2>&1 || true # Its exit code counts failures, including those of S3.
  [ -s "$dir/cors.tap" ] || return 1
  awk '/^(not )?ok / { failed = /^not ok/ && !/s3 obj/; failures += failed; passes += /^ok/ && !/s3 obj/ && !/# skip/ }
    failed { print "FAILED " $0 }
    END { print passes " passed, " failures + 0 " failed"; exit failures > 0 }' "$dir/cors.tap" >>"$dir/cors.log"
}

outcome=0
# Reports a run: its summary line, its failures, and whether as many tests passed as are recorded.
conclude() {
  local name=$1 status=$2 closing passed least
  closing=$(tail -n 1 "$dir/$name.log")
  if [ "$status" != 0 ]; then
    outcome=1
    grep -E '^(FAILED|ERROR) ' "$dir/$name.log" || tail -n 40 "$dir/$name.log"
  fi
  echo "Swift's tests, $name: $closing (see $dir/$name.log)"
  passed=$(grep -oE '[0-9]+ passed' <<<"$closing" | cut -d' ' -f1 || true)
  least=$(awk -v name="$name" '$1 == name { print $2 }' "$here/passes")
  if [ $# = 2 ] && [ "${passed:-0}" -lt "$least" ]; then
    outcome=1
    echo "suite.sh: $name: fewer than $least passed" >&2
  fi
}

status=0
functional "$@" || status=$?
if [ $# -gt 0 ]; then
  conclude functional $status chosen
  exit $outcome
fi
keystone &
keystone=$!
cors=0
cors || cors=$?
conclude functional $status
conclude cors $cors
status=0
wait $keystone || status=$?
conclude keystone $status
exit $outcome
