#!/usr/bin/env bash
# Sends thousands of generated sequences of requests to the built program and to Swift. Fails on any difference that
# differences.py does not allow.
#   suite.sh PROGRAM DIR [ARGUMENT…]   arguments for compare.py
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
mkdir -p "$2"
dir=$(realpath "$2")
shift 2
for name in $(compgen -e | grep -E '^(NEPHOS_|OS_|ST_|SWIFT_)|_(proxy|PROXY)$'); do unset "$name"; done
export ORACLE_TENANT=100002 ORACLE_OTHER=100003

nephos=
stop() {
  "$here/swift.sh" down "$dir/swift"
  [ -z "$nephos" ] || { kill -TERM "$nephos" 2>/dev/null && wait "$nephos"; } || true
}
trap stop EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export ORACLE_BESIDE=http://127.0.0.1:$port
swift=$("$here/swift.sh" up "$dir/swift")
rm -rf "$dir/cloud"
mkdir -p "$dir/cloud"
printf '%s\n' '[files.container_sync]' 'interval = 1' '[files.container_sync.realms.both]' "key = 'of both'" \
  "clusters = { swift = '$swift/v1/', nephos = '$ORACLE_BESIDE/v1/' }" >"$dir/cloud/nephos.toml"
"$program" serve --data-dir "$dir/cloud/data" --listen "127.0.0.1:$port" --edge-listen off --hypervisor simulated: \
  --config "$dir/cloud/nephos.toml" >"$dir/cloud/ready" 2>"$dir/cloud/log" &
nephos=$!
tries=0
until grep -q '^ready ' "$dir/cloud/ready"; do
  kill -0 "$nephos" 2>/dev/null && [ $((tries += 1)) -lt 600 ] || { cat "$dir/cloud/log" >&2; exit 1; }
  sleep 0.1
done
admin=("$program" --data-dir "$dir/cloud/data")
"${admin[@]}" tenant create tester >/dev/null
"${admin[@]}" tenant create other >/dev/null
user() { "${admin[@]}" user create "$1" --tenant "$2" --password "$1-secret" --role "$3" >/dev/null; }
user tester "$ORACLE_TENANT" admin
user other "$ORACLE_OTHER" admin
user guest "$ORACLE_OTHER" none
python3 "$here/alike.py" "$swift" "$ORACLE_BESIDE" "$ORACLE_TENANT" "$ORACLE_OTHER" "$here/swift.sh" "$dir/swift"
python3 "$here/compare.py" "$swift" "$ORACLE_BESIDE" "$ORACLE_TENANT" "$ORACLE_OTHER" "$@"
