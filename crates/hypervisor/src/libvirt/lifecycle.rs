//! Converts libvirt's states, reasons and lifecycle events.

use uuid::Uuid;

use super::names;
use super::sys::Lifecycle;
use crate::{Event, MachineState, Power};

/// Returns the power state and reason of a `virDomainState` and its reason.
pub fn power(state: i32, reason: i32) -> (Power, &'static str) {
    match (state, reason) {
        (1, 1) => (Power::Running, "booted"),
        (1, 5) => (Power::Running, "unpaused"),
        (1 | 2, _) => (Power::Running, "running"),
        (3, 1) => (Power::Paused, "user"),
        (3, 5) => (Power::Paused, "ioerror"),
        (3, 9) => (Power::Paused, "snapshot"),
        (3, 10) | (6, _) => (Power::Crashed, "panicked"),
        (3, 11) => (Power::Paused, "starting"),
        (3, _) => (Power::Paused, "paused"),
        (4, _) => (Power::Running, "shutting down"),
        (5, 1) => (Power::ShutOff, "shutdown"),
        (5, 2) => (Power::ShutOff, "destroyed"),
        (5, 3) => (Power::Crashed, "crashed"),
        (5, 4) => (Power::ShutOff, "migrated"),
        (5, 5) => (Power::ShutOff, "saved"),
        (5, 6) => (Power::ShutOff, "failed to start"),
        (5, 8) => (Power::Crashed, "killed by the daemon"),
        (5, _) => (Power::ShutOff, "shut off"),
        (7, _) => (Power::Paused, "suspended by the guest"),
        _ => (Power::ShutOff, "unknown"),
    }
}

/// Converts a lifecycle event; `None` if the domain is not one of Nephos' machines or its power state has not changed.
pub fn event(happened: &Lifecycle) -> Option<Event> {
    let id: Uuid = names::machine_of_domain(&happened.domain)?;
    let (power, reason) = match (happened.event, happened.detail) {
        (1, _) => (Power::Absent, "deleted"),
        (2, _) => (Power::Running, "booted"),
        (3, 2) => (Power::Paused, "ioerror"),
        (3, _) => (Power::Paused, "user"),
        (4, _) => (Power::Running, "unpaused"),
        (5, 0) => (Power::ShutOff, "shutdown"),
        (5, 1) => (Power::ShutOff, "destroyed"),
        // libvirt reports "failed" if QEMU was killed and also if it did not start.
        (5, 2 | 5) => (Power::Crashed, "crashed"),
        (5, _) => (Power::ShutOff, "shut off"),
        (8, _) => (Power::Crashed, "panicked"),
        _ => return None,
    };
    Some(Event::Machine(MachineState { id, power, reason: reason.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_process_is_a_crash() {
        assert_eq!(power(5, 3), (Power::Crashed, "crashed"));
        let id = Uuid::from_u128(7);
        let happened = Lifecycle { domain: names::domain(id), event: 5, detail: 5 };
        let state = MachineState { id, power: Power::Crashed, reason: "crashed".to_owned() };
        assert_eq!(event(&happened), Some(Event::Machine(state)));
    }

    #[test]
    fn events_of_other_domains_are_ignored() {
        assert_eq!(event(&Lifecycle { domain: "db1".to_owned(), event: 5, detail: 0 }), None);
    }
}
