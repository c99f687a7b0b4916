#!/usr/bin/env bash
# A private PostgreSQL server for the tests, on a unix socket and a free loopback port.
#   postgres.sh start DIR [tls]   prints its URL; with tls, the server has a certificate for localhost, issued by DIR/ca.pem
#   postgres.sh stop DIR
set -euo pipefail
verb=$1 dir=$2 tls=${3:-}
bin=$(dirname "$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)")
[ -x "$bin/initdb" ] || { echo "postgres.sh: no initdb: apt-get install postgresql" >&2; exit 2; }

# The server refuses to run as root, so root runs it as an unprivileged user.
as_owner() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=nobody --regid=nogroup --clear-groups --reset-env -- env LC_ALL=C PATH="$PATH" "$@"
  else
    env LC_ALL=C "$@"
  fi
}

# Creates a certificate for localhost, and the CA that issues it.
certify() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=test authority" \
    -keyout "$dir/ca.key" -out "$dir/ca.pem"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
    -keyout "$dir/server.key" -out "$dir/server.csr"
  openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "subjectAltName=DNS:localhost") -out "$dir/server.pem"
  chmod 600 "$dir/server.key"
  [ "$(id -u)" != 0 ] || chown nobody:nogroup "$dir/server.key" "$dir/server.pem"
}

case $verb in
start)
  if [ ! -s "$dir/data/PG_VERSION" ]; then
    mkdir -p "$dir"
    [ "$(id -u)" != 0 ] || chown nobody:nogroup "$dir"
    as_owner "$bin/initdb" -D "$dir/data" -U nephos -A trust --no-instructions >"$dir.log" 2>&1 ||
      { cat "$dir.log" >&2; exit 1; }
  fi
  if [ ! -s "$dir/port" ] || ! as_owner "$bin/pg_ctl" -D "$dir/data" status >/dev/null 2>&1; then
    port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$dir -c fsync=off"
    if [ "$tls" = tls ]; then
      certify >>"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
      options+=" -c ssl=on -c ssl_cert_file=$dir/server.pem -c ssl_key_file=$dir/server.key"
    fi
    as_owner "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/server.log" -o "$options" \
      start >/dev/null
    echo "$port" >"$dir/port"
  fi
  echo "postgres://nephos@127.0.0.1:$(cat "$dir/port")/postgres"
  ;;
stop)
  as_owner "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
  ;;
*)
  echo "usage: postgres.sh start|stop DIR [tls]" >&2
  exit 2
  ;;
esac
