//! Parses strace's record: which files a program wrote, synced, renamed and removed, and its responses, in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The system calls to record.
pub const CALLS: &str = "trace=openat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,lseek,pwrite64,pwritev,pwritev2,\
                         write,writev,sendto,sendmsg,ftruncate,fallocate,fsync,fdatasync";

/// A change of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Opens a file, creating it if it is absent, and truncating it if so specified.
    Open {
        path: PathBuf,
        truncate: bool,
    },
    MakeDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    /// Writes bytes; without an offset, at the end of the file.
    Write {
        path: PathBuf,
        offset: Option<u64>,
        data: Vec<u8>,
    },
    /// Sets the length.
    Truncate {
        path: PathBuf,
        length: u64,
    },
    /// Reserves space up to this offset.
    Extend {
        path: PathBuf,
        length: u64,
    },
    /// Frees space.
    Punch {
        path: PathBuf,
        offset: u64,
        length: u64,
    },
    Sync {
        path: PathBuf,
    },
}

/// A system call, with the lines of the trace at which it began and ended.
#[derive(Clone, Debug)]
pub struct Event {
    pub begun: usize,
    pub ended: usize,
    pub change: Change,
}

/// A program's recorded actions.
pub struct Trace {
    /// Changes below the data directory, in the order in which they began.
    pub events: Vec<Event>,
    /// For each transaction id, the line at which its response began to be sent.
    pub responses: HashMap<String, usize>,
    /// Number of lines.
    pub lines: usize,
}

impl Trace {
    /// Parses a trace of `strace -f -y -xx`; paths outside `root` are ignored.
    pub fn read(text: &str, root: &Path) -> Self {
        let (mut events, mut responses) = (Vec::new(), HashMap::new());
        let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
        let mut cursors = HashMap::new();
        let mut lines = 0;
        for (number, line) in text.lines().enumerate() {
            lines = number + 1;
            let Some((pid, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            let (begun, whole) = if let Some(begun) = call.strip_suffix("<unfinished ...>") {
                // A client may receive the data before the call returns.
                note_response(begun, number, &mut responses);
                open.insert(pid, (number, begun));
                continue;
            } else if call.starts_with("<... ") {
                let rest = call.split_once("resumed>").map_or("", |(_, rest)| rest);
                let Some((begun, first)) = open.remove(pid) else { continue };
                (begun, format!("{first}{rest}"))
            } else {
                note_response(call, number, &mut responses);
                (number, call.to_owned())
            };
            if let Some(change) = change(&whole, root, &mut cursors) {
                events.push(Event { begun, ended: number, change });
            }
        }
        events.sort_by_key(|event| event.begun);
        Self { events, responses, lines }
    }
}

fn note_response(call: &str, line: usize, responses: &mut HashMap<String, usize>) {
    if !(call.starts_with("write") || call.starts_with("send")) {
        return;
    }
    for data in strings(call) {
        if !data.starts_with(b"HTTP/1.1 ") {
            continue;
        }
        let head = String::from_utf8_lossy(&data).to_ascii_lowercase();
        if let Some((_, rest)) = head.split_once("x-trans-id: ") {
            let id = rest.split("\r\n").next().unwrap_or_default().to_owned();
            responses.entry(id).or_insert(line);
        }
    }
}

/// Offset of the next write without an offset per open descriptor; `None` means the end of the file.
type Cursors = HashMap<u64, Option<u64>>;

fn change(call: &str, root: &Path, cursors: &mut Cursors) -> Option<Change> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, returned) = rest.rsplit_once(" = ")?;
    // Resumed calls are padded before the equals sign.
    let arguments = arguments.trim_end();
    if returned.trim_start().starts_with('-') {
        return None;
    }
    let returned: u64 = returned.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let below = |path: PathBuf| path.starts_with(root).then_some(path);
    let of_descriptor = || below(descriptor(arguments)?);
    let named = || strings(arguments).into_iter().map(|bytes| path(&bytes)).collect::<Vec<_>>();
    let number = |from_end: usize| -> Option<u64> {
        let words: Vec<&str> = arguments.trim_end_matches(')').split(", ").collect();
        words.get(words.len().checked_sub(from_end)?)?.trim().parse().ok()
    };
    Some(match name {
        "openat" => {
            cursors.insert(returned, (!arguments.contains("O_APPEND")).then_some(0));
            if !arguments.contains("O_CREAT") && !arguments.contains("O_TRUNC") {
                return None;
            }
            Change::Open { path: below(named().pop()?)?, truncate: arguments.contains("O_TRUNC") }
        }
        "mkdir" | "mkdirat" => Change::MakeDir { path: below(named().pop()?)? },
        "unlink" | "unlinkat" => Change::Unlink { path: below(named().pop()?)? },
        "rename" | "renameat" | "renameat2" => {
            let mut names = named();
            let (to, from) = (names.pop()?, names.pop()?);
            Change::Rename { from: below(from)?, to: below(to)? }
        }
        "link" | "linkat" => {
            let mut names = named();
            let (to, from) = (names.pop()?, names.pop()?);
            Change::Link { from: below(from)?, to: below(to)? }
        }
        "lseek" => {
            of_descriptor()?;
            cursors.insert(descriptor_number(arguments)?, Some(returned));
            return None;
        }
        "pwrite64" => {
            let mut data = strings(arguments).pop()?;
            data.truncate(usize::try_from(returned).ok()?);
            Change::Write { path: of_descriptor()?, offset: Some(number(1)?), data }
        }
        "write" => {
            let mut data = strings(arguments).pop()?;
            data.truncate(usize::try_from(returned).ok()?);
            let path = of_descriptor()?;
            Change::Write { path, offset: advance(cursors, arguments, data.len()), data }
        }
        "writev" => {
            let mut data = strings(arguments).concat();
            data.truncate(usize::try_from(returned).ok()?);
            let path = of_descriptor()?;
            Change::Write { path, offset: advance(cursors, arguments, data.len()), data }
        }
        "pwritev" | "pwritev2" => {
            panic!("{name} is not supported by the parser: {}", &call[..call.len().min(300)])
        }
        "ftruncate" => Change::Truncate { path: of_descriptor()?, length: number(1)? },
        "fallocate" => {
            let (path, offset, length) = (of_descriptor()?, number(2)?, number(1)?);
            if arguments.contains("PUNCH_HOLE") {
                Change::Punch { path, offset, length }
            } else {
                Change::Extend { path, length: offset + length }
            }
        }
        "fsync" | "fdatasync" => Change::Sync { path: of_descriptor()? },
        _ => return None,
    })
}

/// Returns the offset of a write without an offset, and advances the cursor.
fn advance(cursors: &mut Cursors, arguments: &str, length: usize) -> Option<u64> {
    let cursor = cursors.entry(descriptor_number(arguments)?).or_default();
    let at = *cursor;
    *cursor = at.map(|at| at + length as u64);
    at
}

fn descriptor_number(arguments: &str) -> Option<u64> {
    arguments.split_once('<')?.0.parse().ok()
}

/// Returns the path of the first descriptor, which `-y` shows.
fn descriptor(arguments: &str) -> Option<PathBuf> {
    let (_, rest) = arguments.split_once('<')?;
    let (shown, after) = rest.split_once('>')?;
    // A deleted file cannot be found again, whatever is written to it.
    if after.starts_with("(deleted)") {
        return None;
    }
    Some(path(&unescape(shown)))
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// Returns the quoted strings of a call.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unescape).collect()
}

/// Decodes `\x41\x42…`.
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).collect()
}
