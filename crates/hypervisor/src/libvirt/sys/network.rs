//! Networks and packet filters.

use super::*;

const SECTION_DHCP_HOST: c_uint = 4;
const FIRST_MATCH: c_int = -1;
const LIVE: c_uint = 1;
const CONFIG: c_uint = 2;

/// A change of a DHCP reservation; the values are those of `virNetworkUpdateCommand`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Delete = 2,
    Add = 3,
}

impl Network {
    pub fn definition(&self) -> Outcome<String> {
        owned_text(call!(self, virNetworkGetXMLDesc(0)))
    }

    pub fn is_active(&self) -> bool {
        call!(self, virNetworkIsActive()) == 1
    }

    pub fn start(&self) -> Outcome<()> {
        done(call!(self, virNetworkCreate()))
    }

    pub fn stop(&self) -> Outcome<()> {
        done(call!(self, virNetworkDestroy()))
    }

    pub fn undefine(&self) -> Outcome<()> {
        done(call!(self, virNetworkUndefine()))
    }

    pub fn start_with_host(&self) -> Outcome<()> {
        done(call!(self, virNetworkSetAutostart(1)))
    }

    /// Changes one DHCP reservation, both at once and in the stored definition.
    pub fn change_reservation(&self, change: Change, host_xml: &str) -> Outcome<()> {
        let xml = text(host_xml)?;
        let scope = if self.is_active() { LIVE | CONFIG } else { CONFIG };
        let (command, section) = (change as c_uint, SECTION_DHCP_HOST);
        done(call!(self, virNetworkUpdate(command, section, FIRST_MATCH, xml.as_ptr(), scope)))
    }
}

impl Filter {
    pub fn name(&self) -> String {
        borrowed_text(call!(self, virNWFilterGetName()))
    }

    pub fn definition(&self) -> Outcome<String> {
        owned_text(call!(self, virNWFilterGetXMLDesc(0)))
    }

    pub fn undefine(&self) -> Outcome<()> {
        done(call!(self, virNWFilterUndefine()))
    }
}
