//! Network cards of a machine that starts. It begins to boot with its cards unplugged and without their packet filters,
//! which take libvirt half a second each, and is plugged in behind them meanwhile. What a death in between leaves
//! unplugged is plugged in by the next start, which finds the machine running.

use uuid::Uuid;

use super::names;
use super::sys::Domain;
use super::trouble::{Outcome, Trouble};
use super::xml::Element;
use crate::Mac;

const UNPLUGGED: &str = "<link state='down'/>";
const PLUGGED: &str = "<link state='up'/>";
const FILTER: &str = "<filterref ";

/// The shape in which a machine of this definition starts.
pub fn unplugged(definition: &str) -> String {
    let mut shape = String::with_capacity(definition.len());
    let mut rest = definition;
    while let Some((before, filter)) = rest.split_once(FILTER) {
        let Some((_, after)) = filter.split_once("/>") else { break };
        shape.extend([before, UNPLUGGED]);
        rest = after;
    }
    shape + rest
}

/// Plugs in the cards of a running machine that are not yet, each behind its filter.
pub fn plug_in(domain: &Domain, machine: Uuid) -> Outcome<()> {
    let running = domain.live_definition()?;
    for card in cards(&running).filter(|card| card.contains(UNPLUGGED)) {
        let filtered = filtered(card, machine)?;
        if filtered != card {
            domain.change_live_device(&filtered)?;
        }
        domain.change_live_device(&filtered.replace(UNPLUGGED, PLUGGED))?;
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

fn filtered(card: &str, machine: Uuid) -> Outcome<String> {
    if card.contains(FILTER) {
        return Ok(card.to_owned());
    }
    let mac = Element::parse(card)?.attribute_at(&["mac"], "address").and_then(|mac| mac.parse::<Mac>().ok());
    let mac = mac.ok_or_else(|| Trouble::Failed("a network card without an address".to_owned()))?;
    let filter = names::filter(machine, mac);
    Ok(card.replace(UNPLUGGED, &format!("{FILTER}filter='{filter}'/>{UNPLUGGED}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINED: &str = "<domain><devices>\
        <interface type='network'><mac address='02:4e:00:00:00:01'/><filterref filter='one'/></interface>\
        <interface type='network'><mac address='02:4e:00:00:00:02'/><filterref filter='two'/></interface>\
        </devices></domain>";

    #[test]
    fn a_machine_starts_without_a_plugged_card() {
        let shape = unplugged(DEFINED);
        assert!(!shape.contains(FILTER), "{shape}");
        let links: Vec<_> = cards(&shape).map(|card| card.contains(UNPLUGGED)).collect();
        assert_eq!(links, [true, true]);
        assert_eq!(unplugged("<domain/>"), "<domain/>");
    }

    #[test]
    fn a_card_is_filtered_before_it_is_plugged_in() {
        let (machine, shape) = (Uuid::nil(), unplugged(DEFINED));
        let filter = "<filterref filter='nephos-00000000-0000-0000-0000-000000000000-024e00000002'/>";
        let card = filtered(cards(&shape).nth(1).unwrap(), machine).unwrap();
        assert!(card.contains(filter) && card.contains(UNPLUGGED) && !card.contains(PLUGGED), "{card}");
        assert_eq!(filtered(&card, machine).unwrap(), card, "half done");
    }
}
