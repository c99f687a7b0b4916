//! Networks on a host and the DHCP reservations in them.

use std::net::Ipv4Addr;

use super::error::{LibvirtError, Outcome, optional};
use super::link::Session;
use super::sys::{Change, Network};
use super::xml::{Element, escape};
use crate::{Forward, Mac, NetworkSpec};

pub fn ensure(session: &Session, spec: &NetworkSpec) -> Outcome<()> {
    check(spec)?;
    let network = match optional(session.connection.network(&spec.name))? {
        Some(network) => network,
        None => match session.connection.define_network(&network_xml(spec)) {
            Ok(network) => network,
            Err(fault) => optional(session.connection.network(&spec.name))?.ok_or_else(|| conflict(fault))?,
        },
    };
    let existing = Element::parse(&network.definition()?)?;
    if properties(&existing) != properties(&Element::parse(&network_xml(spec))?) {
        return LibvirtError::refused(format!("network {} exists with other properties", spec.name));
    }
    if existing.at(&["ip"]).is_some() && reserved(&existing).next().is_none() {
        // The network was created by hand. Another process may add the reservation at the same time.
        if let Err(fault) = network.change_reservation(Change::Add, &placeholder(spec).xml()) {
            tracing::debug!(
                network = spec.name,
                reason = fault.message,
                "cannot add the placeholder reservation"
            );
        }
    }
    if !network.is_active() {
        network
            .start()
            .or_else(|fault| if network.is_active() { Ok(()) } else { Err(fault) })
            .map_err(conflict)?;
    }
    Ok(network.start_with_host()?)
}

fn check(spec: &NetworkSpec) -> Outcome<()> {
    let is_valid = |text: &str, longest| {
        let fits = (1..=longest).contains(&text.len());
        fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if !is_valid(&spec.name, 40) {
        return LibvirtError::refused("the network's name must have 1 to 40 letters, digits, `-` and `_`");
    }
    if !is_valid(&spec.bridge, 15) {
        return LibvirtError::refused(
            "the bridge's name must have 1 to 15 letters, digits, `-`, `_` and `.`",
        );
    }
    if spec.forward != Forward::Bridge && !spec.subnet.contains(&spec.gateway) {
        return LibvirtError::refused(format!("gateway {} is not in {}", spec.gateway, spec.subnet));
    }
    Ok(())
}

/// Converts libvirt's error for a bridge or subnet that is in use.
fn conflict(fault: super::sys::Fault) -> LibvirtError {
    let messages = ["already in use", "already exists", "File exists"];
    if messages.iter().any(|text| fault.message.contains(text)) {
        LibvirtError::Refused(fault.message)
    } else {
        LibvirtError::Fault(fault)
    }
}

fn network_xml(spec: &NetworkSpec) -> String {
    let NetworkSpec { name, bridge, subnet, gateway, forward } = spec;
    let (name, bridge) = (escape(name), escape(bridge));
    if *forward == Forward::Bridge {
        return format!(
            "<network><name>{name}</name><forward mode='bridge'/><bridge name='{bridge}'/></network>"
        );
    }
    let forwarding = match forward {
        Forward::Nat => "<forward mode='nat'/>",
        Forward::Route => "<forward mode='route'/>",
        Forward::Isolated | Forward::Bridge => "",
    };
    let (prefix, placeholder) = (subnet.prefix_len(), placeholder(spec).xml());
    format!(
        "<network><name>{name}</name>{forwarding}<bridge name='{bridge}' stp='off' delay='0'/>\
         <ip address='{gateway}' prefix='{prefix}'><dhcp>{placeholder}</dhcp></ip></network>"
    )
}

/// Returns a permanent reservation of the gateway's address for a hardware address that is never assigned. Without it
/// libvirt would restart the network's DHCP server, which takes more than a second, when the first reservation is
/// added and the last one removed.
fn placeholder(spec: &NetworkSpec) -> Reservation {
    Reservation { mac: "02:4e:00:00:00:00".to_owned(), address: spec.gateway.to_string() }
}

/// Returns the properties that must be equal: forwarding, bridge, address and prefix.
fn properties(network: &Element) -> (Option<&str>, Option<&str>, Option<&str>, Option<u8>) {
    let netmask = network.attribute_at(&["ip"], "netmask").and_then(|mask| mask.parse::<Ipv4Addr>().ok());
    let from_mask = netmask.map(|mask| mask.to_bits().leading_ones() as u8);
    let prefix = network.attribute_at(&["ip"], "prefix").and_then(|prefix| prefix.parse().ok()).or(from_mask);
    (
        network.attribute_at(&["forward"], "mode"),
        network.attribute_at(&["bridge"], "name"),
        network.attribute_at(&["ip"], "address"),
        prefix,
    )
}

pub fn remove(session: &Session, name: &str) -> Outcome<()> {
    let Some(network) = optional(session.connection.network(name))? else {
        return Ok(());
    };
    for domain in session.connection.domains()? {
        let Some(definition) = optional(domain.definition())? else {
            continue;
        };
        if super::domain_xml::cards(&definition)?.iter().any(|(_, attached)| attached == name) {
            return LibvirtError::refused(format!("machines are attached to network {name}"));
        }
    }
    if network.is_active() {
        network.stop()?;
    }
    Ok(network.undefine()?)
}

struct Reservation {
    mac: String,
    address: String,
}

impl Reservation {
    fn xml(&self) -> String {
        format!("<host mac='{}' ip='{}'/>", escape(&self.mac), escape(&self.address))
    }
}

/// Returns the reservations in a network's definition.
fn reserved(definition: &Element) -> impl Iterator<Item = Reservation> {
    let hosts = definition.at(&["ip", "dhcp"]).into_iter().flat_map(|dhcp| dhcp.children("host"));
    hosts.filter_map(|host| {
        let mac = host.attribute("mac")?.to_lowercase();
        Some(Reservation { mac, address: host.attribute("ip")?.to_owned() })
    })
}

/// Maximum number of attempts: another process may change reservations between reading and changing them.
const ATTEMPTS_MAX: usize = 4;

/// Sets a card's reservation in a network to this address, or removes it.
pub fn reserve(session: &Session, name: &str, card: Mac, address: Option<Ipv4Addr>) -> Outcome<()> {
    let Some(network) = optional(session.connection.network(name))? else {
        return if address.is_none() {
            Ok(())
        } else {
            Err(LibvirtError::NotFound(format!("network {name}")))
        };
    };
    if Element::parse(&network.definition()?)?.at(&["ip"]).is_none() {
        return Ok(());
    }
    let (mac, wanted) = (card.to_string(), address.map(|address| address.to_string()));
    let mut attempts = 0;
    loop {
        attempts += 1;
        match reserve_once(&network, &mac, wanted.as_deref()) {
            Err(LibvirtError::Fault(fault)) if attempts < ATTEMPTS_MAX => {
                tracing::debug!(
                    network = name,
                    mac,
                    reason = fault.message,
                    "cannot change a reservation; retrying"
                );
            }
            result => return result,
        }
    }
}

fn reserve_once(network: &Network, mac: &str, wanted: Option<&str>) -> Outcome<()> {
    let mut exists = false;
    for existing in reserved(&Element::parse(&network.definition()?)?) {
        let same = existing.mac == mac && Some(existing.address.as_str()) == wanted;
        if same {
            exists = true;
        } else if existing.mac == mac || Some(existing.address.as_str()) == wanted {
            network.change_reservation(Change::Delete, &existing.xml())?;
        }
    }
    if let (Some(address), false) = (wanted, exists) {
        let new = Reservation { mac: mac.to_owned(), address: address.to_owned() };
        network.change_reservation(Change::Add, &new.xml())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(forward: Forward) -> NetworkSpec {
        NetworkSpec {
            name: "public".to_owned(),
            bridge: "br-public".to_owned(),
            subnet: "203.0.113.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(203, 0, 113, 1),
            forward,
        }
    }

    #[test]
    fn a_definition_formatted_by_libvirt_is_recognised() {
        let theirs = "<network><name>public</name><uuid>x</uuid><forward mode='nat'><nat><port start='1' end='2'/>\
                      </nat></forward><bridge name='br-public' stp='off' delay='0'/>\
                      <ip address='203.0.113.1' netmask='255.255.255.0'><dhcp/></ip></network>";
        let theirs = Element::parse(theirs).unwrap();
        let ours = |forward| Element::parse(&network_xml(&spec(forward))).unwrap();
        assert_eq!(properties(&theirs), properties(&ours(Forward::Nat)));
        assert_ne!(properties(&theirs), properties(&ours(Forward::Isolated)));
    }

    #[test]
    fn a_gateway_outside_of_the_subnet_is_rejected() {
        let wrong = NetworkSpec { gateway: Ipv4Addr::new(10, 0, 0, 1), ..spec(Forward::Nat) };
        assert!(matches!(check(&wrong), Err(LibvirtError::Refused(_))));
    }
}
