#!/usr/bin/env bash
# Builds the tiny guest: guest.qcow2, vmlinuz, initrd.gz, cmdline.
#   guest/build.sh [OUTDIR]      (default: target/guest below the repository's root)
# Needs no network but apt's, mounts nothing, and does nothing when guest/ has not changed since.
set -euo pipefail
# Half of the tools live where only root's log-in shell looks.
export PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../target/guest}
disk_mib=128
label=nephos-guest

die() { echo "guest/build.sh: $*" >&2; exit 1; }

need() {
	local pair
	for pair in apt-get:apt dpkg:dpkg flock:util-linux mke2fs:e2fsprogs sfdisk:fdisk cpio:cpio depmod:kmod \
		qemu-img:qemu-utils grub-mkimage:grub-common; do
		command -v "${pair%:*}" >/dev/null || die "${pair%:*} is missing: apt-get install ${pair#*:}"
	done
	[ -f /usr/lib/grub/i386-pc/boot.img ] ||
		die "/usr/lib/grub/i386-pc/boot.img is missing: apt-get install grub-pc-bin"
	[ "$(id -u)" = 0 ] ||
		die "must run as root, so that the files in the image belong to root (or: fakeroot guest/build.sh)"
}

# The packages by name, the kernel's metapackage followed to the kernel itself.
packages() {
	local name
	while read -r name; do
		case $name in
		'' | '#'*) ;;
		linux-image-*) apt-cache depends "$name" 2>/dev/null | awk '$1 == "Depends:" && /linux-image/ { print $2; exit }' ;;
		*) echo "$name" ;;
		esac
	done <"$here/packages.txt"
}

# debs/ holds what the last build used; only what is new is fetched. apt's own download user cannot write here, and
# without this option it warns at every file.
download() {
	local debs=$out/debs wanted names name
	local apt=(apt-get -qq -o APT::Sandbox::User=root)
	mkdir -p "$debs" "$work/empty"
	mapfile -t names < <(packages)
	# A machine fresh from its installer has no package lists yet.
	if ! wanted=$(cd "$work/empty" && "${apt[@]}" download --print-uris "${names[@]}" 2>/dev/null); then
		"${apt[@]}" update >&2 || die "apt-get update failed"
		mapfile -t names < <(packages)
		wanted=$(cd "$work/empty" && "${apt[@]}" download --print-uris "${names[@]}") || die "apt lacks a package"
	fi
	wanted=$(awk '{ print $2 }' <<<"$wanted")
	[ "$(wc -l <<<"$wanted")" = "${#names[@]}" ] || die "apt offers only: $wanted"
	(cd "$debs" && for name in *.deb; do grep -qxF -- "$name" <<<"$wanted" || rm -f -- "$name"; done)
	(cd "$debs" && "${apt[@]}" download "${names[@]}" >&2) || die "the download of packages failed"
}

unpack() {
	local deb dir
	mkdir -p "$root" "$kernel" "$work/util-linux"
	for deb in "$out"/debs/*.deb; do
		case ${deb##*/} in
		linux-image-*) dpkg -x "$deb" "$kernel" ;;
		util-linux_*) dpkg -x "$deb" "$work/util-linux" ;;
		*) dpkg -x "$deb" "$root" ;;
		esac
	done
	# util-linux is large, and two of its tools are all that busybox lacks.
	install -D "$work/util-linux/usr/bin/partx" "$root/usr/bin/partx"
	install -D "$work/util-linux/sbin/blkid" "$root/usr/bin/blkid"
	rm -rf "$root"/usr/share/{doc,man,locale,info,bash-completion,lintian,bug,initramfs-tools,glib-2.0} \
		"$root"/usr/lib/x86_64-linux-gnu/gconv "${root:?}"/{etc,lib/systemd,usr/lib/systemd}

	# One directory for programs and one for libraries: Debian's packages still use both sides of the merge.
	for dir in bin sbin usr/sbin; do
		[ ! -d "$root/$dir" ] || cp -a "$root/$dir/." "$root/usr/bin/"
		rm -rf "${root:?}/$dir"
	done
	for dir in lib lib64; do
		mkdir -p "$root/usr/$dir"
		[ ! -d "$root/$dir" ] || cp -a "$root/$dir/." "$root/usr/$dir/"
		rm -rf "${root:?}/$dir"
		ln -s "usr/$dir" "$root/$dir"
	done
	ln -s usr/bin "$root/bin"
	ln -s usr/bin "$root/sbin"
	ln -s bin "$root/usr/sbin"
}

furnish() {
	local applet
	mkdir -p "$root"/{boot/grub,dev,etc/dropbear,mnt,proc,root,run,sys,tmp,var/lib,var/log}
	chmod 1777 "$root/tmp"
	chmod 700 "$root/root"
	ln -s /run "$root/var/run"
	ln -s /run/resolv.conf "$root/etc/resolv.conf"
	ln -s /proc/mounts "$root/etc/mtab"
	cp -a --no-preserve=ownership "$here/rootfs/." "$root/"
	chmod 600 "$root/etc/shadow"
	# Our own scripts and the packages' programs win over busybox's.
	for applet in $("$root/usr/bin/busybox" --list); do
		[ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
	done
}

# A library that packages.txt forgot shows here, not in a guest that stays silent. (LD_PRELOAD: fakeroot sets it.)
check_libraries() {
	local program missing
	for program in dropbear dropbearkey qemu-ga resize2fs sfdisk partx blkid jq; do
		missing=$(LD_PRELOAD='' "$root/usr/lib64/ld-linux-x86-64.so.2" --inhibit-cache --library-path \
			"$root/usr/lib/x86_64-linux-gnu:$root/usr/lib" --list "$root/usr/bin/$program" 2>&1 |
			awk -v root="$root" '/=>/ && $3 != "" && index($3, root) != 1 { print $1 } /cannot open/ { print }')
		[ -z "$missing" ] || die "$program lacks in packages.txt: $missing"
	done
}

# Prints the files of some kernel modules and of all that they depend on, in load order.
module_files() {
	local name
	for name; do
		# What is built into the kernel says "builtin" or is unknown; neither has a file.
		modprobe -d "$kernel" -S "$release" --show-depends "$name" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

modules() {
	local file
	# modprobe wants the list that lives in /lib/modules of its root.
	depmod -b "$kernel" "$release"
	for file in $(module_files virtio_blk virtio_pci virtio_net virtio_console virtio_scsi virtio-rng virtio_balloon \
		ext4 crc32c_generic crc32c-intel isofs vfat nls_cp437 nls_ascii nls_iso8859-1 sr_mod sd_mod ata_piix button \
		evdev); do
		install -D -m 644 "$file" "$root/usr/${file#"$kernel/"}"
	done
	cp "$kernel/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$root/usr/lib/modules/$release/"
	depmod -b "$root" "$release"
}

initrd() {
	local tree=$work/initrd applet file
	mkdir -p "$tree"/{bin,dev,modules,new,proc,sys}
	cp "$root/usr/bin/busybox" "$tree/bin/"
	for applet in sh mount insmod findfs usleep cat switch_root; do
		ln -s busybox "$tree/bin/$applet"
	done
	# sd_mod and ata_piix are for machines that give the root as an IDE or SCSI disk.
	for file in $(module_files virtio_pci virtio_blk crc32c_generic ext4 virtio_scsi sd_mod ata_piix); do
		cp "$file" "$tree/modules/"
		echo "${file##*/}" >>"$tree/modules.list"
	done
	install -m 755 "$here/initrd/init" "$tree/init"
	(cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc | gzip -1 -n) >"$work/initrd.gz"
}

image() {
	local raw=$work/guest.raw
	cp "$work/vmlinuz" "$work/initrd.gz" "$root/boot/"
	{
		echo 'set timeout=0'
		echo "linux /boot/vmlinuz $(<"$here/cmdline")"
		echo 'initrd /boot/initrd.gz'
		echo 'boot'
	} >"$root/boot/grub/grub.cfg"

	truncate -s "${disk_mib}M" "$raw"
	echo 'start=2048, type=83, bootable' | sfdisk -q "$raw"
	# 4 KiB blocks and resize: the guest must be able to grow online up to the 2 TiB that its partition table can say
	# (asking for more wants larger transactions than a 4 MiB journal takes). The journal is kept, since the
	# machine is switched off hard more often than not.
	mke2fs -q -t ext4 -b 4096 -i 32768 -L "$label" -J size=4 -O ^metadata_csum,^64bit \
		-E offset=1048576,resize=536870912,root_owner=0:0 -d "$root" "$raw" "$(((disk_mib - 1) * 1024))k"
	# GRUB by hand, since grub-install wants a block device: the first stage up to the partition table, the second in
	# the gap before the first partition.
	grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$work/core.img" biosdisk part_msdos ext2 linux normal
	[ "$(stat -c %s "$work/core.img")" -lt $((2047 * 512)) ] || die "GRUB does not fit before the partition"
	dd if=/usr/lib/grub/i386-pc/boot.img of="$raw" bs=440 count=1 conv=notrunc status=none
	dd if="$work/core.img" of="$raw" bs=512 seek=1 conv=notrunc status=none
	qemu-img convert -O qcow2 -c "$raw" "$work/guest.qcow2"
}

need
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Two test processes may ask at once; the second finds the work done.
exec 9>"$out/.lock"
flock 9
stamp=$(cd "$here" && find . -type f -printf '%m %p\n' -exec sha256sum {} + | LC_ALL=C sort | sha256sum)
fresh=yes
for file in guest.qcow2 vmlinuz initrd.gz cmdline; do [ -s "$out/$file" ] || fresh=no; done
[ "$fresh" = no ] || [ "$(cat "$out/.stamp" 2>/dev/null)" != "$stamp" ] || exit 0

work=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
kernel=$work/kernel

download
unpack
release=$(ls "$kernel/lib/modules")
cp "$kernel/boot/vmlinuz-$release" "$work/vmlinuz"
furnish
check_libraries
modules
initrd
image

cp "$here/cmdline" "$work/cmdline"
chmod 644 "$work"/{guest.qcow2,vmlinuz,initrd.gz,cmdline}
rm -f "$out/.stamp"
mv "$work"/{guest.qcow2,vmlinuz,initrd.gz,cmdline} "$out/"
echo "$stamp" >"$out/.stamp"
echo "guest: $out/guest.qcow2 ($(($(stat -c %s "$out/guest.qcow2") >> 20)) MiB), kernel $release" >&2
