#!/usr/bin/env bash
# Sends generated sequences of identity v3 requests to the built program and to a Keystone. Fails on any difference that
# identity.py does not allow.
#   identity.sh PROGRAM DIR [ARGUMENT…]   arguments for identity.py
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
mkdir -p "$2"
dir=$(realpath "$2")
shift 2
for name in $(compgen -e | grep -E '^(NEPHOS_|OS_)|_(proxy|PROXY)$'); do unset "$name"; done

pids=()
stop() {
  [ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
  wait
}
trap stop EXIT

"$here/keystone.sh" install "$dir/keystone"
ports=($(python3 -c '
import socket
taken = [socket.socket() for _ in range(2)]
for each in taken:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in taken))'))
"$here/keystone.sh" serve "$dir/keystone" "${ports[0]}" &
pids+=($!)
rm -rf "$dir/cloud"
mkdir -p "$dir/cloud"
NEPHOS_ADMIN_PASSWORD=secret "$program" serve --data-dir "$dir/cloud/data" --listen "127.0.0.1:${ports[1]}" --edge-listen off \
  --hypervisor simulated: >"$dir/cloud/ready" 2>"$dir/cloud/log" &
pids+=($!)
for url in "http://127.0.0.1:${ports[0]}/v3" "http://127.0.0.1:${ports[1]}/healthz"; do
  tries=0
  until curl -s -o /dev/null "$url"; do
    kill -0 "${pids[@]}" && [ $((tries += 1)) -lt 600 ] || { cat "$dir/cloud/log" >&2; exit 1; }
    sleep 0.1
  done
done
python3 -u "$here/identity.py" "http://127.0.0.1:${ports[0]}/v3" "http://127.0.0.1:${ports[1]}/v3" secret "$@"
