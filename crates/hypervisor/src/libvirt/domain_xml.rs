//! Writes and reads libvirt's XML definition of a machine.

use std::net::Ipv4Addr;

use super::error::Outcome;
use super::xml::{Element, escape};
use super::{names, plugs};
use crate::{Accelerator, Boot, Mac, MachineSpec, Nic};

/// CPU shares that both versions of control groups accept unchanged.
const CPU_SHARES_MIN: u32 = 2;
const CPU_SHARES_MAX: u32 = 10_000;

/// The disk's target name in libvirt.
pub const DISK_TARGET: &str = "vda";

/// The host's side of a definition: paths and abilities.
pub struct HostResources<'a> {
    pub accelerator: Accelerator,
    pub disk: &'a str,
    pub config_drive: &'a str,
    pub console: &'a str,
    pub kernel: &'a str,
    pub initrd: Option<&'a str>,
    /// Whether the host can apply CPU shares.
    pub has_cpu_shares: bool,
}

pub fn domain_xml(machine: &MachineSpec, host: &HostResources<'_>) -> String {
    let (kind, processor) = match host.accelerator {
        Accelerator::Kvm => ("kvm", "<cpu mode='host-model'/>"),
        Accelerator::Tcg | Accelerator::None => ("qemu", ""),
    };
    let MachineSpec { id, memory_mib, vcpus, .. } = machine;
    let (name, title) = (names::domain(*id), title(&machine.name));
    let shares = if host.has_cpu_shares {
        let shares = machine.cpu_shares.clamp(CPU_SHARES_MIN, CPU_SHARES_MAX);
        format!("<cputune><shares>{shares}</shares></cputune>")
    } else {
        String::new()
    };
    let (disk, config_drive, console) = (escape(host.disk), escape(host.config_drive), escape(host.console));
    let boot = boot(machine, host);
    let cards: String = machine.nics.iter().map(card).collect();
    let leases: String = machine.nics.iter().filter_map(lease).collect();
    format!(
        "<domain type='{kind}'><name>{name}</name><uuid>{id}</uuid>{title}\
         <metadata><nephos:leases xmlns:nephos='urn:nephos:leases'>{leases}</nephos:leases></metadata>\
         <memory unit='MiB'>{memory_mib}</memory><vcpu>{vcpus}</vcpu>{shares}\
         <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>\
         <features><acpi/><apic/></features>{processor}<clock offset='utc'/>\
         <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>\
         <devices>\
         <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='writeback' discard='unmap'/>\
         <source file='{disk}'/><target dev='{DISK_TARGET}' bus='virtio'/></disk>\
         <controller type='scsi' index='0' model='virtio-scsi'/>\
         <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{config_drive}'/>\
         <target dev='sda' bus='scsi'/><readonly/></disk>{cards}\
         <serial type='pty'><log file='{console}' append='on'/><target port='0'/></serial>\
         <console type='pty'><target type='serial' port='0'/></console>\
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
         <graphics type='vnc'><listen type='socket'/></graphics><video><model type='vga'/></video>\
         <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\
         <memballoon model='virtio'/></devices></domain>"
    )
}

const LONGEST_TITLE: usize = 200;

fn title(name: &str) -> String {
    let shown: String = escape(&name.chars().take(LONGEST_TITLE).collect::<String>());
    if shown.trim().is_empty() { String::new() } else { format!("<title>{shown}</title>") }
}

fn boot(machine: &MachineSpec, host: &HostResources<'_>) -> String {
    let Boot::Kernel { command_line } = &machine.boot else {
        return "<boot dev='hd'/>".to_owned();
    };
    let kernel = escape(host.kernel);
    let initrd = host.initrd.map_or(String::new(), |path| format!("<initrd>{}</initrd>", escape(path)));
    let command_line = escape(command_line);
    format!("<kernel>{kernel}</kernel>{initrd}<cmdline>{command_line}</cmdline>")
}

/// Returns the DHCP reservation to be made for a card when its machine is started.
fn lease(nic: &Nic) -> Option<String> {
    let (network, mac, address) = (escape(&nic.network), nic.mac, nic.lease?);
    Some(format!("<nephos:lease network='{network}' card='{mac}' address='{address}'/>"))
}

fn card(nic: &Nic) -> String {
    let (network, mac) = (escape(&nic.network), nic.mac);
    format!(
        "<interface type='network'><mac address='{mac}'/><source network='{network}'/><model type='virtio'/>{}\
         </interface>",
        plugs::UNPLUGGED
    )
}

/// Returns the path of the disk in a definition.
pub fn disk_path(definition: &str) -> Outcome<Option<String>> {
    let domain = Element::parse(definition)?;
    let Some(devices) = domain.at(&["devices"]) else {
        return Ok(None);
    };
    let disk =
        devices.children("disk").find(|disk| disk.attribute_at(&["target"], "dev") == Some(DISK_TARGET));
    Ok(disk.and_then(|disk| disk.attribute_at(&["source"], "file")).map(str::to_owned))
}

/// Returns the path of the kernel in a definition that boots without a boot loader.
pub fn kernel_path(definition: &str) -> Outcome<Option<String>> {
    Ok(Element::parse(definition)?.text_at(&["os", "kernel"]).map(str::to_owned))
}

/// Returns hardware address and network of each card in a definition.
pub fn cards(definition: &str) -> Outcome<Vec<(String, String)>> {
    let domain = Element::parse(definition)?;
    let Some(devices) = domain.at(&["devices"]) else {
        return Ok(Vec::new());
    };
    let read = |card: &Element| {
        let mac = card.attribute_at(&["mac"], "address")?.to_lowercase();
        Some((mac, card.attribute_at(&["source"], "network")?.to_owned()))
    };
    Ok(devices.children("interface").filter_map(read).collect())
}

/// A DHCP reservation to be made when a machine is started.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    pub network: String,
    pub card: Mac,
    pub address: Ipv4Addr,
}

/// Returns the leases in a definition.
pub fn leases(definition: &str) -> Outcome<Vec<Lease>> {
    let domain = Element::parse(definition)?;
    let Some(leases) = domain.at(&["metadata", "nephos:leases"]) else {
        return Ok(Vec::new());
    };
    let read = |lease: &Element| {
        let (card, address) =
            (lease.attribute("card")?.parse().ok()?, lease.attribute("address")?.parse().ok()?);
        Some(Lease { network: lease.attribute("network")?.to_owned(), card, address })
    };
    Ok(leases.children("nephos:lease").filter_map(read).collect())
}

/// Returns a definition without its CPU shares; `None` if it has none.
pub fn without_cpu_shares(definition: &str) -> Option<String> {
    let begin = definition.find("<cputune>")?;
    let end = definition.find("</cputune>")? + "</cputune>".len();
    Some(format!("{}{}", &definition[..begin], &definition[end..]))
}
