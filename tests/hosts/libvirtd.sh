#!/usr/bin/env bash
# A libvirt host for tests: a libvirtd in a network and a mount namespace of its own, with all its state below DIR.
#   libvirtd.sh start NAME DIR    prints the connection URI once the daemon answers; starts nothing that runs already,
#                                 and takes over the guests of a daemon that was killed
#   libvirtd.sh stop NAME DIR     ends daemon, dnsmasq and guests, removes the namespace; DIR stays for the caller
# LIBVIRTD_TCP=ADDRESS makes it also listen there (inside the namespace, without authentication), for migration tests.
set -euo pipefail
# Half of the tools live where only root's log-in shell looks.
export PATH=$PATH:/usr/sbin:/sbin

die() { echo "libvirtd.sh: $*" >&2; exit 1; }

[ $# = 3 ] || die "usage: libvirtd.sh start|stop NAME DIR"
command=$1 name=$2 dir=$3
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$ ]] || die "NAME is a host name: $name"
[ "$(id -u)" = 0 ] || die "must run as root"
for pair in libvirtd:libvirt-daemon-system virsh:libvirt-clients qemu-system-x86_64:qemu-system-x86 ip:iproute2 \
	unshare:util-linux dnsmasq:dnsmasq-base iptables:iptables ebtables:ebtables; do
	command -v "${pair%:*}" >/dev/null || die "${pair%:*} is missing: apt-get install ${pair#*:}"
done

in_namespace() { [ -e "/run/netns/$name" ] && ip netns pids "$name" 2>/dev/null || true; }

# The processes of this host whose program's name fits a pattern. Others in the namespace (a test's own clients) are
# none of our business.
processes() {
	local pid program
	for pid in $(in_namespace); do
		read -r program 2>/dev/null <"/proc/$pid/comm" || continue
		[[ ! $program =~ ^($1) ]] || echo "$pid"
	done
}

configure() {
	mkdir -p "$dir"/{etc,lib,run,cache,log}
	mkdir -p "$dir"/lib/{images,qemu,boot,dnsmasq}
	[ -s "$dir/host-uuid" ] || cat /proc/sys/kernel/random/uuid >"$dir/host-uuid"
	[ -d "$dir/etc/nwfilter" ] || cp -r /usr/share/libvirt/nwfilter "$dir/etc/nwfilter"
	# root: guests write below DIR, wherever the test has put it. No virtlogd runs here, so QEMU writes console logs
	# itself ("file"). Confinement is the namespace's; there is no AppArmor, cgroup or device policy to set up.
	cat >"$dir/etc/qemu.conf" <<-'END'
		user = "root"
		group = "root"
		dynamic_ownership = 0
		remember_owner = 0
		security_driver = "none"
		namespaces = [ ]
		cgroup_controllers = [ ]
		stdio_handler = "file"
	END
	# Hosts with equal uuids refuse to migrate to each other.
	cat >"$dir/etc/libvirtd.conf" <<-END
		unix_sock_group = "root"
		unix_sock_rw_perms = "0700"
		auth_unix_rw = "none"
		host_uuid = "$(<"$dir/host-uuid")"
		log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
		listen_tls = 0
	END
	if [ -n "${LIBVIRTD_TCP:-}" ]; then
		printf 'listen_tcp = 1\nlisten_addr = "%s"\nauth_tcp = "none"\n' "$LIBVIRTD_TCP" >>"$dir/etc/libvirtd.conf"
	fi
}

answers() { timeout 30 virsh -q -c "$uri" uri >/dev/null 2>&1; }

start() {
	configure
	# sun_path holds 107 bytes.
	[ ${#socket} -le 107 ] || die "DIR is too long for a socket in it: $socket"
	if [ -z "$(processes libvirtd)" ]; then
		[ -e "/run/netns/$name" ] || ip netns add "$name"
		ip -n "$name" link set lo up
		rm -f "$socket" "$dir/run/libvirtd.pid"
		# Missing mount points would be made on the machine; /run/libvirt is lost at every boot anyway.
		mkdir -p /etc/libvirt /var/lib/libvirt /run/libvirt /var/cache/libvirt /var/log/libvirt
		# A host name of its own (-u), because hosts of equal names refuse to migrate to each other as well. The pid
		# file is named, since the default one lies outside the directories that are private.
		# shellcheck disable=SC2016  # expanded by the inner shell
		setsid ip netns exec "$name" unshare -m -u --propagation private bash -c '
			set -e
			dir=$1 name=$2
			shift 2
			mount --bind "$dir/etc" /etc/libvirt
			mount --bind "$dir/lib" /var/lib/libvirt
			mount --bind "$dir/run" /run/libvirt
			mount --bind "$dir/cache" /var/cache/libvirt
			mount --bind "$dir/log" /var/log/libvirt
			hostname "$name"
			exec libvirtd -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid "$@"
		' enter "$dir" "$name" ${LIBVIRTD_TCP:+--listen} </dev/null >>"$dir/log/stdout" 2>&1 &
	fi
	local deadline=$((SECONDS + 60))
	until [ -S "$socket" ] && answers; do
		if [ $SECONDS -ge $deadline ]; then
			tail -n 20 "$dir/log/stdout" "$dir/log/libvirtd.log" >&2 || true
			die "no answer on $socket"
		fi
		sleep 0.05
	done
	echo "$uri"
}

# Ends processes of ours by number: asks first, insists after 3 seconds.
end() {
	local pids signal=TERM tries=0
	while pids=$(processes "$1") && [ -n "$pids" ]; do
		# shellcheck disable=SC2086  # a list
		kill -s $signal $pids 2>/dev/null || true
		tries=$((tries + 1))
		[ $tries -lt 30 ] || signal=KILL
		[ $tries -lt 300 ] || die "does not end: $pids"
		sleep 0.1
	done
}

stop() {
	# The daemon first: it would note the deaths of its guests and answer them. It may be asked to die at once, since
	# all that it knows is on disk; on TERM it takes seconds.
	local pid
	for pid in $(processes libvirtd); do kill -KILL "$pid" 2>/dev/null || true; done
	end libvirtd
	end 'qemu-system|dnsmasq|libvirt_leases'
	if [ -e "/run/netns/$name" ]; then
		[ -z "$(in_namespace)" ] || echo "libvirtd.sh: still in namespace $name: $(in_namespace | tr '\n' ' ')" >&2
		ip netns del "$name"
	fi
	rm -rf "$dir/run"
}

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
socket=$dir/run/libvirt-sock
uri="qemu+unix:///system?socket=$socket"
case $command in
start) start ;;
stop) stop ;;
*) die "usage: libvirtd.sh start|stop NAME DIR" ;;
esac
