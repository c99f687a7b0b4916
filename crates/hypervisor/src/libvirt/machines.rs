//! Machines: definition, power state and deletion.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::domain_xml::{self, HostResources, Lease};
use super::error::{LibvirtError, Outcome, ignore_absent, optional};
use super::link::Session;
use super::sys::{Domain, Fault, code};
use super::{filters, lifecycle, names, networks, plugs};
use crate::{Accelerator, Boot, Mac, MachineSpec, MachineState, NicUsage, Power, Reboot, Usage};

/// Whether a machine has a QEMU process, and whether that is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    Off,
    Running,
    Paused,
}

/// Returns the machine's domain.
pub fn find(session: &Session, machine: Uuid) -> Outcome<Domain> {
    optional(session.connection.domain(machine.as_bytes()))?.ok_or(LibvirtError::NoMachine(machine))
}

/// Returns whether the machine runs; `None` if it does not exist.
pub fn alive(session: &Session, machine: Uuid) -> Outcome<Option<Alive>> {
    let Some(domain) = optional(session.connection.domain(machine.as_bytes()))? else {
        return Ok(None);
    };
    alive_of(&domain).map(Some)
}

fn alive_of(domain: &Domain) -> Outcome<Alive> {
    let (state, reason) = domain.state()?;
    let paused = matches!(state, 3 | 7);
    Ok(match lifecycle::power(state, reason).0 {
        _ if paused => Alive::Paused,
        Power::Running => Alive::Running,
        _ => Alive::Off,
    })
}

pub fn state(session: &Session, machine: Uuid) -> Outcome<MachineState> {
    let found = optional(session.connection.domain(machine.as_bytes()))?;
    let absent = || MachineState { id: machine, power: Power::Absent, reason: "absent".to_owned() };
    Ok(found.map(|domain| state_of(machine, &domain)).transpose()?.flatten().unwrap_or_else(absent))
}

fn state_of(id: Uuid, domain: &Domain) -> Outcome<Option<MachineState>> {
    let state = optional(domain.state())?.map(|(state, reason)| lifecycle::power(state, reason));
    Ok(state.map(|(power, reason)| MachineState { id, power, reason: reason.to_owned() }))
}

pub fn list(session: &Session) -> Outcome<Vec<MachineState>> {
    let mut states = Vec::new();
    for domain in session.connection.domains()? {
        if let Some(id) = names::machine_of_domain(&domain.name()) {
            states.extend(state_of(id, &domain)?);
        }
    }
    Ok(states)
}

/// Defines the machine with its current disk: with the layer of an unconfirmed resize if it is in use.
pub fn define(session: &Session, machine: &MachineSpec, accelerator: Accelerator) -> Outcome<()> {
    let store = session.store()?;
    let resized = names::resized_disk(machine.id);
    let current = match optional(session.connection.domain(machine.id.as_bytes()))? {
        Some(domain) => domain_xml::disk_path(&domain.definition()?)?,
        None => None,
    };
    let keeps_layer = current.is_some_and(|path| path == store.path(&resized)) && store.has(&resized)?;
    let disk = if keeps_layer { resized } else { names::disk(machine.id) };
    define_on(session, machine, &disk, accelerator)
}

/// Defines the machine with the given disk volume and its current accelerator.
pub fn define_with_disk(session: &Session, machine: &MachineSpec, disk: &str) -> Outcome<()> {
    let definition = find(session, machine.id)?.definition()?;
    let kind = super::xml::Element::parse(&definition)?.attribute("type").map(str::to_owned);
    let accelerator = if kind.as_deref() == Some("kvm") { Accelerator::Kvm } else { Accelerator::Tcg };
    define_on(session, machine, disk, accelerator)
}

/// Defines the domain before its filters and reservations, so that they can always be found from the domain.
fn define_on(session: &Session, machine: &MachineSpec, disk: &str, accelerator: Accelerator) -> Outcome<()> {
    let store = session.store()?;
    let (kernel, initrd) = (names::kernel(&machine.image), names::initrd(&machine.image));
    let config_drive = names::config_drive(machine.id);
    for needed in [disk, config_drive.as_str()] {
        if !store.has(needed)? {
            return Err(LibvirtError::NotFound(needed.to_owned()));
        }
    }
    if matches!(machine.boot, Boot::Kernel { .. }) && !store.has(&kernel)? {
        return Err(LibvirtError::NotFound(format!("kernel of image {}", machine.image)));
    }
    for nic in &machine.nics {
        check_card(session, nic)?;
    }
    let console = names::console(machine.id);
    store.ensure_raw(&console, 0)?;
    let initrd = store.has(&initrd)?.then(|| store.path(&initrd));
    session.connection.define_domain(&domain_xml::domain_xml(
        machine,
        &HostResources {
            accelerator,
            disk: &store.path(disk),
            config_drive: &store.path(&config_drive),
            console: &store.path(&console),
            kernel: &store.path(&kernel),
            initrd: initrd.as_deref(),
            has_cpu_shares: !session.without_cpu_shares.load(Ordering::Relaxed),
        },
    ))?;
    let runs = alive(session, machine.id)?.is_some_and(|alive| alive != Alive::Off);
    for nic in &machine.nics {
        filters::ensure(session, machine.id, nic.mac, &nic.allowed)?;
        // The reservations of a machine that is off are made at its start. Obsolete ones are removed at once.
        if runs || nic.lease.is_none() {
            networks::reserve(session, &nic.network, nic.mac, nic.lease)?;
        }
    }
    Ok(())
}

fn check_card(session: &Session, nic: &crate::Nic) -> Outcome<()> {
    if optional(session.connection.network(&nic.network))?.is_none() {
        return Err(LibvirtError::NotFound(format!("network {}", nic.network)));
    }
    check_count(&nic.allowed)
}

fn check_count(allowed: &[IpAddr]) -> Outcome<()> {
    let limit = filters::ADDRESSES_MAX;
    if allowed.len() > limit {
        return LibvirtError::refused(format!("a network card may use at most {limit} addresses"));
    }
    Ok(())
}

/// Starts the machine, then makes its DHCP reservations and connects its network cards while it boots: libvirt needs
/// half a second for each, and the guest needs neither before it has booted. If they fail, the machine is powered off
/// again.
pub fn start(session: &Session, machine: Uuid) -> Outcome<()> {
    let domain = find(session, machine)?;
    let booted = power_on(session, &domain)?;
    let connected = connect(session, &domain, machine);
    if connected.is_err() && booted {
        power_off(&domain)?;
    }
    connected
}

/// Makes a running machine's reservations and connects its network cards, unless that is done. Also called later,
/// because a process may have crashed after the start.
fn connect(session: &Session, domain: &Domain, machine: Uuid) -> Outcome<()> {
    for Lease { network, card, address } in domain_xml::leases(&domain.definition()?)? {
        networks::reserve(session, &network, card, Some(address))?;
    }
    plugs::plug_in(domain, machine)
}

/// Starts a domain. Returns whether it was off.
fn power_on(session: &Session, domain: &Domain) -> Outcome<bool> {
    if alive_of(domain)? != Alive::Off {
        return Ok(false);
    }
    match domain.start() {
        Err(fault) if lacks_cpu_shares(&fault) => start_without_cpu_shares(session, domain)?,
        Err(_) if alive_of(domain)? != Alive::Off => return Ok(false),
        answer => answer?,
    }
    Ok(true)
}

/// Returns whether a start failed because the host cannot apply CPU shares.
fn lacks_cpu_shares(fault: &Fault) -> bool {
    let about_shares = fault.message.contains("CPU tuning") || fault.message.contains("cgroup");
    about_shares && matches!(fault.code, code::CONFIG_UNSUPPORTED | code::OPERATION_INVALID | 1 | 38)
}

fn start_without_cpu_shares(session: &Session, domain: &Domain) -> Outcome<()> {
    if !session.without_cpu_shares.swap(true, Ordering::Relaxed) {
        let host = &session.address.uri;
        tracing::warn!(host, "the host has no CPU control group: machines run without CPU shares");
    }
    if let Some(definition) = domain_xml::without_cpu_shares(&domain.definition()?) {
        session.connection.define_domain(&definition)?;
    }
    Ok(domain.start()?)
}

pub fn stop(session: &Session, machine: Uuid) -> Outcome<()> {
    let domain = find(session, machine)?;
    power_off(&domain)
}

fn power_off(domain: &Domain) -> Outcome<()> {
    if alive_of(domain)? == Alive::Off {
        return Ok(());
    }
    match domain.destroy() {
        Err(_) if alive_of(domain)? == Alive::Off => Ok(()),
        answer => Ok(answer?),
    }
}

pub fn ask_to_shut_down(session: &Session, machine: Uuid) -> Outcome<()> {
    let domain = find(session, machine)?;
    match alive_of(&domain)? {
        Alive::Off => Ok(()),
        Alive::Paused => LibvirtError::refused("the machine is paused"),
        Alive::Running => Ok(domain.shut_down()?),
    }
}

pub fn reboot(session: &Session, machine: Uuid, kind: Reboot) -> Outcome<()> {
    let domain = find(session, machine)?;
    match kind {
        Reboot::Soft if alive_of(&domain)? == Alive::Running => {
            connect(session, &domain, machine)?;
            Ok(domain.reboot()?)
        }
        Reboot::Soft => LibvirtError::refused("the machine is not running"),
        Reboot::Hard => {
            power_off(&domain)?;
            start(session, machine)
        }
    }
}

pub fn pause(session: &Session, machine: Uuid) -> Outcome<()> {
    let domain = find(session, machine)?;
    match alive_of(&domain)? {
        Alive::Paused => Ok(()),
        Alive::Off => LibvirtError::refused("the machine does not run"),
        Alive::Running => Ok(domain.suspend()?),
    }
}

pub fn resume(session: &Session, machine: Uuid) -> Outcome<()> {
    let domain = find(session, machine)?;
    match alive_of(&domain)? {
        Alive::Running => connect(session, &domain, machine),
        Alive::Off => LibvirtError::refused("the machine is shut off"),
        Alive::Paused => {
            connect(session, &domain, machine)?;
            Ok(domain.resume()?)
        }
    }
}

pub fn usage(session: &Session, machine: Uuid) -> Outcome<Usage> {
    let domain = find(session, machine)?;
    let off = alive_of(&domain)? == Alive::Off;
    let mut usage = Usage { cpu_ns: if off { 0 } else { domain.cpu_ns()? }, nics: Vec::new() };
    for (mac, _) in domain_xml::cards(&domain.definition()?)? {
        let Ok(card) = mac.parse::<Mac>() else { continue };
        let (received_bytes, sent_bytes) = if off { (0, 0) } else { domain.interface_bytes(&mac)? };
        usage.nics.push(NicUsage { mac: card, received_bytes, sent_bytes });
    }
    Ok(usage)
}

const AGENT_SECONDS: i32 = 10;

pub fn set_password(session: &Session, machine: Uuid, user: &str, password: &str) -> Outcome<()> {
    let domain = find(session, machine)?;
    if alive_of(&domain)? != Alive::Running {
        return LibvirtError::refused("the machine is not running");
    }
    domain.limit_agent(AGENT_SECONDS)?;
    domain.set_password(user, password).map_err(|fault| match fault.code {
        code::AGENT_UNRESPONSIVE | code::AGENT_UNSYNCED => LibvirtError::GuestSilent(machine),
        code::ARGUMENT_UNSUPPORTED | code::CONFIG_UNSUPPORTED => LibvirtError::GuestSilent(machine),
        code::OPERATION_INVALID => LibvirtError::Refused(fault.message),
        _ if fault.message.contains("QEMU agent command") => LibvirtError::Refused(fault.message),
        _ => LibvirtError::Fault(fault),
    })
}

pub fn set_addresses(session: &Session, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Outcome<()> {
    check_count(allowed)?;
    let definition = find(session, machine)?.definition()?;
    let mac = card.to_string();
    if !domain_xml::cards(&definition)?.iter().any(|(existing, _)| *existing == mac) {
        return Err(LibvirtError::NotFound(format!("network card {card}")));
    }
    filters::ensure(session, machine, card, allowed)
}

/// Removes everything that belongs to the machine. The domain is removed last, because the rest is found from it.
pub fn delete(session: &Session, machine: Uuid) -> Outcome<()> {
    let store = session.store()?;
    let domain = optional(session.connection.domain(machine.as_bytes()))?;
    if let Some(domain) = &domain {
        power_off(domain)?;
        for (mac, network) in domain_xml::cards(&domain.definition()?)? {
            if let Ok(card) = mac.parse() {
                networks::reserve(session, &network, card, None)?;
            }
        }
    }
    filters::remove(session, machine)?;
    for name in names::volumes(machine) {
        store.remove(&name)?;
    }
    if let Some(domain) = domain {
        ignore_absent(domain.undefine())?;
    }
    // A start whose caller was cancelled may have run meanwhile: the machine would run without a definition.
    match optional(session.connection.domain(machine.as_bytes()))? {
        Some(domain) => power_off(&domain),
        None => Ok(()),
    }
}
