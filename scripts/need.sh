#!/usr/bin/env bash
# Installs the missing packages on a Debian 12 machine, and nothing else.
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

# The commands that the next step needs, whichever packages they are in.
commands=()
case $1 in
run | test | bench) commands=(cc curl qemu-img qemu-system-x86_64 libvirtd virsh dnsmasq mke2fs sfdisk cpio depmod grub-mkimage) ;;
oracle | lint) commands=(cc curl) ;;
esac
if [ "$1" = test ]; then
  commands+=(genisoimage bsdtar sshpass ssh rclone python3 psql strace convert ruby xmllint xz restic duplicity swift chromium
    chromedriver)
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT

find_missing() {
  missing=()
  local package
  for package in "${wanted[@]}"; do
    installed "$package" || missing+=("$package")
  done
}

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" >"$log" 2>&1
}

updated=
find_missing
# Installing one package may remove another that conflicts with it, so repeat until nothing is missing.
for _ in 1 2 3; do
  [ ${#missing[@]} -gt 0 ] || break
  echo "installing ${missing[*]}"
  command -v "${as_root[0]:-env}" >/dev/null ||
    { echo "need.sh: run as root, or install sudo: ${missing[*]}" >&2; exit 2; }
  if [ -z "$updated" ]; then
    "${as_root[@]}" apt-get -q update >/dev/null
    updated=yes
  fi
  if ! install "${missing[@]}"; then
    # A part of QEMU may be installed from backports and not match the release's packages. Then install the release's version of all.
    version=$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ { print $2 }')
    install --allow-downgrades "${missing[@]}" "qemu-utils=$version" || { cat "$log" >&2; exit 1; }
  fi
  find_missing
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "need.sh: these packages do not stay installed together: ${missing[*]}" >&2
  exit 1
fi

PATH=$PATH:/usr/sbin:/sbin
for command in "${commands[@]}"; do
  command -v "$command" >/dev/null || { echo "need.sh: $command is missing although its package is installed" >&2; exit 1; }
done
command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] || [ -n "${NEPHOS_BIN:-}" ] ||
  { echo "need.sh: Rust is missing: see https://rustup.rs" >&2; exit 2; }
