#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine, and nothing else.
#   need.sh run|test|oracle|bench|lint
set -euo pipefail

build=(build-essential pkg-config ca-certificates curl)
machines=(libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-daemon-config-nwfilter libvirt-clients
  qemu-system-x86 qemu-utils dnsmasq-base iproute2 iptables ebtables util-linux)
guest=(dpkg e2fsprogs fdisk cpio kmod grub-common grub-pc-bin)
tests=(genisoimage libarchive-tools sshpass openssh-client openssl rclone python3 python3-venv postgresql strace imagemagick
  ruby ruby-fog-rackspace libxml2-utils xz-utils restic duplicity python3-swiftclient chromium chromium-driver)
bench=(nginx-light wrk openssl python3 nova-api)

case ${1:-} in
run) wanted=("${build[@]}" "${machines[@]}" "${guest[@]}") ;;
test) wanted=("${build[@]}" "${machines[@]}" "${guest[@]}" "${tests[@]}") ;;
oracle) wanted=("${build[@]}" python3 python3-venv memcached) ;;
bench) wanted=("${build[@]}" "${machines[@]}" "${guest[@]}" "${bench[@]}") ;;
lint) wanted=("${build[@]}") ;;
*)
  echo "usage: need.sh run|test|oracle|bench|lint" >&2
  exit 2
  ;;
esac

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=()
for package in "${wanted[@]}"; do
  installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "need.sh: run as root, or install sudo: ${missing[*]}" >&2; exit 2; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get -q update >/dev/null
  install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -q -y -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" >/tmp/nephos-need.log 2>&1
  }
  if ! install "${missing[@]}"; then
    # Part of QEMU may be there from backports, where it does not fit the release's own: then all of it is the release's.
    version=$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ { print $2 }')
    install --allow-downgrades "${missing[@]}" "qemu-utils=$version" ||
      { cat /tmp/nephos-need.log >&2; exit 1; }
  fi
fi

command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] ||
  { echo "need.sh: Rust is missing: see https://rustup.rs" >&2; exit 2; }
