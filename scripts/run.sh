#!/usr/bin/env bash
# `make run`: brings what is missing, builds, and starts a cloud on loopback with the tiny guest as image 1.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin

scripts/need.sh run
cargo build --release --locked -p nephos
target=${CARGO_TARGET_DIR:-target}
nephos=$target/release/nephos
data=${NEPHOS_DATA_DIR:-nephos-data}
guest=target/guest
if [ "$(id -u)" = 0 ]; then
  guest/build.sh "$guest"
else
  sudo guest/build.sh "$guest"
fi

# Without systemd nobody has started libvirt.
hypervisor=()
if [ -n "${NEPHOS_HYPERVISOR:-}" ]; then
  :
elif ! virsh -q -c qemu:///system uri >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ]; then
    # As udev would leave it: libvirt's probe of a KVM that its own user may not open takes minutes.
    [ ! -c /dev/kvm ] || { chgrp kvm /dev/kvm && chmod 660 /dev/kvm; }
    virtlogd -d 2>/dev/null || true # keeps the consoles' logs
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
wait $server
