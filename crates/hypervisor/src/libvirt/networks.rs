//! Networks on a host and the DHCP reservations in them.

use std::net::Ipv4Addr;

use super::link::Session;
use super::sys::{Change, Network};
use super::trouble::{Outcome, Trouble, found};
use super::xml::{Element, escape};
use crate::{Forward, Mac, NetworkSpec};

pub fn ensure(session: &Session, spec: &NetworkSpec) -> Outcome<()> {
    check(spec)?;
    let network = match found(session.connection.network(&spec.name))? {
        Some(network) => network,
        None => match session.connection.define_network(&network_xml(spec)) {
            Ok(network) => network,
            Err(fault) => found(session.connection.network(&spec.name))?.ok_or_else(|| taken(fault))?,
        },
    };
    let existing = Element::parse(&network.definition()?)?;
    if shape(&existing) != shape(&Element::parse(&network_xml(spec))?) {
        return Trouble::refused(format!("network {} exists with other properties", spec.name));
    }
    if existing.at(&["ip"]).is_some() && reserved(&existing).next().is_none() {
        // It may have been made by hand, or been given one by somebody else in this moment.
        if let Err(fault) = network.change_reservation(Change::Add, &keeper(spec).xml()) {
            tracing::debug!(network = spec.name, reason = fault.message, "no reservation of the gateway's");
        }
    }
    if !network.is_active() {
        network
            .start()
            .or_else(|fault| if network.is_active() { Ok(()) } else { Err(fault) })
            .map_err(taken)?;
    }
    Ok(network.start_with_host()?)
}

fn check(spec: &NetworkSpec) -> Outcome<()> {
    let word = |text: &str, longest| {
        let fits = (1..=longest).contains(&text.len());
        fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if !word(&spec.name, 40) {
        return Trouble::refused("the network's name is 1 to 40 letters, digits, `-` and `_`");
    }
    if !word(&spec.bridge, 15) {
        return Trouble::refused("the bridge's name is 1 to 15 letters, digits, `-`, `_` and `.`");
    }
    if spec.forward != Forward::Bridge && !spec.subnet.contains(&spec.gateway) {
        return Trouble::refused(format!("gateway {} is not in {}", spec.gateway, spec.subnet));
    }
    Ok(())
}

/// What libvirt answers when a bridge or subnet belongs to someone else.
fn taken(fault: super::sys::Fault) -> Trouble {
    let others = ["already in use", "already exists", "File exists"];
    if others.iter().any(|words| fault.message.contains(words)) {
        Trouble::Refused(fault.message)
    } else {
        Trouble::Fault(fault)
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
    let (prefix, keeper) = (subnet.prefix_len(), keeper(spec).xml());
    format!(
        "<network><name>{name}</name>{forwarding}<bridge name='{bridge}' stp='off' delay='0'/>\
         <ip address='{gateway}' prefix='{prefix}'><dhcp>{keeper}</dhcp></ip></network>"
    )
}

/// A reservation that stays, of the gateway's own address for a card that is never given: with the first reservation of a
/// network and after its last one libvirt starts its DHCP server anew, which takes more than a second.
fn keeper(spec: &NetworkSpec) -> Reservation {
    Reservation { mac: "02:4e:00:00:00:00".to_owned(), address: spec.gateway.to_string() }
}

/// What may not differ: forwarding, bridge, address and prefix.
fn shape(network: &Element) -> (Option<&str>, Option<&str>, Option<&str>, Option<u8>) {
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
    let Some(network) = found(session.connection.network(name))? else {
        return Ok(());
    };
    for domain in session.connection.domains()? {
        let Some(definition) = found(domain.definition())? else {
            continue;
        };
        if super::domain_xml::cards(&definition)?.iter().any(|(_, attached)| attached == name) {
            return Trouble::refused(format!("machines are attached to network {name}"));
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

/// The reservations in a network's definition.
fn reserved(definition: &Element) -> impl Iterator<Item = Reservation> {
    let hosts = definition.at(&["ip", "dhcp"]).into_iter().flat_map(|dhcp| dhcp.children("host"));
    hosts.filter_map(|host| {
        let mac = host.attribute("mac")?.to_lowercase();
        Some(Reservation { mac, address: host.attribute("ip")?.to_owned() })
    })
}

/// Others may change reservations between our look and our change; then we look again.
const TRIES: usize = 4;

/// Brings a card's reservation in a network to this address, or to none.
pub fn reserve(session: &Session, name: &str, card: Mac, address: Option<Ipv4Addr>) -> Outcome<()> {
    let Some(network) = found(session.connection.network(name))? else {
        return if address.is_none() { Ok(()) } else { Err(Trouble::NotFound(format!("network {name}"))) };
    };
    if Element::parse(&network.definition()?)?.at(&["ip"]).is_none() {
        return Ok(());
    }
    let (mac, wanted) = (card.to_string(), address.map(|address| address.to_string()));
    let mut tries = 0;
    loop {
        tries += 1;
        match reserve_once(&network, &mac, wanted.as_deref()) {
            Err(Trouble::Fault(fault)) if tries < TRIES => {
                tracing::debug!(network = name, mac, reason = fault.message, "reservation tried again");
            }
            answer => return answer,
        }
    }
}

fn reserve_once(network: &Network, mac: &str, wanted: Option<&str>) -> Outcome<()> {
    let mut there = false;
    for existing in reserved(&Element::parse(&network.definition()?)?) {
        let same = existing.mac == mac && Some(existing.address.as_str()) == wanted;
        if same {
            there = true;
        } else if existing.mac == mac || Some(existing.address.as_str()) == wanted {
            network.change_reservation(Change::Delete, &existing.xml())?;
        }
    }
    if let (Some(address), false) = (wanted, there) {
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
    fn libvirts_own_wording_of_a_network_is_recognised() {
        let theirs = "<network><name>public</name><uuid>x</uuid><forward mode='nat'><nat><port start='1' end='2'/>\
                      </nat></forward><bridge name='br-public' stp='off' delay='0'/>\
                      <ip address='203.0.113.1' netmask='255.255.255.0'><dhcp/></ip></network>";
        let theirs = Element::parse(theirs).unwrap();
        let ours = |forward| Element::parse(&network_xml(&spec(forward))).unwrap();
        assert_eq!(shape(&theirs), shape(&ours(Forward::Nat)));
        assert_ne!(shape(&theirs), shape(&ours(Forward::Isolated)));
    }

    #[test]
    fn a_gateway_outside_of_the_subnet_is_refused() {
        let wrong = NetworkSpec { gateway: Ipv4Addr::new(10, 0, 0, 1), ..spec(Forward::Nat) };
        assert!(matches!(check(&wrong), Err(Trouble::Refused(_))));
    }
}
