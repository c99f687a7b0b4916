#!/usr/bin/env bash
# Cloud Servers v1.0 over simulated hosts, beside Debian's nova-api (SQLite, no authentication, two workers) where both answer
# the same question, in one run on loopback, load generator included.   api.sh PROGRAM [SERVERS]
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
program=$1 many=${2:-100000}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/nephos-bench.XXXXXX")
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) nova_port=$(free_port)
server='' nova=''
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  # Its workers are in its session.
  [ -z "$nova" ] || pkill -s "$nova" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

row() { printf '%-54s %14s  %s\n' "$@"; }
over() { awk -v a="$1" -v b="$2" -v f="${3:-%.0f}" 'BEGIN { printf f, a / b }'; }
resident() { awk '/VmRSS/ { n += $2 } END { printf "%.0f", n / 1024 }' "${@/%//status}"; }

export NEPHOS_ADMIN_PASSWORD=bench NEPHOS_ADMIN_API_KEY=bench-bench-bench NEPHOS_CONFIG=$work/nephos.toml
# The log would be measured, too; the default pools have no room for so many.
cat >"$NEPHOS_CONFIG" <<END
[log]
level = "warn"
[servers]
rate_limits = "off"
[networks.public]
cidr = "100.64.0.0/12"
[networks.private]
cidr = "10.160.0.0/12"
END
url=http://127.0.0.1:$port
# start HOSTS: a cloud with so many simulated hosts that answer at once
start() {
  began=$EPOCHREALTIME
  : >"$work/ready"
  "$program" serve --data-dir "$work/data" --listen "127.0.0.1:$port" --edge-listen off --hypervisor "simulated:?delay=0&hosts=$1" \
    >"$work/ready" 2>"$work/log" &
  server=$!
  until grep -q ^ready "$work/ready"; do kill -0 "$server" || { cat "$work/log" >&2; exit 1; }; done
  took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.0f ms", (b - a) * 1000 }')
  head=$(curl -si -H "X-Auth-User: admin" -H "X-Auth-Key: bench-bench-bench" "$url/v1.0" | tr -d '\r')
  BENCH_TOKEN=$(sed -n 's/^X-Auth-Token: //Ip' <<<"$head")
  base=$(sed -n 's/^X-Server-Management-Url: //Ip' <<<"$head")
}
stop() { kill -TERM "$server"; wait "$server" || true; server=''; }
export BENCH_TOKEN BENCH_PATH BENCH_METHOD BENCH_BODY BENCH_COUNT

# load URL PATH CONNECTIONS SECONDS → "per-second p50 p99 requests"
load() {
  BENCH_PATH=$2 wrk -t1 -c"$3" -d"$4"s --timeout 60s -s "$here/request.lua" "$1" >"$work/wrk" || true
  awk '/^result/ { if ($6 > 0) { print "errors: " $0 > "/dev/stderr"; exit 1 }
                   printf "%.0f %.2f %.2f %d\n", $2 / ($3 / 1e6), $4, $5, $2 }' "$work/wrk"
}

start 1
quiet=$(resident "/proc/$server")
"$program" tenant limits admin --set ram-mib=1000000000 --data-dir "$work/data" >/dev/null
tail=${base#"$url"}

# --- beside nova-api
cat >"$work/nova.conf" <<END
[DEFAULT]
enabled_apis = osapi_compute
osapi_compute_listen = 127.0.0.1
osapi_compute_listen_port = $nova_port
osapi_compute_workers = 2
state_path = $work/nova
transport_url = fake:/
log_file = $work/nova.log
[api]
auth_strategy = noauth2
[database]
connection = sqlite:///$work/nova.sqlite
[api_database]
connection = sqlite:///$work/nova-api.sqlite
[oslo_concurrency]
lock_path = $work/nova
END
mkdir -p "$work/nova"
manage() { nova-manage --config-file "$work/nova.conf" "$@" >>"$work/nova.out" 2>&1 || { tail -20 "$work/nova.out" >&2; exit 1; }; }
manage api_db sync
manage cell_v2 map_cell0 --database_connection "sqlite:///$work/nova-cell0.sqlite"
manage db sync
manage cell_v2 create_cell --name cell1 --transport-url fake:/ --database_connection "sqlite:///$work/nova.sqlite"
setsid nova-api --config-file "$work/nova.conf" >>"$work/nova.out" 2>&1 &
nova=$!
nova_url=http://127.0.0.1:$nova_port/v2.1 nova_token=admin:admin
until curl -sf -o /dev/null -H "X-Auth-Token: $nova_token" "$nova_url/flavors"; do
  kill -0 "$nova" || { tail -20 "$work/nova.out" "$work/nova.log" >&2; exit 1; }
done
for id in 1 2 3 4 5 6 7; do
  curl -sf -o /dev/null -H "X-Auth-Token: $nova_token" -H 'Content-Type: application/json' "$nova_url/flavors" \
    -d "{\"flavor\": {\"id\": \"$id\", \"name\": \"f$id\", \"ram\": 256, \"disk\": 10, \"vcpus\": 1}}"
done
for pair in flavors/detail limits servers/detail; do
  read -r ours p50 p99 _ < <(load "$url" "$tail/$pair" 8 6)
  read -r theirs n50 n99 _ < <(BENCH_TOKEN=$nova_token load "http://127.0.0.1:$nova_port" "/v2.1/$pair" 8 10)
  row "GET /$pair, 8 connections" "$ours/s" "p50 $p50 ms, p99 $p99 ms; nova-api $theirs/s, p50 $n50 ms, p99 $n99 ms: $(over "$ours" "$theirs") x"
done
mapfile -t workers < <(pgrep -s "$nova" | sed 's|^|/proc/|')
row "memory when idle" "$quiet MB" "nova-api: $(resident "${workers[@]}") MB in ${#workers[@]} processes"
pkill -s "$nova"; nova=''
stop; rm -rf "$work/data"

# --- many at once, over many hosts
start 1000
"$program" tenant limits admin --set ram-mib=1000000000 --data-dir "$work/data" >/dev/null
idle=$(resident "/proc/$server")
read -r accepted active hosts most < <(python3 "$here/burst.py" "$base" "$BENCH_TOKEN" 1000)
row "1,000 creates at once over 1,000 hosts" "$accepted s" "all ACTIVE after $active s, on $hosts hosts, at most $most on one"

# --- at 1,000 servers and at many
create() {
  read -r rate p50 p99 made < <(BENCH_METHOD=POST BENCH_BODY='{"server": {"name": "many", "imageId": 1, "flavorId": 1}}' load "$url" "$tail/servers" "$1" "$2")
}
settled() { until [ "$(curl -sf -H "X-Auth-Token: $BENCH_TOKEN" "$base/servers/$1" | grep -o ACTIVE)" = ACTIVE ]; do :; done; }
measure() {
  read -r rate p50 p99 _ < <(BENCH_COUNT=$1 load "$url" "$tail/servers/ID" 8 5)
  row "GET /servers/id, $1 servers" "$rate/s" "p50 $p50 ms, p99 $p99 ms"
  read -r rate p50 p99 _ < <(load "$url" "$tail/servers/detail?limit=100" 8 5)
  row "GET /servers/detail?limit=100, $1 servers" "$rate/s" "p50 $p50 ms, p99 $p99 ms"
  read -r rate p50 p99 _ < <(load "$url" "$tail/servers/detail?limit=100&offset=$(($1 - 100))" 8 5)
  row "  its last page" "$rate/s" "p50 $p50 ms, p99 $p99 ms"
  read -r rate p50 p99 _ < <(load "$url" "$tail/servers/detail" 8 5)
  row "GET /servers/detail (1,000 a page), $1 servers" "$rate/s" "p50 $p50 ms, p99 $p99 ms"
}
measure 1000
create 8 4
row "  POST /servers there, 8 connections, builds meanwhile" "$rate/s" "p50 $p50 ms, p99 $p99 ms"
servers=$((1000 + made))
while [ "$servers" -lt "$many" ]; do
  create 8 15
  servers=$((servers + made))
  filling=$rate
done
settled "$((servers - 20))"
row "  the same when filling up to $servers" "${filling:-$rate}/s" ""
measure "$servers"
stop; start 1000
row "start to ready, $servers servers" "$took" ""
settled "$((servers - 20))"
row "memory when idle, $servers servers on 1,000 hosts" "$(resident "/proc/$server") MB" "$idle MB without servers: $(awk -v a="$(resident "/proc/$server")" -v b="$idle" -v n="$servers" 'BEGIN { printf "%.2f", (a - b) / n * 1000 }') MB per 1,000, their simulated machines included"
