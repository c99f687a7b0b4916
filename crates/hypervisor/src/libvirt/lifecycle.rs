//! libvirt's states, reasons and lifecycle events in our words.

use uuid::Uuid;

use super::names;
use super::sys::Lifecycle;
use crate::{Event, MachineState, Power};

/// What a `virDomainState` and its reason mean.
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

/// What happened to one of our machines; nothing if it is not ours or its power state is as before.
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
        // "Failed" is what libvirt says when QEMU was killed, and also when it never came up.
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
    fn machines_of_others_are_nothing_to_us() {
        assert_eq!(event(&Lifecycle { domain: "db1".to_owned(), event: 5, detail: 0 }), None);
    }
}
