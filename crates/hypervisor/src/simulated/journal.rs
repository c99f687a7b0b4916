//! The state file of a simulated host. The first line is the whole state, the others are later changes, so that the
//! cost of a change does not depend on the number of machines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::state::{Disk, Machine, Rest, State};

/// The file is rewritten after this many changes plus one per machine.
const CHANGES_MAX: usize = 100;

#[derive(Serialize, Deserialize)]
enum Change {
    Machine { id: Uuid, disk: Option<Disk>, machine: Option<Box<Machine>>, has_config_drive: bool },
    Rest(Rest),
}

impl Change {
    fn of_machine(state: &State, id: Uuid) -> Self {
        Self::Machine {
            id,
            disk: state.disks.get(&id).cloned(),
            machine: state.machines.get(&id).cloned().map(Box::new),
            has_config_drive: state.with_config_drive.contains(&id),
        }
    }

    fn apply(self, state: &mut State) {
        match self {
            Self::Machine { id, disk, machine, has_config_drive } => {
                state.remove_machine(id);
                state.disks.extend(disk.map(|disk| (id, disk)));
                state.machines.extend(machine.map(|machine| (id, *machine)));
                state.with_config_drive.extend(has_config_drive.then_some(id));
            }
            Self::Rest(rest) => state.rest = rest,
        }
    }
}

pub struct Journal {
    path: PathBuf,
    changes: usize,
    /// Whether the last line may be incomplete. Lines after an incomplete one would be ignored.
    is_torn: bool,
    rest: Rest,
}

impl Journal {
    /// Reads the state in the file and returns the journal that continues it. An incomplete last line is ignored.
    pub fn open(path: &Path) -> io::Result<(Self, State)> {
        let mut state = State::default();
        match std::fs::read(path) {
            Ok(bytes) => {
                let mut lines = bytes.split(|byte| *byte == b'\n');
                if let Some(whole) = lines.next().filter(|whole| !whole.is_empty()) {
                    state = serde_json::from_slice(whole)?;
                }
                let changes = lines.map_while(|line| serde_json::from_slice::<Change>(line).ok());
                changes.for_each(|change| change.apply(&mut state));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        rewrite(path, &state)?;
        let journal = Self { path: path.to_owned(), changes: 0, is_torn: false, rest: state.rest.clone() };
        Ok((journal, state))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the current state of a machine.
    pub fn save_machine(&mut self, state: &State, id: Uuid) -> io::Result<()> {
        self.append(state, &Change::of_machine(state, id))
    }

    /// Appends the state that belongs to no machine, if it changed.
    pub fn save_rest(&mut self, state: &State) -> io::Result<()> {
        if self.rest == state.rest {
            return Ok(());
        }
        self.append(state, &Change::Rest(state.rest.clone()))?;
        self.rest = state.rest.clone();
        Ok(())
    }

    fn append(&mut self, state: &State, change: &Change) -> io::Result<()> {
        if self.changes >= CHANGES_MAX + state.machines.len() || self.is_torn {
            rewrite(&self.path, state)?;
            (self.changes, self.is_torn) = (0, false);
            return Ok(());
        }
        self.changes += 1;
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        // Do not keep the file open: there may be thousands of hosts.
        let appended =
            OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(&line));
        self.is_torn = appended.is_err();
        appended
    }
}

/// Rewrites the file. It is durable when this returns: after a power cut an incomplete first line could not be read.
fn rewrite(path: &Path, state: &State) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut line = serde_json::to_vec(state)?;
    line.push(b'\n');
    let mut file = File::create(&temporary)?;
    file.write_all(&line)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn disk(bytes: u64) -> Disk {
        let image = "0123456789abcdef0123456789abcdef".parse::<Digest>().unwrap();
        Disk { image, bytes, before_resize: None, received: None }
    }

    #[test]
    fn saved_state_is_read_back_without_an_incomplete_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let (mut journal, mut state) = Journal::open(&path).unwrap();
        let machines = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for (size, id) in (10..).zip(machines) {
            state.disks.insert(id, disk(size));
            state.with_config_drive.insert(id);
            journal.save_machine(&state, id).unwrap();
        }
        state.rest.snapshots.insert(machines[0], 7);
        journal.save_rest(&state).unwrap();
        let long = std::fs::metadata(&path).unwrap().len();
        journal.save_rest(&state).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), long, "an unchanged state must not be appended");
        state.remove_machine(machines[0]);
        journal.save_machine(&state, machines[0]).unwrap();
        drop(journal);
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"Machine\":{\"id\":\"00000000-0000-0000-0000-000000000002\",\"name\":\"B\xc3");
        std::fs::write(&path, text).unwrap();
        let (_, again) = Journal::open(&path).unwrap();
        assert_eq!(again.disks.keys().collect::<Vec<_>>(), [&machines[1]]);
        assert_eq!((again.disks[&machines[1]].bytes, again.rest.snapshots[&machines[0]]), (11, 7));
        assert!(again.with_config_drive.contains(&machines[1]));
    }

    #[test]
    fn a_long_journal_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.json");
        let (mut journal, mut state) = Journal::open(&path).unwrap();
        let id = Uuid::from_u128(1);
        for bytes in 0..CHANGES_MAX as u64 + 10 {
            state.disks.insert(id, disk(bytes));
            journal.save_machine(&state, id).unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 20, "{lines}");
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1.disks[&id].bytes, CHANGES_MAX as u64 + 9);
    }
}
