#!/usr/bin/env bash
# Cloud Files beside nginx serving the same files and `openssl md5` of the same bytes, in one run on loopback, load
# generator included. Ratios are what counts: machines differ.   run.sh PROGRAM [OBJECTS_IN_THE_LARGE_CONTAINER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$1 names=${2:-1000000}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/nephos-bench.XXXXXX")
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) nginx_port=$(free_port)
pids=()
finish() { kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

row() { printf '%-46s %14s  %s\n' "$@"; }
began=$EPOCHREALTIME
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'; }

export NEPHOS_ADMIN_PASSWORD=bench NEPHOS_ADMIN_API_KEY=bench-bench-bench
start() {
  began=$EPOCHREALTIME
  "$program" serve --data-dir "$work/data" --listen "127.0.0.1:$port" --edge-listen off --hypervisor simulated: \
    >"$work/ready" 2>"$work/log" &
  server=$!
  pids=("$server" "${pids[@]:1}")
  until grep -q ^ready "$work/ready"; do :; done
}
mkdir -p "$work/www"
cat >"$work/nginx.conf" <<END
worker_processes 2; pid $work/nginx.pid; error_log $work/nginx.log; daemon off; user root;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=10000;
  server { listen 127.0.0.1:$nginx_port; root $work/www; } }
END
# The log would be measured, too.
cat >"$work/nephos.toml" <<END
[log]
level = "warn"
END
export NEPHOS_CONFIG=$work/nephos.toml
start
nginx -c "$work/nginx.conf" -p "$work" &
pids+=($!)
url=http://127.0.0.1:$port
head=$(curl -si -H "X-Auth-User: admin" -H "X-Auth-Key: bench-bench-bench" "$url/v1.0" | tr -d '\r')
header() { sed -n "s/^$1: //Ip" <<<"$head"; }
BENCH_TOKEN=$(header X-Auth-Token)
account=$(header X-Storage-Url)
export BENCH_TOKEN BENCH_PATH BENCH_PREFIX BENCH_BYTES BENCH_COUNT
for container in small large many; do curl -sf -X PUT -H "X-Auth-Token: $BENCH_TOKEN" "$account/$container"; done

# wrk_run SCRIPT CONNECTIONS SECONDS URL → "per-second p50 p99 requests"
wrk_run() {
  wrk -t1 -c"$2" -d"$3"s -s "$here/$1" "$4" >"$work/wrk" || true
  awk '/^result/ { if ($6 > 0) { print "errors: " $0 > "/dev/stderr"; exit 1 }
                   printf "%.0f %.2f %.2f %d\n", $2 / ($3 / 1e6), $4, $5, $2 }' "$work/wrk"
}
cpu() { awk '{ print ($14 + $15) / 100 }' "/proc/$server/stat"; }

BENCH_PATH=/v1/${account##*/}/small BENCH_BYTES=4096 BENCH_PREFIX=a
before=$(cpu)
read -r puts p50 p99 stored < <(wrk_run put.lua 64 8 "$url")
row "durable PUT of 4 KiB, 64 connections" "$puts/s" "p50 $p50 ms, p99 $p99 ms, $(awk -v a="$before" -v b="$(cpu)" -v n="$stored" 'BEGIN { printf "%.0f", (b - a) / n * 1e6 }') us of server CPU each"
BENCH_PREFIX=b
read -r one p50 p99 _ < <(wrk_run put.lua 1 4 "$url")
row "durable PUT of 4 KiB, 1 connection" "$one/s" "p50 $p50 ms, p99 $p99 ms"

BENCH_PREFIX=a BENCH_COUNT=$((stored - 200)) # the last ones may not have been answered
before=$(cpu)
read -r gets p50 p99 n < <(wrk_run get.lua 64 6 "$url")
row "GET of 4 KiB, 64 connections" "$gets/s" "p50 $p50 ms, p99 $p99 ms, $(awk -v a="$before" -v b="$(cpu)" -v n="$n" 'BEGIN { printf "%.0f", (b - a) / n * 1e6 }') us of server CPU each"
head -c 4096 /dev/urandom >"$work/www/4k"
unset BENCH_PREFIX
BENCH_PATH=/4k
read -r nginx_gets _ _ _ < <(wrk_run get.lua 64 6 "http://127.0.0.1:$nginx_port")
row "  nginx, one static file" "$nginx_gets/s" "Nephos / nginx = $(awk -v a="$gets" -v b="$nginx_gets" 'BEGIN { printf "%.2f", a / b }')"

head -c $((256 << 20)) /dev/urandom >"$work/www/256m"
md5=$(for _ in 1 2 3; do t=$EPOCHREALTIME; openssl md5 "$work/www/256m" >/dev/null; since "$t"; echo; done | sort -n | head -n 1)
put=$(for _ in 1 2 3; do curl -sf -o /dev/null -w '%{time_total}\n' -T "$work/www/256m" -H "X-Auth-Token: $BENCH_TOKEN" "$account/large/256m"; done | sort -n | head -n 1)
row "PUT of 256 MiB" "$(awk -v s="$put" 'BEGIN { printf "%.0f MB/s", 268.435456 / s }')" "openssl md5 / PUT = $(awk -v a="$md5" -v b="$put" 'BEGIN { printf "%.2f", a / b }') (MD5 alone: $(awk -v s="$md5" 'BEGIN { printf "%.0f", 268.435456 / s }') MB/s)"
download() { for _ in 1 2 3 4 5; do curl -sf -o /dev/null -w '%{time_total}\n' "$@"; done | sort -n | head -n 1; }
get=$(download -H "X-Auth-Token: $BENCH_TOKEN" "$account/large/256m")
nginx_get=$(download "http://127.0.0.1:$nginx_port/256m")
row "GET of 256 MiB" "$(awk -v s="$get" 'BEGIN { printf "%.0f MB/s", 268.435456 / s }')" "Nephos / nginx = $(awk -v a="$nginx_get" -v b="$get" 'BEGIN { printf "%.2f", a / b }') (every block checked; nginx: $(awk -v s="$nginx_get" 'BEGIN { printf "%.0f", 268.435456 / s }') MB/s)"

BENCH_PATH=/v1/${account##*/}/many BENCH_BYTES=0
filled=0
while [ "$filled" -lt "$names" ]; do
  export BENCH_PREFIX="n$filled-"
  read -r _ _ _ more < <(wrk_run put.lua 64 20 "$url")
  filled=$((filled + more))
done
page() { for _ in 1 2 3 4 5 6 7; do curl -sf -o "$work/page" -w '%{time_total}\n' -H "X-Auth-Token: $BENCH_TOKEN" "$1"; done | sort -n | sed -n 4p; }
first=$(page "$account/many?format=json")
last=$(curl -sf -H "X-Auth-Token: $BENCH_TOKEN" "$account/many?reverse=true&limit=10000" | tail -n 1)
deep=$(page "$account/many?format=json&marker=$last")
row "10,000 names as JSON out of $filled" "$(awk -v s="$first" 'BEGIN { printf "%.1f ms", s * 1000 }')" "behind the last marker: $(awk -v s="$deep" 'BEGIN { printf "%.1f ms", s * 1000 }')"
subdir=$(page "$account/many?delimiter=-&format=json")
row "  the same by delimiter ($(grep -o subdir "$work/page" | wc -l) subdirectories)" "$(awk -v s="$subdir" 'BEGIN { printf "%.1f ms", s * 1000 }')" ""

kill -TERM "$server"; wait "$server" || true
start
row "start to ready, $filled objects" "$(since "$began") s" ""
until curl -sf "$url/healthz" >/dev/null; do :; done
row "memory when idle after start" "$(awk '/VmRSS/ { printf "%.0f MB", $2 / 1024 }' "/proc/$server/status")" "binary $(stat -c %s "$program" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
