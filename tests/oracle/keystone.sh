#!/usr/bin/env bash
# A real Keystone from PyPI on a loopback port, with SQLite, to compare identity v3 with.
#   keystone.sh install DIR          creates its environment; once for each set of versions
#   keystone.sh serve DIR PORT       runs in the foreground; user admin of project admin, password "secret"
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
verb=$1
mkdir -p "$2"
dir=$(realpath "$2")

case $verb in
install)
  stamp=$(sha256sum <"$here/keystone.txt" | cut -c1-16)
  if [ "$(cat "$dir/.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$dir/venv"
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" -q --disable-pip-version-check install -r "$here/keystone.txt"
    echo "$stamp" >"$dir/.stamp"
  fi
  ;;
serve)
  port=$3
  state=$dir/state
  rm -rf "$state"
  mkdir -p "$state"/{fernet,credential}
  cat >"$state/keystone.conf" <<CONF
[DEFAULT]
log_dir = $state
[database]
connection = sqlite:///$state/keystone.db
[fernet_tokens]
key_repository = $state/fernet
[credential]
key_repository = $state/credential
[cache]
enabled = false
CONF
  manage=("$dir/venv/bin/keystone-manage" --config-file "$state/keystone.conf")
  {
    "${manage[@]}" db_sync
    "${manage[@]}" fernet_setup --keystone-user "$(id -un)" --keystone-group "$(id -gn)"
    "${manage[@]}" credential_setup --keystone-user "$(id -un)" --keystone-group "$(id -gn)"
    "${manage[@]}" bootstrap --bootstrap-password secret --bootstrap-region-id DFW \
      --bootstrap-public-url "http://127.0.0.1:$port/v3/"
  } >"$state/setup.log" 2>&1 || { cat "$state/setup.log" >&2; exit 1; }
  export OS_KEYSTONE_CONFIG_FILES=$state/keystone.conf
  exec "$dir/venv/bin/python" -c '
import sys
port = sys.argv.pop()
from keystone.server import wsgi
import waitress
waitress.serve(wsgi.initialize_public_application(), listen=f"127.0.0.1:{port}", threads=4)
' "$port" >"$state/server.log" 2>&1
  ;;
*)
  echo "usage: keystone.sh install DIR | serve DIR PORT" >&2
  exit 2
  ;;
esac
