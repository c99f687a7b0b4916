#!/usr/bin/env bash
# A libvirt host for tests: a libvirtd in its own network and mount namespaces, with all its state below DIR.
#   libvirtd.sh start NAME DIR    prints the connection URI once the daemon responds; does nothing if it is running,
#                                 and adopts the guests of a daemon that was killed
#   libvirtd.sh stop NAME DIR     stops daemon, dnsmasq and guests and removes the namespace; DIR is kept
# With LIBVIRTD_TCP=ADDRESS it also listens there (in the namespace, without authentication), for migration tests.
set -euo pipefail
# Some of the tools are in directories that are only in root's login PATH.
export PATH=$PATH:/usr/sbin:/sbin

die() { echo "libvirtd.sh: $*" >&2; exit 1; }

[ $# = 3 ] || die "usage: libvirtd.sh start|stop NAME DIR"
command=$1 name=$2 dir=$3
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$ ]] || die "NAME must be a host name: $name"
[ "$(id -u)" = 0 ] || die "must run as root"
for pair in libvirtd:libvirt-daemon-system virsh:libvirt-clients qemu-system-x86_64:qemu-system-x86 ip:iproute2 \
	unshare:util-linux dnsmasq:dnsmasq-base iptables:iptables ebtables:ebtables; do
	command -v "${pair%:*}" >/dev/null || die "${pair%:*} is missing: apt-get install ${pair#*:}"
done

in_namespace() { [ -e "/run/netns/$name" ] && ip netns pids "$name" 2>/dev/null || true; }

# Prints the processes of this host whose program names match a pattern. Other processes in the namespace, such as a
# test's clients, are ignored.
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
	# root: guests write below DIR, wherever the test created it. No virtlogd runs here, so QEMU writes console logs
	# itself ("file"). The namespaces confine the host; there is no AppArmor, cgroup or device policy to configure.
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
	# Hosts with equal UUIDs refuse to migrate guests to each other.
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
	# sun_path is limited to 107 bytes.
	[ ${#socket} -le 107 ] || die "DIR is too long for the path of a socket: $socket"
	if [ -z "$(processes libvirtd)" ]; then
		[ -e "/run/netns/$name" ] || ip netns add "$name"
		ip -n "$name" link set lo up
		rm -f "$socket" "$dir/run/libvirtd.pid"
		# The mount points must exist on the machine; /run/libvirt does not survive a reboot anyway.
		mkdir -p /etc/libvirt /var/lib/libvirt /run/libvirt /var/cache/libvirt /var/log/libvirt
		# Set a host name (-u), because hosts with equal names also refuse to migrate guests to each other. Name the pid
		# file, since the default one is outside the private directories.
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
			die "libvirtd does not respond on $socket"
		fi
		sleep 0.05
	done
	echo "$uri"
}

# Stops processes of this host by pid: with TERM first, with KILL after 3 seconds.
end() {
	local pids signal=TERM tries=0
	while pids=$(processes "$1") && [ -n "$pids" ]; do
		# shellcheck disable=SC2086  # a list
		kill -s $signal $pids 2>/dev/null || true
		tries=$((tries + 1))
		[ $tries -lt 30 ] || signal=KILL
		[ $tries -lt 300 ] || die "processes do not exit: $pids"
		sleep 0.1
	done
}

stop() {
	# Stop the daemon first: it would react to its guests' exits. It may be killed at once, since its state is on disk;
	# after TERM it takes seconds.
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
