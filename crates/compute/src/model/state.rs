//! The state machine of a server: what it is (`Vm`), what is being done to it (`Task`), and which actions that
//! admits. One task at a time; every task ends in a state without one.

use serde::{Deserialize, Serialize};

/// What a server is, apart from what is being done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vm {
    /// Never yet ran.
    Building,
    /// Runs.
    Active,
    /// Its guest shut itself down, or its host lost power.
    Stopped,
    /// Held by the operator.
    Suspended,
    /// Runs in its new size; the old one is kept until it is confirmed or reverted.
    Resized,
    /// Failed; the fault says why.
    Error,
    /// No more.
    Deleted,
}

/// What is being done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Its first build.
    Spawning,
    /// The guest is asked to restart.
    Rebooting,
    /// Its power is cut and comes back.
    RebootingHard,
    /// Its administrative password is being changed.
    UpdatingPassword,
    /// Its disk is being made anew.
    Rebuilding,
    /// A resize was accepted.
    ResizeQueued,
    /// A resize is under way.
    ResizePrep,
    /// The old size is being forgotten.
    ResizeConfirming,
    /// The old size is being brought back.
    ResizeReverting,
    /// It is given a shared address and told of it.
    SharingIp,
    /// It is given a shared address.
    SharingIpNoConfig,
    /// A shared address is taken from it.
    RemovingIp,
    /// An image is being made of it.
    Imaging,
    /// The operator holds it.
    Suspending,
    /// The operator lets it go on.
    Resuming,
    /// It is started after its host was away.
    Starting,
    /// It is being removed.
    Deleting,
}

/// How a server restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reboot {
    /// The guest is asked.
    Soft,
    /// The power is cut.
    Hard,
}

/// What a caller, or the cloud itself, wants done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Another name in the cloud's books.
    Rename,
    /// Another administrative password.
    ChangePassword,
    /// A restart.
    Reboot(Reboot),
    /// A new disk from an image.
    Rebuild,
    /// Another flavor.
    Resize,
    /// The new flavor for good.
    ConfirmResize,
    /// The old flavor again.
    RevertResize,
    /// An image of its disk.
    CreateImage,
    /// A shared address, with or without telling the guest.
    ShareIp {
        /// Whether the guest is told.
        configure: bool,
    },
    /// A shared address less.
    UnshareIp,
    /// Its end. During a build only where `during_build` (v1.0 answers buildInProgress).
    Delete {
        /// Whether a build under way is given up.
        during_build: bool,
    },
    /// Held by the operator.
    Suspend,
    /// Let go on by the operator.
    Resume,
    /// Started after its host was away.
    Start,
}

/// Why an action is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The server is gone.
    #[error("the server does not exist any more")]
    Gone,
    /// It is being built or rebuilt, or another short task is not over.
    #[error("the server is being built or changed")]
    BuildInProgress,
    /// An image is being made of it, or a resize is not confirmed.
    #[error("a backup or resize of the server is in progress")]
    BackupOrResizeInProgress,
    /// There is no resize to confirm or revert.
    #[error("the server has no resize to confirm or revert")]
    NoResize,
    /// It is in a state that the action is not for.
    #[error("the server is suspended by the operator")]
    Suspended,
    /// It failed: only rebuild, hard reboot and delete are left.
    #[error("the server is in error: rebuild, reboot (HARD) or delete it")]
    Failed,
    /// The operator resumes only what is suspended.
    #[error("the server is not suspended")]
    NotSuspended,
}

/// A server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What it is.
    pub vm: Vm,
    /// What is being done to it.
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
        self.refuse_busy(action)?;
        let Some(task) = Self::task_of(action) else { return Ok(self) };
        let admitted = match (self.vm, action) {
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
        admitted.map(|()| Self { vm: self.vm, task: Some(task) })
    }

    fn refuse_busy(self, action: Action) -> Result<(), Refusal> {
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

    /// The task that an action begins; none for what is done at once.
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

    /// The state after the task ended well.
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

    /// The state after the task failed (guide, the transitions' "on error"): a build or rebuild leaves ERROR, a
    /// resize the server as it was; `running` says whether the machine runs.
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
        Wants(Action),
        Ends { well: bool, running: bool },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => proptest::sample::select(&ACTIONS[..]).prop_map(Event::Wants),
            2 => (any::<bool>(), any::<bool>()).prop_map(|(well, running)| Event::Ends { well, running }),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: a task is never replaced but by a deletion, every task ends, nothing
        /// comes back from deletion, only a resize leads to a state that waits for a decision.
        #[test]
        fn no_server_stays_in_between(events in proptest::collection::vec(event(), 0..60)) {
            let mut state = State::NEW;
            for event in events {
                let before = state;
                match event {
                    Event::Wants(action) => match state.admit(action) {
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
                    Event::Ends { well, running } => {
                        state = if well { state.succeeded() } else { state.failed(running) };
                        if well || before.task != Some(Task::Deleting) {
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
            // From wherever that led, the owner gets rid of the server.
            let state = state.admit(Action::Delete { during_build: true }).unwrap().succeeded();
            prop_assert_eq!(state, State { vm: Vm::Deleted, task: None });
        }
    }

    #[test]
    fn the_guides_transitions_hold() {
        let active = State::NEW.succeeded();
        assert_eq!(active, State { vm: Vm::Active, task: None });
        assert_eq!(State::NEW.failed(false).vm, Vm::Error);
        for (action, well, ill) in [
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
            assert_eq!((busy.succeeded().vm, busy.failed(true).vm), (well, ill), "{action:?}");
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
