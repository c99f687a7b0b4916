//! What a disk may contain after a power cut: everything covered by syncs that returned, and any part of later changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::trace::{Change, Trace};

/// Sector size in bytes. A sector is written whole or not at all.
const SECTOR: usize = 512;

/// Which of the changes not covered by a sync are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    Everything,
    /// Some of them, torn and out of order, chosen by this seed.
    Some(u64),
}

/// Returns the kind of a sync call: what kind of file or directory it is for.
pub fn kind_of_sync(path: &Path, root: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let text = below.to_string_lossy().into_owned();
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["blobs", .., "volumes", "highest.new"] => "the highest number of a volume".into(),
        ["blobs", .., "volumes", _] => "a volume".into(),
        ["blobs", .., "volumes"] => "the directory of volumes".into(),
        ["blobs", .., "single", _, _] => "a file with one blob".into(),
        ["blobs", .., "single", _] => "a directory of files with one blob".into(),
        ["blobs", .., "single"] => "the directory of those directories".into(),
        _ => text,
    }
}

type Inode = usize;

enum FileChange {
    Write { offset: u64, data: Vec<u8> },
    Length(u64),
    Extend(u64),
}

#[derive(Default)]
struct File {
    /// Each change, the line at which it ended, and whether a sync covers it.
    changes: Vec<(FileChange, usize, bool)>,
    length: u64,
}

#[derive(Clone)]
enum NameChange {
    Set(OsString, Inode),
    Remove(OsString),
}

enum Node {
    File(File),
    Directory {
        /// The state that the program sees.
        now: BTreeMap<OsString, Inode>,
        changes: Vec<(NameChange, usize, bool)>,
    },
}

/// The disk, reconstructed from a trace up to a line.
pub struct Disk {
    nodes: Vec<Node>,
    root: PathBuf,
}

impl Disk {
    /// Reconstructs the disk for a power cut at `line`. Syncs of paths for which `ignored` returns true have no effect.
    pub fn at(trace: &Trace, root: &Path, line: usize, ignored: &dyn Fn(&Path) -> bool) -> Self {
        let directory = || Node::Directory { now: BTreeMap::new(), changes: Vec::new() };
        let mut disk = Self { nodes: vec![directory()], root: root.to_owned() };
        for event in trace.events.iter().take_while(|event| event.begun <= line) {
            // A call that has not returned may have taken effect in part; a sync that has not returned covers nothing.
            let ended = if event.ended <= line { event.ended } else { usize::MAX };
            disk.apply(&event.change, event.begun, ended, ignored);
        }
        disk
    }

    /// A simulated host represents another machine, which keeps what it has acknowledged.
    fn is_durable_at_once(&self, change: &Change, ended: usize) -> bool {
        let hosts = self.root.join("hosts");
        ended != usize::MAX
            && match change {
                Change::Open { path, .. }
                | Change::MakeDir { path }
                | Change::Unlink { path }
                | Change::Write { path, .. }
                | Change::Truncate { path, .. }
                | Change::Extend { path, .. }
                | Change::Punch { path, .. }
                | Change::Sync { path } => path.starts_with(hosts),
                Change::Rename { to, .. } | Change::Link { to, .. } => to.starts_with(hosts),
            }
    }

    fn apply(&mut self, change: &Change, begun: usize, ended: usize, ignored: &dyn Fn(&Path) -> bool) {
        let durable = self.is_durable_at_once(change, ended);
        match change {
            // The shared memory file is rebuilt from the log by the next process that opens the database.
            Change::Open { path, .. } | Change::Write { path, .. } | Change::Truncate { path, .. }
                if path.to_string_lossy().ends_with("-shm") => {}
            Change::Open { path, truncate } => {
                let file = match self.find(path) {
                    Some(found) => found,
                    None => {
                        self.nodes.push(Node::File(File::default()));
                        let inode = self.nodes.len() - 1;
                        self.name(path, Some(inode), (ended, durable));
                        inode
                    }
                };
                if *truncate && let Node::File(file) = &mut self.nodes[file] {
                    file.changes.push((FileChange::Length(0), ended, durable));
                    file.length = 0;
                }
            }
            Change::MakeDir { path } => {
                if path != &self.root && self.find(path).is_none() {
                    self.nodes.push(Node::Directory { now: BTreeMap::new(), changes: Vec::new() });
                    let inode = self.nodes.len() - 1;
                    self.name(path, Some(inode), (ended, durable));
                }
            }
            Change::Rename { from, to } => {
                if let Some(inode) = self.find(from) {
                    self.name(from, None, (ended, durable));
                    self.name(to, Some(inode), (ended, durable));
                }
            }
            Change::Link { from, to } => {
                if let Some(inode) = self.find(from) {
                    self.name(to, Some(inode), (ended, durable));
                }
            }
            Change::Unlink { path } => self.name(path, None, (ended, durable)),
            Change::Write { path, offset, data } => {
                if let Some(file) = self.file(path) {
                    let offset = offset.unwrap_or(file.length);
                    file.length = file.length.max(offset + data.len() as u64);
                    file.changes.push((FileChange::Write { offset, data: data.clone() }, ended, durable));
                }
            }
            Change::Truncate { path, length } => {
                if let Some(file) = self.file(path) {
                    file.length = *length;
                    file.changes.push((FileChange::Length(*length), ended, durable));
                }
            }
            Change::Extend { path, length } => {
                if let Some(file) = self.file(path) {
                    file.length = file.length.max(*length);
                    file.changes.push((FileChange::Extend(*length), ended, durable));
                }
            }
            Change::Punch { path, offset, length } => {
                if let Some(file) = self.file(path) {
                    let length = (*length).min(file.length.saturating_sub(*offset));
                    let data = vec![0; usize::try_from(length).unwrap_or(0)];
                    file.changes.push((FileChange::Write { offset: *offset, data }, ended, durable));
                }
            }
            Change::Sync { path } => {
                if ended == usize::MAX || ignored(path) {
                    return;
                }
                let Some(inode) = self.find(path) else { return };
                match &mut self.nodes[inode] {
                    Node::File(file) => {
                        let covered = file.changes.iter_mut().filter(|(_, ended, _)| *ended < begun);
                        covered.for_each(|(_, _, durable)| *durable = true);
                    }
                    Node::Directory { changes, .. } => {
                        let covered = changes.iter_mut().filter(|(_, ended, _)| *ended < begun);
                        covered.for_each(|(_, _, durable)| *durable = true);
                    }
                }
            }
        }
    }

    fn find(&self, path: &Path) -> Option<Inode> {
        let mut inode = 0;
        for part in path.strip_prefix(&self.root).ok()? {
            let Node::Directory { now, .. } = &self.nodes[inode] else { return None };
            inode = *now.get(part)?;
        }
        Some(inode)
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        let inode = self.find(path)?;
        match &mut self.nodes[inode] {
            Node::File(file) => Some(file),
            Node::Directory { .. } => None,
        }
    }

    fn name(&mut self, path: &Path, inode: Option<Inode>, (ended, durable): (usize, bool)) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(parent) = self.find(parent) else { return };
        let Node::Directory { now, changes } = &mut self.nodes[parent] else { return };
        let name = name.to_owned();
        let change = match inode {
            Some(inode) => {
                now.insert(name.clone(), inode);
                NameChange::Set(name, inode)
            }
            None => {
                now.remove(&name);
                NameChange::Remove(name)
            }
        };
        changes.push((change, ended, durable));
    }

    /// Writes the contents after the power cut into `target`.
    pub fn write(&self, target: &Path, keep: Keep) {
        let mut chance = Chance::new(keep);
        self.write_directory(0, target, &mut chance, &mut BTreeSet::new());
    }

    fn write_directory(&self, inode: Inode, target: &Path, chance: &mut Chance, seen: &mut BTreeSet<Inode>) {
        std::fs::create_dir_all(target).expect("a directory");
        let Node::Directory { changes, .. } = &self.nodes[inode] else { return };
        let mut names: BTreeMap<&OsString, Inode> = BTreeMap::new();
        for (change, _, durable) in changes {
            if !durable && !chance.keeps() {
                continue;
            }
            match change {
                NameChange::Set(name, inode) => names.insert(name, *inode),
                NameChange::Remove(name) => names.remove(name),
            };
        }
        for (name, inode) in names {
            // If only one half of a rename is kept, the file must not have two names.
            if !seen.insert(inode) {
                continue;
            }
            match &self.nodes[inode] {
                Node::Directory { .. } => self.write_directory(inode, &target.join(name), chance, seen),
                Node::File(file) => {
                    let path = target.join(name);
                    std::fs::write(&path, file.content(chance)).expect("a file");
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
                }
            }
        }
    }
}

impl File {
    fn content(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for (change, _, durable) in &self.changes {
            match change {
                FileChange::Length(length) => {
                    if *durable || chance.keeps() {
                        bytes.resize(usize::try_from(*length).expect("a length"), 0);
                    }
                }
                FileChange::Extend(length) => {
                    if *durable || chance.keeps() {
                        bytes.resize(bytes.len().max(usize::try_from(*length).expect("a length")), 0);
                    }
                }
                FileChange::Write { offset, data } => {
                    let offset = usize::try_from(*offset).expect("an offset");
                    let mut at = 0;
                    while at < data.len() {
                        // Up to the next sector boundary of the file.
                        let end = data.len().min(at + SECTOR - (offset + at) % SECTOR);
                        if *durable || chance.keeps_sector() {
                            let (from, to) = (offset + at, offset + end);
                            if bytes.len() < to {
                                bytes.resize(to, 0);
                            }
                            bytes[from..to].copy_from_slice(&data[at..end]);
                        }
                        at = end;
                    }
                    chance.next_write();
                }
            }
        }
        bytes
    }
}

/// Decides which changes are kept.
struct Chance {
    keep: Keep,
    state: u64,
    /// What happens to the current write: dropped, kept, or torn.
    fate: u64,
}

impl Chance {
    fn new(keep: Keep) -> Self {
        let state = if let Keep::Some(seed) = keep { seed } else { 0 };
        let mut chance = Self { keep, state, fate: 0 };
        chance.next_write();
        chance
    }

    fn random(&mut self) -> u64 {
        // SplitMix64, so that a run can be repeated from its seed.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn keeps(&mut self) -> bool {
        match self.keep {
            Keep::Nothing => false,
            Keep::Everything => true,
            Keep::Some(_) => self.random().is_multiple_of(2),
        }
    }

    fn keeps_sector(&mut self) -> bool {
        match self.keep {
            Keep::Some(_) => match self.fate {
                0 => false,
                1 => true,
                _ => self.random().is_multiple_of(2),
            },
            Keep::Nothing | Keep::Everything => self.keeps(),
        }
    }

    fn next_write(&mut self) {
        self.fate = self.random() % 3;
    }
}
