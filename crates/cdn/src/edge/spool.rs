//! Spools access logs: lines are written to files at once and delivered to the customers' accounts once per interval.
//!
//! A line survives kill -9 once its response was sent. A file is deleted after its lines were delivered. If the process is killed
//! in between, it delivers them again under the same name, so they are stored once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use files::Files;
use files::model::access::Access;
use tokio::sync::Notify;
use work::{Clock, Time};

use crate::model::{Hash, Site};

/// The container of an account's logs of the CDN.
pub const CDN_LOGS: &str = ".CDN_ACCESS_LOGS";
/// Size in bytes from which a file is delivered without waiting for the interval.
const FILE_BYTES: u64 = 16 << 20;
/// Maximum number of bytes that wait for delivery. Further lines are dropped.
const WAITING_BYTES_MAX: u64 = 1 << 30;
/// Maximum number of one tenant's bytes that wait, so that a tenant whose account rejects deliveries leaves room for others.
const TENANT_WAITING_BYTES_MAX: u64 = 64 << 20;
/// Maximum length of a file's first line in bytes.
const PLACE_MAX: u64 = 4096;
/// Maximum number of open files.
const OPEN_MAX: usize = 256;
const HOUR_MICROS: i64 = 3_600_000_000;
/// File extensions: of files that are being written, and of those that are to be delivered.
const OPEN: &str = "log";
const CLOSED: &str = "closed";

#[derive(Default)]
struct State {
    /// By site and hour.
    open: HashMap<(Hash, i64), (File, u64)>,
    waiting: Waiting,
    dropped: u64,
}

/// Bytes that wait for delivery, in all and by account.
#[derive(Default)]
struct Waiting {
    all: u64,
    accounts: HashMap<String, u64>,
}

impl Waiting {
    fn check(&self, account: &str) -> io::Result<()> {
        let own = self.accounts.get(account).copied().unwrap_or_default();
        if self.all >= WAITING_BYTES_MAX || own >= TENANT_WAITING_BYTES_MAX {
            return Err(io::Error::other("too many lines wait for delivery"));
        }
        Ok(())
    }

    fn add(&mut self, account: &str, bytes: u64) {
        self.all += bytes;
        match self.accounts.get_mut(account) {
            Some(own) => *own += bytes,
            None => drop(self.accounts.insert(account.to_owned(), bytes)),
        }
    }

    fn subtract(&mut self, account: &str, bytes: u64) {
        self.all = self.all.saturating_sub(bytes);
        if let Entry::Occupied(mut own) = self.accounts.entry(account.to_owned()) {
            *own.get_mut() = own.get().saturating_sub(bytes);
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Lines that wait for delivery.
pub struct Spool {
    dir: PathBuf,
    state: Mutex<State>,
    many: Notify,
    delivering: tokio::sync::Mutex<()>,
}

impl Spool {
    /// Opens the directory, including the files that an earlier process left.
    ///
    /// # Errors
    /// If the directory cannot be created or read.
    pub fn open(dir: &Path) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        let mut waiting = Waiting::default();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            // An unreadable file counts for no tenant. Its delivery logs a warning.
            waiting.add(&account_of(&path).unwrap_or_default(), fs::metadata(&path)?.len());
        }
        let state = Mutex::new(State { waiting, ..State::default() });
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            state,
            many: Notify::new(),
            delivering: tokio::sync::Mutex::default(),
        }))
    }

    /// Writes a line to a site's log. If it cannot be written, it is dropped with a warning.
    pub fn record(&self, site: &Site, access: &Access) {
        let hour = access.at.0.div_euclid(HOUR_MICROS);
        let line = access.line();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write(&mut state, site, hour, line.as_bytes()) {
            state.dropped += 1;
            if state.dropped.is_power_of_two() {
                let (tenant, dropped) = (&site.tenant, state.dropped);
                tracing::warn!(%error, tenant, dropped, "lines of the CDN's access log were dropped");
            }
        }
    }

    fn write(&self, state: &mut State, site: &Site, hour: i64, line: &[u8]) -> io::Result<()> {
        let account = account(site);
        state.waiting.check(&account)?;
        let key = (site.hash, hour);
        let path = self.dir.join(format!("{}.{hour}.{OPEN}", site.hash));
        if state.open.len() >= OPEN_MAX {
            state.open.clear();
        }
        let (file, length) = match state.open.entry(key) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                let (file, length, added) = opened(&path, &account, site, hour)?;
                state.waiting.add(&account, added);
                vacant.insert((file, length))
            }
        };
        file.write_all(line)?;
        *length += line.len() as u64;
        let is_full = *length >= FILE_BYTES;
        state.waiting.add(&account, line.len() as u64);
        if is_full {
            state.open.remove(&key);
            close(&path)?;
            self.many.notify_one();
        }
        Ok(())
    }

    /// Delivers lines once per interval, counted from midnight UTC, and when `last` resolves.
    pub async fn deliver_on(
        &self,
        files: &Files,
        clock: &Clock,
        interval: Duration,
        stop: impl Future<Output = ()>,
    ) {
        let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        tokio::pin!(stop);
        loop {
            let next = clock.now().0.div_euclid(interval).saturating_add(1).saturating_mul(interval);
            tokio::select! {
                () = clock.until(Time(next)) => self.deliver(files).await,
                () = self.many.notified() => self.deliver(files).await,
                () = &mut stop => return self.deliver(files).await,
            }
        }
    }

    /// Delivers all written lines. Those that cannot be delivered are kept for the next interval.
    pub async fn deliver(&self, files: &Files) {
        let _one_at_a_time = self.delivering.lock().await;
        let closed = match self.close_all() {
            Ok(closed) => closed,
            Err(error) => return tracing::warn!(%error, "the CDN's access logs cannot be read"),
        };
        for path in closed {
            let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            match deliver_file(files, &path).await {
                Ok(account) => {
                    let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    state.waiting.subtract(&account, length);
                }
                Err(error) => {
                    tracing::warn!(error, path = %path.display(), "cannot deliver an access log of the CDN; retrying later");
                }
            }
        }
    }

    /// Closes all files, so that new lines go into new ones, and returns those to be delivered.
    fn close_all(&self) -> io::Result<Vec<PathBuf>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.clear();
        let mut closed = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match path.extension().and_then(|end| end.to_str()) {
                Some(OPEN) => closed.push(close(&path)?),
                Some(CLOSED) => closed.push(path),
                _ => {}
            }
        }
        Ok(closed)
    }
}

fn account(site: &Site) -> String {
    format!("AUTH_{}", site.tenant)
}

/// Returns the account in a file's first line; empty if the line is incomplete.
fn account_of(path: &Path) -> io::Result<String> {
    let mut place = Vec::new();
    BufReader::new(File::open(path)?.take(PLACE_MAX)).read_until(b'\n', &mut place)?;
    Ok(parts(&place).0.to_owned())
}

/// The account, the container and the hour of a file's first line.
fn parts(place: &[u8]) -> (&str, &str, &str) {
    let mut parts = std::str::from_utf8(place).unwrap_or_default().trim_end().split('\t');
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

/// Opens a file for appending. Also returns its length and how much was just written: a new file begins with a line that says
/// where its lines belong.
fn opened(path: &Path, account: &str, site: &Site, hour: i64) -> io::Result<(File, u64, u64)> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut length = file.metadata()?.len();
    let mut added = 0;
    if length == 0 {
        let container = web::query::encode(site.container.as_bytes(), false);
        let place = format!("{account}\t{container}\t{hour}\n");
        file.write_all(place.as_bytes())?;
        added = place.len() as u64;
        length = added;
    }
    Ok((file, length, added))
}

/// Renames a file, so that no more lines are added to it.
fn close(path: &Path) -> io::Result<PathBuf> {
    let closed = path.with_extension(format!("{:016x}.{CLOSED}", fastrand::u64(..)));
    fs::rename(path, &closed)?;
    Ok(closed)
}

/// Delivers a file's lines and deletes it. Returns their account.
async fn deliver_file(files: &Files, path: &Path) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let bytes = fs::read(path).map_err(|error| text(&error))?;
    let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    let (place, lines) = bytes.split_at(first);
    let (account, container, hour) = parts(place);
    let container = web::query::decoded(container);
    match hour.parse().ok() {
        Some(hour) if !lines.is_empty() => {
            let delivered = files.deliver_log(CDN_LOGS, account, &container, hour, lines.to_vec()).await;
            delivered.map_err(|error| text(&error))?;
        }
        // A file with an incomplete first line has no lines.
        _ => {}
    }
    fs::remove_file(path).map_err(|error| text(&error))?;
    Ok(account.to_owned())
}
