//! Kills during asynchronous operations: a selection. `make kills` runs all of them.

use tests::kills::{Case, End, Operation, Stage, Victim};

fn play(cases: &[(Operation, &'static str, Victim, End)]) {
    let mut stage = Stage::new();
    for (operation, step, victim, expected) in cases {
        let end = stage.play(Case { operation: *operation, step, victim: *victim });
        assert_eq!(end, *expected, "{} {step} {}", operation.name(), victim.name());
    }
    stage.close().unwrap();
}

#[test]
fn a_server_ends_as_promised_if_a_process_is_killed_while_it_changes() {
    play(&[
        (Operation::RebootHard, "after.reboot", Victim::Libvirt, End::Done),
        (Operation::Password, "before.set_password", Victim::Nephos, End::Done),
        (Operation::Rebuild, "after.replace_disk", Victim::Nephos, End::Done),
        (Operation::Image, "after.take_snapshot", Victim::Nephos, End::Done),
        (Operation::ShareConfigured, "after.set_addresses", Victim::Libvirt, End::Done),
        (Operation::Unshare, "before.set_addresses", Victim::Nephos, End::Done),
    ]);
}

#[test]
fn a_server_ends_as_promised_if_a_process_is_killed_during_resize_create_or_delete() {
    play(&[
        (Operation::Resize, "after.begin_resize", Victim::Nephos, End::Done),
        (Operation::Confirm, "before.confirm_resize", Victim::Libvirt, End::Done),
        (Operation::Revert, "after.stop", Victim::Nephos, End::Done),
        (Operation::Delete, "before.delete", Victim::Qemu, End::Done),
        (Operation::Build, "after.define", Victim::Libvirt, End::Done),
        (Operation::Build, "after.start", Victim::Qemu, End::Revived),
    ]);
}
