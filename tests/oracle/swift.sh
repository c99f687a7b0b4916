#!/usr/bin/env bash
# Swift with one disk, one replica and TempAuth, on loopback, for the comparison.
#   swift.sh up DIR      creates and starts it; prints its URL
#   swift.sh down DIR    stops what `up` started
#   swift.sh sync DIR    runs container sync once
# Its users are those of the cloud to compare with: tester of tenant $ORACLE_TENANT, other of $ORACLE_OTHER, guest (no role).
# Both are in one realm, in which that cloud is $ORACLE_BESIDE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
verb=$1
mkdir -p "$2"
dir=$(realpath "$2")
venv=$dir/venv

down() {
  local file
  for file in "$dir"/run/*.pid; do
    [ -e "$file" ] || continue
    kill -TERM -- "-$(cat "$file")" 2>/dev/null || true
    rm -f "$file"
  done
}

install() {
  command -v memcached >/dev/null || { echo "swift.sh: memcached is missing: apt-get install memcached" >&2; exit 2; }
  local stamp
  stamp=$(sha256sum "$here/requirements.txt" | cut -c1-16)
  [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  echo "$stamp" >"$venv/.stamp"
}

# background NAME COMMAND…: runs a command in its own process group, so that it is stopped with its workers.
background() {
  local name=$1
  shift
  setsid "$@" >"$dir/log/$name" 2>&1 </dev/null &
  echo $! >"$dir/run/$name.pid"
}

configure() {
  local proxy=$1 account=$2 container=$3 object=$4 cache=$5 kind port
  printf '%s\n' '[swift-hash]' 'swift_hash_path_prefix = a' 'swift_hash_path_suffix = b' '[storage-policy:0]' \
    'name = default' 'default = yes' '[storage-policy:1]' 'name = archive' >"$dir/etc/swift.conf"
  cat >"$dir/etc/proxy-server.conf" <<CONF
[DEFAULT]
swift_dir = $dir/etc
bind_ip = 127.0.0.1
bind_port = $proxy
workers = 0
user = $(id -un)
log_level = ERROR
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache hidden container_sync etag-quoter listing_formats bulk tempurl formpost shown tempauth hidden staticweb copy container-quotas account-quotas slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$cache
[filter:tempauth]
use = egg:swift#tempauth
user_${ORACLE_TENANT}_tester = tester-secret .admin
user_${ORACLE_OTHER}_other = other-secret .admin
user_${ORACLE_OTHER}_guest = guest-secret
[filter:hidden]
paste.filter_factory = cachehider:hidden
[filter:shown]
paste.filter_factory = cachehider:shown
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
CONF
  for kind in catch_errors gatekeeper healthcheck container_sync listing_formats bulk tempurl formpost staticweb copy slo dlo symlink; do
    printf '[filter:%s]\nuse = egg:swift#%s\n' "$kind" "$kind" >>"$dir/etc/proxy-server.conf"
  done
  for kind in container-quotas account-quotas etag-quoter; do
    printf '[filter:%s]\nuse = egg:swift#%s\n' "$kind" "${kind//-/_}" >>"$dir/etc/proxy-server.conf"
  done
  printf '%s\n' '[DEFAULT]' '[both]' 'key = of both' "cluster_swift = http://127.0.0.1:$proxy/v1/" \
    "cluster_nephos = $ORACLE_BESIDE/v1/" >"$dir/etc/container-sync-realms.conf"
  printf '%s\n' '[DEFAULT]' "swift_dir = $dir/etc" '[pipeline:main]' 'pipeline = catch_errors symlink proxy-server' \
    '[app:proxy-server]' 'use = egg:swift#proxy' 'account_autocreate = true' '[filter:catch_errors]' \
    'use = egg:swift#catch_errors' '[filter:symlink]' 'use = egg:swift#symlink' >"$dir/etc/internal-client.conf"
  for kind in account container object; do
    port=${!kind}
    cat >"$dir/etc/$kind-server.conf" <<CONF
[DEFAULT]
swift_dir = $dir/etc
devices = $dir/disks
mount_check = false
bind_ip = 127.0.0.1
bind_port = $port
workers = 0
user = $(id -un)
log_level = ERROR
[pipeline:main]
pipeline = $kind-server
[app:$kind-server]
use = egg:swift#$kind
[container-sync]
internal_client_conf_path = $dir/etc/internal-client.conf
CONF
  done
  for kind in account container object object-1; do
    port=${kind%-1}
    (
      cd "$dir/etc"
      "$venv/bin/swift-ring-builder" "$kind.builder" create 8 1 1
      "$venv/bin/swift-ring-builder" "$kind.builder" add "r1z1-127.0.0.1:${!port}/disk" 1
      "$venv/bin/swift-ring-builder" "$kind.builder" rebalance || true # warns because there is only one disk
    ) >/dev/null
  done
}

up() {
  local ports tries=0 kind
  install
  down
  rm -rf "$dir"/{etc,disks,log,run}
  mkdir -p "$dir"/{etc,disks/disk,log,run}
  mapfile -t ports < <(python3 - <<'PYTHON'
import socket
taken = [socket.socket() for _ in range(5)]
for each in taken:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in taken), sep="\n")
PYTHON
  )
  configure "${ports[@]}"
  background memcached memcached -u nobody -l 127.0.0.1 -p "${ports[4]}" -m 64
  for kind in account container object; do
    background "$kind" "$venv/bin/python" "$here/server.py" "$kind" "$dir/etc/$kind-server.conf"
  done
  background proxy "$venv/bin/python" "$here/server.py" proxy "$dir/etc/proxy-server.conf"
  until curl -fsS "http://127.0.0.1:${ports[0]}/healthcheck" >/dev/null 2>&1; do
    [ $((tries += 1)) -lt 600 ] || { tail -n 5 "$dir"/log/* >&2; exit 1; }
    sleep 0.1
  done
  echo "http://127.0.0.1:${ports[0]}"
}

case $verb in
up) up ;;
down) down ;;
sync) "$venv/bin/python" "$here/server.py" container-sync "$dir/etc/container-server.conf" ;;
*)
  echo "usage: swift.sh up|down|sync DIR" >&2
  exit 2
  ;;
esac
