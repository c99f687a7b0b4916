//! The state machine of a server: its VM state, its current task, and the actions that they allow. A server has at
//! most one task, and every task ends.

use serde::{Deserialize, Serialize};

/// The state of a server without regard to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vm {
    /// It has not run yet.
    Building,
    /// It runs.
    Active,
    /// Its guest shut itself down, or its host lost power.
    Stopped,
    /// Held by the operator.
    Suspended,
    /// It runs in its new size; the old one is kept until the resize is confirmed or reverted.
    Resized,
    /// It failed; the fault says why.
    Error,
    /// It was deleted.
    Deleted,
}

/// The current task of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Its first build.
    Spawning,
    /// The guest was asked to reboot.
    Rebooting,
    /// It is being powered off and on.
    RebootingHard,
    /// Its administrative password is being changed.
    UpdatingPassword,
    /// Its disk is being replaced.
    Rebuilding,
    /// A resize was accepted.
    ResizeQueued,
    /// A resize is in progress.
    ResizePrep,
    /// A resize is being confirmed.
    ResizeConfirming,
    /// A resize is being reverted.
    ResizeReverting,
    /// A shared address is being added, and configured in the guest.
    SharingIp,
    /// A shared address is being added.
    SharingIpNoConfig,
    /// A shared address is being removed.
    RemovingIp,
    /// An image of it is being created.
    Imaging,
    /// The operator suspends it.
    Suspending,
    /// The operator resumes it.
    Resuming,
    /// It is started after its host was down.
    Starting,
    /// It is being deleted.
    Deleting,
}

/// How a server is rebooted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reboot {
    /// The guest is asked to reboot.
    Soft,
    /// The machine is powered off and on.
    Hard,
}

/// An action on a server, requested by a caller or by the cloud itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Changes its name.
    Rename,
    /// Changes its administrative password.
    ChangePassword,
    /// Reboots it.
    Reboot(Reboot),
    /// Replaces its disk by a new one from an image.
    Rebuild,
    /// Changes its flavor.
    Resize,
    /// Confirms a resize.
    ConfirmResize,
    /// Reverts a resize.
    RevertResize,
    /// Creates an image of its disk.
    CreateImage,
    /// Adds a shared address.
    ShareIp {
        /// Whether the address is configured in the guest.
        configure: bool,
    },
    /// Removes a shared address.
    UnshareIp,
    /// Deletes it; during a build only with `during_build` (v1.0 responds with buildInProgress).
    Delete {
        /// Whether a build in progress may be cancelled.
        during_build: bool,
    },
    /// Held by the operator.
    Suspend,
    /// Resumed by the operator.
    Resume,
    /// Starts it after its host was down.
    Start,
}

/// Why an action is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The server was deleted.
    #[error("the server no longer exists")]
    Gone,
    /// It is being built or rebuilt, or has another short task.
    #[error("the server is being built or changed")]
    BuildInProgress,
    /// An image of it is being created, or a resize is not confirmed.
    #[error("a backup or resize of the server is in progress")]
    BackupOrResizeInProgress,
    /// There is no resize to confirm or revert.
    #[error("the server has no resize to confirm or revert")]
    NoResize,
    /// It is suspended.
    #[error("the server is suspended by the operator")]
    Suspended,
    /// It is in ERROR: only rebuild, hard reboot and delete are allowed.
    #[error("the server is in error: rebuild, reboot (HARD) or delete it")]
    Failed,
    /// Only a suspended server can be resumed.
    #[error("the server is not suspended")]
    NotSuspended,
}

/// A server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The VM state.
    pub vm: Vm,
    /// The current task.
    pub task: Option<Task>,
}

impl State {
    /// What a new server begins in.
    pub const NEW: Self = Self { vm: Vm::Building, task: Some(Task::Spawning) };

    /// The state in which `action` is under way, if it is admitted now.
    ///
    /// # Errors
    /// [`Refusal`] says why it is not.
    pub fn admit(self, action: Action) -> Result<Self, Refusal> {
        self.check_task(action)?;
        let Some(task) = Self::task_of(action) else { return Ok(self) };
        let allowed = match (self.vm, action) {
            (_, Action::Delete { .. }) => Ok(()),
            (Vm::Deleted, _) => Err(Refusal::Gone),
            (Vm::Building, _) => Err(Refusal::BuildInProgress),
            (Vm::Resized, Action::ConfirmResize | Action::RevertResize) => Ok(()),
            (_, Action::ConfirmResize | Action::RevertResize) => Err(Refusal::NoResize),
            (Vm::Suspended, Action::Resume) => Ok(()),
            (_, Action::Resume) => Err(Refusal::NotSuspended),
            (Vm::Suspended, _) => Err(Refusal::Suspended),
            (Vm::Resized, _) => Err(Refusal::BackupOrResizeInProgress),
            (Vm::Error, Action::Rebuild | Action::Reboot(Reboot::Hard)) => Ok(()),
            (Vm::Error, _) => Err(Refusal::Failed),
            (Vm::Active | Vm::Stopped, _) => Ok(()),
        };
        allowed.map(|()| Self { vm: self.vm, task: Some(task) })
    }

    fn check_task(self, action: Action) -> Result<(), Refusal> {
        let deletes = matches!(action, Action::Delete { .. });
        match self.task {
            None => Ok(()),
            Some(Task::Deleting) if deletes => Ok(()),
            Some(Task::Deleting) => Err(Refusal::Gone),
            Some(Task::Spawning | Task::Rebuilding) => match action {
                Action::Delete { during_build: true } => Ok(()),
                _ => Err(Refusal::BuildInProgress),
            },
            Some(_) if deletes => Ok(()),
            Some(Task::Imaging | Task::ResizeQueued | Task::ResizePrep) if action == Action::Rename => Ok(()),
            Some(
                Task::Imaging
                | Task::ResizeQueued
                | Task::ResizePrep
                | Task::ResizeConfirming
                | Task::ResizeReverting,
            ) => Err(Refusal::BackupOrResizeInProgress),
            Some(_) => Err(Refusal::BuildInProgress),
        }
    }

    /// Returns the task that an action starts; `None` if it needs no job.
    fn task_of(action: Action) -> Option<Task> {
        Some(match action {
            Action::Rename => return None,
            Action::ChangePassword => Task::UpdatingPassword,
            Action::Reboot(Reboot::Soft) => Task::Rebooting,
            Action::Reboot(Reboot::Hard) => Task::RebootingHard,
            Action::Rebuild => Task::Rebuilding,
            Action::Resize => Task::ResizeQueued,
            Action::ConfirmResize => Task::ResizeConfirming,
            Action::RevertResize => Task::ResizeReverting,
            Action::CreateImage => Task::Imaging,
            Action::ShareIp { configure: true } => Task::SharingIp,
            Action::ShareIp { configure: false } => Task::SharingIpNoConfig,
            Action::UnshareIp => Task::RemovingIp,
            Action::Delete { .. } => Task::Deleting,
            Action::Suspend => Task::Suspending,
            Action::Resume => Task::Resuming,
            Action::Start => Task::Starting,
        })
    }

    /// Returns the state after the task has succeeded.
    #[must_use]
    pub fn succeeded(self) -> Self {
        let vm = match self.task {
            None
            | Some(
                Task::Imaging
                | Task::UpdatingPassword
                | Task::SharingIp
                | Task::SharingIpNoConfig
                | Task::RemovingIp,
            ) => self.vm,
            Some(Task::ResizeQueued | Task::ResizePrep) => Vm::Resized,
            Some(Task::Suspending) => Vm::Suspended,
            Some(Task::Deleting) => Vm::Deleted,
            Some(_) => Vm::Active,
        };
        Self { vm, task: None }
    }

    /// Returns the state after the task has failed (guide, the transitions' "on error"): ERROR after a build or
    /// rebuild, the old state after a resize. `running` is whether the machine runs.
    #[must_use]
    pub fn failed(self, running: bool) -> Self {
        let by_power = |usual| if running { usual } else { Vm::Error };
        let vm = match self.task {
            None => self.vm,
            Some(Task::Spawning | Task::Rebuilding) => Vm::Error,
            Some(Task::Deleting) => return self,
            Some(Task::Rebooting | Task::RebootingHard | Task::Starting) => by_power(Vm::Active),
            Some(Task::ResizeReverting) => by_power(Vm::Resized),
            Some(Task::ResizeQueued | Task::ResizePrep) if self.vm == Vm::Active => by_power(Vm::Active),
            Some(Task::Resuming) => Vm::Suspended,
            Some(_) => self.vm,
        };
        Self { vm, task: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACTIONS: [Action; 18] = [
        Action::Rename,
        Action::ChangePassword,
        Action::Reboot(Reboot::Soft),
        Action::Reboot(Reboot::Hard),
        Action::Rebuild,
        Action::Resize,
        Action::ConfirmResize,
        Action::RevertResize,
        Action::CreateImage,
        Action::ShareIp { configure: true },
        Action::ShareIp { configure: false },
        Action::UnshareIp,
        Action::Delete { during_build: false },
        Action::Delete { during_build: true },
        Action::Suspend,
        Action::Resume,
        Action::Start,
        Action::Rename,
    ];

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Request(Action),
        TaskEnds { succeeds: bool, running: bool },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => proptest::sample::select(&ACTIONS[..]).prop_map(Event::Request),
            2 => (any::<bool>(), any::<bool>()).prop_map(|(succeeds, running)| Event::TaskEnds { succeeds, running }),
        ]
    }

    proptest! {
        /// For any sequence of events: only a deletion replaces a task, every task ends, a deleted server stays
        /// deleted, and only a resize leads to `Resized`.
        #[test]
        fn every_task_ends_and_only_a_deletion_replaces_one(events in proptest::collection::vec(event(), 0..60)) {
            let mut state = State::NEW;
            for event in events {
                let before = state;
                match event {
                    Event::Request(action) => match state.admit(action) {
                        Ok(after) => {
                            prop_assert_eq!(after.vm, before.vm);
                            if let Some(task) = before.task {
                                let deletes = after.task == Some(Task::Deleting);
                                prop_assert!(deletes || after.task == Some(task), "{:?} replaced {:?}", after, task);
                            }
                            prop_assert!(before.vm != Vm::Deleted || after.task == Some(Task::Deleting) || action == Action::Rename);
                            state = after;
                        }
                        Err(_) => prop_assert_eq!(state, before),
                    },
                    Event::TaskEnds { succeeds, running } => {
                        state = if succeeds { state.succeeded() } else { state.failed(running) };
                        if succeeds || before.task != Some(Task::Deleting) {
                            prop_assert_eq!(state.task, None);
                        }
                        let over = before.task.is_none() || before.task == Some(Task::Deleting);
                        prop_assert!(state.vm != Vm::Building || over);
                        if state.vm == Vm::Resized && before.vm != Vm::Resized {
                            prop_assert!(matches!(before.task, Some(Task::ResizeQueued | Task::ResizePrep)));
                        }
                        if before.vm == Vm::Deleted { prop_assert_eq!(state.vm, Vm::Deleted); }
                    }
                }
            }
            // From any state the owner can delete the server.
            let state = state.admit(Action::Delete { during_build: true }).unwrap().succeeded();
            prop_assert_eq!(state, State { vm: Vm::Deleted, task: None });
        }
    }

    #[test]
    fn the_guides_transitions_hold() {
        let active = State::NEW.succeeded();
        assert_eq!(active, State { vm: Vm::Active, task: None });
        assert_eq!(State::NEW.failed(false).vm, Vm::Error);
        for (action, on_success, on_error) in [
            (Action::Reboot(Reboot::Soft), Vm::Active, Vm::Active),
            (Action::Reboot(Reboot::Hard), Vm::Active, Vm::Active),
            (Action::ChangePassword, Vm::Active, Vm::Active),
            (Action::Rebuild, Vm::Active, Vm::Error),
            (Action::Resize, Vm::Resized, Vm::Active),
            (Action::CreateImage, Vm::Active, Vm::Active),
            (Action::ShareIp { configure: true }, Vm::Active, Vm::Active),
            (Action::UnshareIp, Vm::Active, Vm::Active),
            (Action::Suspend, Vm::Suspended, Vm::Active),
        ] {
            let busy = active.admit(action).unwrap();
            assert_eq!((busy.succeeded().vm, busy.failed(true).vm), (on_success, on_error), "{action:?}");
        }
        let resized = active.admit(Action::Resize).unwrap().succeeded();
        assert_eq!(resized.admit(Action::ConfirmResize).unwrap().succeeded().vm, Vm::Active);
        assert_eq!(resized.admit(Action::RevertResize).unwrap().succeeded().vm, Vm::Active);
        assert_eq!(resized.admit(Action::ConfirmResize).unwrap().failed(true).vm, Vm::Resized);
        assert_eq!(resized.admit(Action::RevertResize).unwrap().failed(true).vm, Vm::Resized);
        assert_eq!(resized.admit(Action::RevertResize).unwrap().failed(false).vm, Vm::Error);
        assert_eq!(resized.admit(Action::CreateImage), Err(Refusal::BackupOrResizeInProgress));
        assert_eq!(active.admit(Action::ConfirmResize), Err(Refusal::NoResize));
        assert_eq!(State::NEW.admit(Action::Delete { during_build: false }), Err(Refusal::BuildInProgress));
        let imaging = active.admit(Action::CreateImage).unwrap();
        assert_eq!(imaging.admit(Action::Resize), Err(Refusal::BackupOrResizeInProgress));
        assert!(imaging.admit(Action::Delete { during_build: false }).is_ok());
        let suspended = active.admit(Action::Suspend).unwrap().succeeded();
        assert_eq!(suspended.admit(Action::Reboot(Reboot::Hard)), Err(Refusal::Suspended));
        assert!(suspended.admit(Action::Delete { during_build: false }).is_ok());
        assert_eq!(suspended.admit(Action::Resume).unwrap().succeeded().vm, Vm::Active);
    }
}
