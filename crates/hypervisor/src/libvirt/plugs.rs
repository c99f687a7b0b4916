//! Network cards are connected after the start. libvirt needs half a second to install a card's packet filter, and if
//! the definition has a filter, it does so before it starts QEMU. Therefore definitions have their cards disconnected
//! and without filters. While the machine boots, each card first gets its filter and is then connected.

use uuid::Uuid;

use super::error::{LibvirtError, Outcome};
use super::names;
use super::sys::Domain;
use super::xml::Element;
use crate::Mac;

/// Marks a card as disconnected in a definition.
pub const UNPLUGGED: &str = "<link state='down'/>";
const PLUGGED: &str = "<link state='up'/>";
const FILTER: &str = "<filterref ";

/// Connects those cards of a running machine that were never connected.
pub fn plug_in(domain: &Domain, machine: Uuid) -> Outcome<()> {
    let running = domain.live_definition()?;
    // A disconnected card with a filter was connected before: an operator has disconnected it.
    for card in cards(&running).filter(|card| card.contains(UNPLUGGED) && !card.contains(FILTER)) {
        // libvirt installs the filter before it changes the link, and keeps the link down if that fails.
        domain.change_live_device(&plugged(card, machine)?)?;
    }
    Ok(())
}

/// Returns the XML of the cards in a definition.
fn cards(definition: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "<interface ";
    const END: &str = "</interface>";
    definition.match_indices(BEGIN).filter_map(|(begin, _)| {
        let length = definition[begin..].find(END)? + END.len();
        Some(&definition[begin..begin + length])
    })
}

fn plugged(card: &str, machine: Uuid) -> Outcome<String> {
    let mac = Element::parse(card)?.attribute_at(&["mac"], "address").and_then(|mac| mac.parse::<Mac>().ok());
    let mac = mac.ok_or_else(|| LibvirtError::Failed("a network card has no hardware address".to_owned()))?;
    let filter = names::filter(machine, mac);
    Ok(card.replace(UNPLUGGED, &format!("{PLUGGED}{FILTER}filter='{filter}'/>")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_is_connected_with_its_own_filter() {
        let definition = "<domain><devices><interface type='network'><mac address='02:4e:00:00:00:01'/>\
                          <link state='down'/></interface><interface type='network'>\
                          <mac address='02:4e:00:00:00:02'/><link state='down'/></interface></devices></domain>";
        let plugged: Vec<_> = cards(definition).map(|card| plugged(card, Uuid::nil()).unwrap()).collect();
        let with = |digits: &str| {
            format!("<link state='up'/><filterref filter='nephos-{}-{digits}'/></interface>", Uuid::nil())
        };
        assert_eq!(plugged.len(), 2);
        assert!(plugged[0].ends_with(&with("024e00000001")), "{}", plugged[0]);
        assert!(plugged[1].ends_with(&with("024e00000002")), "{}", plugged[1]);
    }
}
