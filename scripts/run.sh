#!/usr/bin/env bash
# `make run`: installs missing packages, builds, and starts a cloud on loopback with the tiny guest as image 1.
#   NEPHOS_BIN: an existing build to use. NEPHOS_DATA_DIR, NEPHOS_HYPERVISOR and others: as for `nephos serve`.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin

began=$SECONDS
echo "== 1/3 packages"
scripts/need.sh run
target=${CARGO_TARGET_DIR:-target}
if [ -n "${NEPHOS_BIN:-}" ]; then
  nephos=$NEPHOS_BIN
else
  echo "== 2/3 building nephos, about five minutes on two cores"
  cargo build --profile quick --locked -p nephos
  nephos=$target/quick/nephos
fi
data=${NEPHOS_DATA_DIR:-nephos-data}
guest=$target/guest
echo "== 3/3 the guest image"
if [ "$(id -u)" = 0 ]; then
  guest/build.sh "$guest"
else
  sudo guest/build.sh "$guest"
fi

# Without systemd, nothing has started libvirt.
hypervisor=()
if [ -n "${NEPHOS_HYPERVISOR:-}" ]; then
  :
elif ! virsh -q -c qemu:///system uri >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ]; then
    # Set the permissions that udev would set: if libvirt's user cannot open KVM, libvirt's probe of it takes minutes.
    [ ! -c /dev/kvm ] || { chgrp kvm /dev/kvm && chmod 660 /dev/kvm; }
    virtlogd -d 2>/dev/null || true # writes the console logs
    libvirtd -d && virsh -q -c qemu:///system uri >/dev/null
  else
    echo "libvirt does not answer (systemctl start libvirtd): servers are simulated for now" >&2
    hypervisor=(--hypervisor simulated:)
  fi
fi

"$nephos" serve "${hypervisor[@]}" "$@" &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server' INT TERM
until [ -S "$data/admin.sock" ]; do
  kill -0 $server 2>/dev/null || { wait $server; exit; }
  sleep 0.1
done
if [ -z "$("$nephos" image list)" ]; then
  "$nephos" image import "$guest/guest.qcow2" --format qcow2 --name "Nephos tiny guest" \
    --kernel "$guest/vmlinuz" --initrd "$guest/initrd.gz" --cmdline "$(cat "$guest/cmdline")" >/dev/null
  echo "image 1 is the tiny guest"
fi
echo "ready after $((SECONDS - began)) s; now: source $data/openrc"
wait $server
