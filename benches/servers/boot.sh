#!/usr/bin/env bash
# From POST to the guest answering on ssh, beside the same image, devices and network started by plain QEMU, in turns, in a
# network namespace of its own. All under TCG.   boot.sh PROGRAM GUEST_DIRECTORY [ROUNDS]
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
program=$1 guest=$(realpath "$2") rounds=${3:-3}
hosts=$here/../../tests/hosts/libvirtd.sh
# Short, since sockets are made below it.
work=$(mktemp -d /tmp/nb.XXXXXX)
space=nb$$
server='' plain=''
finish() {
  [ -z "$plain" ] || kill "$plain" 2>/dev/null || true
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  "$hosts" stop "$space" "$work/host" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
row() { printf '%-54s %14s  %s\n' "$@"; }
median() { sort -n | awk '{ a[NR] = $1 } END { printf "%.2f", a[int((NR + 1) / 2)] }'; }
cpu() { awk '{ printf "%.2f", ($14 + $15) / 100 }' "/proc/$1/stat"; }
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'; }
# Waits, within the namespace, until there is an ssh greeting; a guest that refuses is not kept from starting its server.
greets() {
  ip netns exec "$space" timeout 240 python3 -c '
import socket, sys, time
while True:
    try:
        with socket.create_connection((sys.argv[1], 22), 0.2) as s:
            s.settimeout(2)
            if s.recv(4) == b"SSH-": break
    except OSError: time.sleep(0.02)' "$1"
}

mkdir -p "$work/host"
uri=$("$hosts" start "$space" "$work/host")
pool=$work/host/pool
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export NEPHOS_ADMIN_PASSWORD=bench NEPHOS_ADMIN_API_KEY=bench-bench-bench NEPHOS_SERVERS_RATE_LIMITS=off
: >"$work/ready"
"$program" serve --data-dir "$work/data" --listen "127.0.0.1:$port" --edge-listen off --hypervisor "$uri&accel=tcg&pool=$pool" \
  >"$work/ready" 2>"$work/log" &
server=$!
until grep -q ^ready "$work/ready"; do kill -0 "$server" || { cat "$work/log" >&2; exit 1; }; done
"$program" image import "$guest/guest.qcow2" --format qcow2 --name tiny --kernel "$guest/vmlinuz" --initrd "$guest/initrd.gz" \
  --cmdline "$(cat "$guest/cmdline")" --data-dir "$work/data" >/dev/null
head=$(curl -si -H "X-Auth-User: admin" -H "X-Auth-Key: bench-bench-bench" "http://127.0.0.1:$port/v1.0" | tr -d '\r')
token=$(sed -n 's/^X-Auth-Token: //Ip' <<<"$head") base=$(sed -n 's/^X-Server-Management-Url: //Ip' <<<"$head")
call() { curl -sf -H "X-Auth-Token: $token" -H 'Content-Type: application/json' "$@"; }
field() { python3 -c 'import json, sys; v = json.load(sys.stdin)["server"]
for k in sys.argv[1:]: v = v[int(k) if k.isdigit() else k]
print(v)' "$@"; }
virsh() { command virsh -q -c "$uri" "$@"; }

# build → number, address, seconds, cpu of QEMU
build() {
  local began=$EPOCHREALTIME answer
  answer=$(call -X POST "$base/servers" -d '{"server": {"name": "bench", "imageId": 1, "flavorId": 1}}')
  number=$(field id <<<"$answer") address=$(field addresses public 0 <<<"$answer")
  greets "$address"
  seconds=$(since "$began")
  domain=$(virsh list --uuid | head -n 1)
  seconds_cpu=$(cpu "$(cat "$work/host/run/qemu/nephos-"*.pid)")
}
delete() {
  call -X DELETE "$base/servers/$number"
  while call -o /dev/null "$base/servers/$number"; do :; done
}

build # brings the image to the host
delete
for round in $(seq "$rounds"); do
  build
  echo "$seconds" >>"$work/ours"; echo "$seconds_cpu" >>"$work/ours.cpu"
  # The same machine by hand: its command line as libvirt would tell it, on a fresh layer over the same image.
  virsh dumpxml "$domain" >"$work/domain.xml"
  until [ "$(call "$base/servers/$number" | field status)" = ACTIVE ]; do :; done
  virsh destroy "$domain"
  python3 "$here/plain.py" "$work/domain.xml" "$work" >"$work/argv"
  . "$work/argv"
  began=$EPOCHREALTIME
  qemu-img create -q -f qcow2 -b "$backing" -F qcow2 "$work/plain.qcow2" "$size"
  for tap in "${taps[@]}"; do
    ip -n "$space" tuntap add "${tap%:*}" mode tap
    ip -n "$space" link set "${tap%:*}" master "${tap#*:}" up
  done
  ip netns exec "$space" "${argv[@]}" >"$work/plain.log" 2>&1 &
  plain=$!
  greets "$address"
  since "$began" >>"$work/plain"; echo >>"$work/plain"
  cpu "$plain" >>"$work/plain.cpu"; echo >>"$work/plain.cpu"
  kill "$plain"; wait "$plain" || true; plain=''
  for tap in "${taps[@]}"; do ip -n "$space" link del "${tap%:*}"; done
  rm -f "$work/plain.qcow2"
  delete
done
ours=$(median <"$work/ours") by_hand=$(median <"$work/plain")
ours_cpu=$(median <"$work/ours.cpu") by_hand_cpu=$(median <"$work/plain.cpu")
row "POST to ssh, median of $rounds" "$ours s" "plain QEMU $by_hand s: $(awk -v a="$ours" -v b="$by_hand" 'BEGIN { printf "%+.2f s, %.2f x", a - b, a / b }')"
row "  CPU of QEMU until then" "$ours_cpu s" "plain QEMU $by_hand_cpu s: $(awk -v a="$ours_cpu" -v b="$by_hand_cpu" 'BEGIN { printf "%.2f x", a / b }')"
