#!/usr/bin/env bash
# Tests libvirtd.sh and the guest together: boots the guest on a host in a namespace, reads its console, logs in with the
# password from the config drive, changes it through the agent, kills the daemon while the guest runs, presses the power
# button, and checks that nothing is left over.   selftest.sh [GUEST_OUTDIR]
set -euo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
guest=${1:-$repo/target/guest}
host=nst-$$
dir=$(mktemp -d "${TMPDIR:-/tmp}/nst.XXXXXX")
console=$dir/lib/images/one.console

say() { printf '%6.1fs  %s\n' "$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')" "$*"; }
die() {
	echo "selftest.sh: $*" >&2
	[ ! -s "$console" ] || tail -n 30 "$console" >&2
	exit 1
}
libvirtd() { "$repo/tests/hosts/libvirtd.sh" "$1" "$host" "$dir"; }
cleanup() {
	libvirtd stop || true
	rm -rf "$dir"
}
trap cleanup EXIT
began=$EPOCHREALTIME

for pair in genisoimage:genisoimage sshpass:sshpass ssh:openssh-client qemu-img:qemu-utils; do
	command -v "${pair%:*}" >/dev/null || die "${pair%:*} is missing: apt-get install ${pair#*:}"
done

# await SECONDS WHAT COMMAND...: waits until the command succeeds
await() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || die "timed out waiting for $what"
		sleep 0.1
	done
}
# fact KEY [N]: prints the Nth value that the guest reported on the console
fact() { sed -n "s/\r$//; s/^NEPHOS-GUEST $1//p" "$console" | sed -n "${2:-1}p"; }
booted() { [ "$(grep -c '^NEPHOS-GUEST ready' "$console")" -ge "$1" ]; }
expect() { [ "$2" = "$3" ] || die "$1: expected '$2', got '$3'"; }
# Connect only from inside the namespace: the machine itself must not reach guests' addresses.
login() {
	ip netns exec "$host" env SSHPASS="$1" sshpass -e ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR \
		-o UserKnownHostsFile=/dev/null -o ConnectTimeout=10 root@203.0.113.10 "$2"
}
is_off() { [ "$(v domstate one)" = "shut off" ]; }

"$repo/guest/build.sh" "$guest"
uri=$(libvirtd start)
v() { virsh -q -c "$uri" "$@"; }
say "daemon responds at $uri"

uuid=$(cat /proc/sys/kernel/random/uuid)
password='p:a ss\"'"'$RANDOM"
v net-create /dev/stdin >/dev/null <<'END'
<network>
  <name>public</name>
  <forward mode='nat'/>
  <bridge name='nst-public' stp='off' delay='0'/>
  <ip address='203.0.113.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='203.0.113.100' end='203.0.113.199'/>
      <host mac='52:54:00:00:00:10' ip='203.0.113.10'/>
    </dhcp>
  </ip>
</network>
END

images=$dir/lib/images
cp "$guest/guest.qcow2" "$guest/vmlinuz" "$guest/initrd.gz" "$images/"
qemu-img create -q -f qcow2 -b guest.qcow2 -F qcow2 "$images/one.qcow2" 2G
mkdir -p "$dir/drive/openstack/latest" "$dir/drive/openstack/content"
printf 'a banner\n' >"$dir/drive/openstack/content/0000"
quoted=${password//\\/\\\\}
quoted=${quoted//\"/\\\"}
cat >"$dir/drive/openstack/latest/meta_data.json" <<END
{"uuid": "$uuid", "name": "one", "hostname": "one", "admin_pass": "$quoted",
 "files": [{"path": "/etc/hostname", "content_path": "/content/0000"}]}
END
genisoimage -quiet -J -r -V config-2 -o "$images/one.iso" "$dir/drive"

v define /dev/stdin >/dev/null <<END
<domain type='qemu'>
  <name>one</name>
  <uuid>$uuid</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/var/lib/libvirt/images/vmlinuz</kernel>
    <initrd>/var/lib/libvirt/images/initrd.gz</initrd>
    <cmdline>$(<"$guest/cmdline")</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='writeback' discard='unmap'/>
      <source file='/var/lib/libvirt/images/one.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/var/lib/libvirt/images/one.iso'/>
      <target dev='sda' bus='scsi'/>
      <readonly/>
    </disk>
    <controller type='scsi' model='virtio-scsi'/>
    <interface type='network'>
      <source network='public'/>
      <mac address='52:54:00:00:00:10'/>
      <model type='virtio'/>
      <filterref filter='clean-traffic'><parameter name='IP' value='203.0.113.10'/></filterref>
    </interface>
    <serial type='pty'>
      <log file='/var/lib/libvirt/images/one.console' append='on'/>
      <target port='0'/>
    </serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>
END
v start one >/dev/null
await 90 "boot" booted 1
say "guest is ready, $(fact 'ready ')"

expect name one "$(fact name=)"
expect address eth0:203.0.113.10 "$(fact address=)"
expect password "set" "$(fact password=)"
sum=$(sha256sum <"$dir/drive/openstack/content/0000")
expect file "/etc/hostname sha256=${sum%% *} mode=440 owner=root:root" "$(fact file=)"
[[ $(fact backup=) =~ ^/etc/hostname\.bak\.[0-9]+$ ]] || die "no backup: $(fact backup=)"
! grep -qF "$password" "$console" || die "the password is on the console"
[ "$(fact root-size=)" -gt 1900000000 ] || die "the root file system did not grow: $(fact root-size=)"

expect log-in one "$(login "$password" hostname)"
say "logged in with the password of the config drive"
v set-user-password one root 'another:1' >/dev/null
expect "log-in after set-user-password" "a banner" "$(login another:1 'cat /etc/hostname')"
! login "$password" true 2>/dev/null || die "the old password is still valid"
say "the agent changed the password"

kill -KILL "$(<"$dir/run/libvirtd.pid")"
expect "URI after a restart" "$uri" "$(libvirtd start)"
expect "state after a restart" running "$(v domstate one)"
v qemu-agent-command one '{"execute":"guest-ping"}' >/dev/null
say "a new daemon adopted the guest"

v reboot one --mode agent >/dev/null
await 90 "second boot" booted 2
[ "$(fact boot-id= 1)" != "$(fact boot-id= 2)" ] || die "the boot id did not change"
expect "personality after a reboot" kept "$(fact personality= 2)"
expect "files after a reboot" "" "$(fact file= 2)"
say "rebooted; first-boot settings were not applied again"

v shutdown one --mode acpi >/dev/null
await 30 "power off" is_off
say "shut down by its power button"

# A guest must be running, so that the tear-down has something to stop.
v start one >/dev/null
mapfile -t pids < <(ip netns pids "$host")
[ ${#pids[@]} -ge 3 ] || die "daemon, dnsmasq and guest expected in the namespace, found ${#pids[@]}"
libvirtd stop
libvirtd stop
[ ! -e "/run/netns/$host" ] || die "the namespace still exists"
for pid in "${pids[@]}"; do
	state=$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null || true)
	[[ ${state:-X} == [XZ] ]] || die "process $pid is still running: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
done
! grep -q " $dir" /proc/mounts || die "a mount is left over"
say "nothing is left over"
