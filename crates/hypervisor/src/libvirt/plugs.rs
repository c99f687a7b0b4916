//! Network cards are plugged in after the start. libvirt takes half a second to put up a card's packet filter, and does
//! so before it starts QEMU where a definition asks for a filter; so definitions have their cards unplugged and without
//! one, and each card gets its filter and its plug, in this order, while the machine boots.

use uuid::Uuid;

use super::names;
use super::sys::Domain;
use super::trouble::{Outcome, Trouble};
use super::xml::Element;
use crate::Mac;

/// How a definition says that a card is unplugged.
pub const UNPLUGGED: &str = "<link state='down'/>";
const PLUGGED: &str = "<link state='up'/>";
const FILTER: &str = "<filterref ";

/// Plugs in the cards of a running machine that are not yet.
pub fn plug_in(domain: &Domain, machine: Uuid) -> Outcome<()> {
    let running = domain.live_definition()?;
    // One that has its filter was plugged in once: whoever unplugged it meant that.
    for card in cards(&running).filter(|card| card.contains(UNPLUGGED) && !card.contains(FILTER)) {
        // libvirt puts up the filter before it changes the link, and leaves the link if it cannot.
        domain.change_live_device(&plugged(card, machine)?)?;
    }
    Ok(())
}

/// The cards in a definition, as they are written there.
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
    let mac = mac.ok_or_else(|| Trouble::Failed("a network card without an address".to_owned()))?;
    let filter = names::filter(machine, mac);
    Ok(card.replace(UNPLUGGED, &format!("{PLUGGED}{FILTER}filter='{filter}'/>")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_is_plugged_in_behind_its_own_filter() {
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
