//! Packet filters: one per network card. It allows the guest only its own hardware address and its allowed IP
//! addresses. A change applies to a running guest at once.

use std::net::IpAddr;

use uuid::Uuid;

use super::error::{Outcome, ignore_absent, optional};
use super::link::Session;
use super::names;
use super::xml::Element;
use crate::Mac;

pub fn ensure(session: &Session, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Outcome<()> {
    let name = names::filter(machine, card);
    let existing = optional(session.connection.filter(&name))?;
    let identity = match &existing {
        Some(filter) => Element::parse(&filter.definition()?)?.text_at(&["uuid"]).map(str::to_owned),
        None => None,
    };
    session.connection.define_filter(&filter_xml(&name, identity.as_deref(), allowed))?;
    Ok(())
}

/// Removes a machine's filters. Its domain must be off.
pub fn remove(session: &Session, machine: Uuid) -> Outcome<()> {
    let ours = names::filters(machine);
    for filter in session.connection.filters()?.iter().filter(|filter| filter.name().starts_with(&ours)) {
        ignore_absent(filter.undefine())?;
    }
    Ok(())
}

/// Returns the rules in order. `out` is traffic from the guest; libvirt replaces `$MAC` by the card's hardware address.
fn rules(allowed: &[IpAddr]) -> Vec<(&'static str, &'static str, String)> {
    let mut rules = vec![
        ("drop", "out", "<mac match='no' srcmacaddr='$MAC'/>".to_owned()),
        ("drop", "out", "<arp match='no' arpsrcmacaddr='$MAC'/>".to_owned()),
        ("accept", "out", "<arp arpsrcipaddr='0.0.0.0'/>".to_owned()),
        (
            "accept",
            "out",
            "<ip srcipaddr='0.0.0.0' protocol='udp' srcportstart='68' dstportstart='67'/>".to_owned(),
        ),
    ];
    for address in allowed {
        match address {
            IpAddr::V4(address) => {
                rules.push(("accept", "out", format!("<arp arpsrcipaddr='{address}'/>")));
                rules.push(("accept", "out", format!("<ip srcipaddr='{address}'/>")));
            }
            IpAddr::V6(address) => rules.push(("accept", "out", format!("<ipv6 srcipaddr='{address}'/>"))),
        }
    }
    rules.push(("accept", "in", "<mac protocolid='arp'/>".to_owned()));
    rules.push(("accept", "in", "<mac protocolid='ipv4'/>".to_owned()));
    if allowed.iter().any(IpAddr::is_ipv6) {
        for neighbours in
            ["<ipv6 srcipaddr='fe80::' srcipmask='10' protocol='icmpv6'/>", "<ipv6 srcipaddr='::'/>"]
        {
            rules.push(("accept", "out", neighbours.to_owned()));
        }
        rules.push(("accept", "in", "<mac protocolid='ipv6'/>".to_owned()));
    }
    rules.push(("drop", "inout", String::new()));
    rules
}

const FIRST_PRIORITY: i32 = -900;

fn filter_xml(name: &str, identity: Option<&str>, allowed: &[IpAddr]) -> String {
    let identity = identity.map_or(String::new(), |identity| format!("<uuid>{identity}</uuid>"));
    let mut xml = format!("<filter name='{name}' chain='root'>{identity}");
    for (priority, (action, direction, matching)) in (FIRST_PRIORITY..).zip(rules(allowed)) {
        let tag = format!("<rule action='{action}' direction='{direction}' priority='{priority}'");
        xml.push_str(&if matching.is_empty() { tag + "/>" } else { format!("{tag}>{matching}</rule>") });
    }
    xml + "</filter>"
}

/// Maximum number of addresses per card, so that the priorities stay below libvirt's limit of 1000.
pub const ADDRESSES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_drops_everything() {
        let rules = rules(&[]);
        assert_eq!(rules.last(), Some(&("drop", "inout", String::new())));
        let allowed = rules.iter().filter(|(action, way, _)| *action == "accept" && *way == "out");
        assert_eq!(allowed.count(), 2, "without addresses: ARP probes and DHCP only");
    }

    #[test]
    fn each_allowed_address_has_its_rules() {
        let xml =
            filter_xml("f", Some("u"), &["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
        for part in [
            "<uuid>u</uuid>",
            "<arp arpsrcipaddr='203.0.113.7'/>",
            "<ip srcipaddr='203.0.113.7'/>",
            "<ipv6 srcipaddr='2001:db8::7'/>",
        ] {
            assert!(xml.contains(part), "{part}");
        }
    }
}
