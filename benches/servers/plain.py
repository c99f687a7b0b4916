"""The command line of plain QEMU for a running libvirt domain: same image, memory, devices and network cards, on a fresh layer
named plain.qcow2.   plain.py DOMAIN.XML DIRECTORY; prints shell variables."""
import json
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

domain, directory = ElementTree.parse(sys.argv[1]).getroot(), sys.argv[2]
disk, drive = domain.findall("devices/disk")
disk, drive = disk.find("source").get("file"), drive.find("source").get("file")
info = json.loads(subprocess.check_output(["qemu-img", "info", "-U", "--output", "json", disk]))
kernel, initrd, line = (domain.findtext(f"os/{part}") for part in ("kernel", "initrd", "cmdline"))
mib = {"KiB": 1024, "MiB": 1}
memory = domain.find("memory")
argv = ["qemu-system-x86_64", "-machine", domain.find("os/type").get("machine") + ",accel=tcg",
        "-m", str(int(memory.text) // mib[memory.get("unit")]), "-smp", domain.findtext("vcpu"),
        "-nodefaults", "-no-user-config", "-display", "none",
        "-kernel", kernel, "-initrd", initrd, "-append", line,
        "-drive", f"file={directory}/plain.qcow2,format=qcow2,if=virtio,cache=writeback,discard=unmap",
        "-device", "virtio-scsi-pci,id=scsi0",
        "-drive", f"file={drive},format=raw,if=none,id=drive,readonly=on",
        "-device", "scsi-cd,bus=scsi0.0,drive=drive",
        "-serial", f"file:{directory}/plain.console", "-vga", "std", "-vnc", f"unix:{directory}/plain.vnc",
        "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={directory}/plain.agent,server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "-usb", "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
        "-device", "virtio-balloon-pci"]
taps = []
for number, card in enumerate(domain.findall("devices/interface")):
    taps.append(f"plain{number}:{card.find('source').get('bridge')}")
    argv += ["-netdev", f"tap,id=net{number},ifname=plain{number},script=no,downscript=no",
             "-device", f"virtio-net-pci,netdev=net{number},mac={card.find('mac').get('address')}"]
print(f"argv=({shlex.join(argv)})\ntaps=({shlex.join(taps)})")
print(f"backing={shlex.quote(info['full-backing-filename'])} size={info['virtual-size']}")
