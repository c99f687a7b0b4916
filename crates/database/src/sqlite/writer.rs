//! The writer: units queue up while an fsync runs and share the next one.
//!
//! A log that could not be synced ends the process. After a failed sync the kernel may drop what it could not write and
//! report success for the next sync, so continuing would acknowledge writes that depend on lost ones. The next start
//! recovers from the log what reached the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::run_now;
use super::space::Reserve;
use crate::error::Error;
use crate::session::Session;
use crate::session::sqlite::{BUSY_TIMEOUT, connect, execute_raw, failure, is_failed_sync};
use crate::tx::{BoxFuture, Tx};

/// Maximum number of units in one transaction.
const BATCH_UNITS_MAX: usize = 512;
/// Maximum number of queued units. Beyond it, callers wait before they enqueue.
const QUEUE_UNITS: usize = 4096;
/// Size of the write-ahead log, in bytes, at which the writer itself checkpoints it.
const LOG_BYTES_MAX: u64 = 128 << 20;
/// How much further the log grows, in bytes, before the writer tries again after a reader blocked the checkpoint.
const LOG_BYTES_MORE: u64 = 32 << 20;
/// How long the writer waits for readers that still use the log.
const READERS_WITHIN: Duration = Duration::from_secs(1);
/// Interval at which the checkpointer checks for new writes.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(300);
/// Consecutive checks without new writes before the log is truncated.
const IDLE_LOOKS: u32 = 3;

/// Returns a unit's outcome to its caller once the batch was committed or has failed. Dropped unused, it reports an unknown
/// outcome.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// Runs a unit and returns `true` if its effects are to be kept. Dropped before it ran, it reports that the database is
/// closing.
type Unit = Box<dyn FnOnce(&mut Tx) -> (bool, Answer) + Send>;

/// The caller of a unit that has run.
struct Caller<T, E: From<Error>>(Option<oneshot::Sender<Result<T, E>>>);

impl<T, E: From<Error>> Caller<T, E> {
    fn send(mut self, outcome: Result<T, E>) {
        if let Some(sender) = self.0.take() {
            // The caller may have gone away with its connection. The unit's outcome does not change.
            let _ = sender.send(outcome);
        }
    }
}

impl<T, E: From<Error>> Drop for Caller<T, E> {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(Err(Error::Unknown { reason: "the writer ended".into() }.into()));
        }
    }
}

pub(super) struct Writer {
    queue: Option<mpsc::Sender<Unit>>,
    thread: Option<JoinHandle<()>>,
    checkpointer: Option<JoinHandle<()>>,
    stop: Arc<(Mutex<bool>, Condvar)>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        path: PathBuf,
        service: &'static str,
    ) -> std::io::Result<Self> {
        let (queue, units) = mpsc::channel(QUEUE_UNITS);
        let written = Arc::new(AtomicBool::new(false));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let reserve = Arc::new(Reserve::open(path.parent().unwrap_or(Path::new(".")))?);
        let thread = std::thread::Builder::new().name(format!("{service}-writer")).spawn({
            let (path, written) = (path.clone(), Arc::clone(&written));
            let reserve = Arc::clone(&reserve);
            move || write_batches(connection, units, &path, &reserve, &written)
        })?;
        let checkpointer = std::thread::Builder::new().name(format!("{service}-checkpoint")).spawn({
            let stop = Arc::clone(&stop);
            move || checkpoint_regularly(&path, &reserve, &stop, &written)
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), checkpointer: Some(checkpointer), stop })
    }

    pub(super) async fn submit<S, T, E, F>(&self, input: S, unit: F) -> Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel::<Result<T, E>>();
        let job: Unit = Box::new(move |tx| {
            let mut outcome = catch_unwind(AssertUnwindSafe(|| run_now(unit(&input, tx))))
                .unwrap_or_else(|_| Err(Error::statement("unit", "it panicked").into()));
            if let Err(error) = tx.take_failure() {
                outcome = outcome.and(Err(error.into()));
            }
            let keep = outcome.is_ok();
            let caller = Caller(Some(sender));
            let answer: Answer =
                Box::new(move |committed| caller.send(committed.map_err(E::from).and(outcome)));
            (keep, answer)
        });
        let closed = || E::from(Error::Unavailable { reason: "the database is closing".into() });
        let Some(queue) = &self.queue else { return Err(closed()) };
        if queue.send(job).await.is_err() {
            return Err(closed());
        }
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.checkpointer.take() {
            let _ = thread.join();
        }
    }
}

fn write_batches(
    mut connection: Connection,
    mut units: mpsc::Receiver<Unit>,
    path: &Path,
    reserve: &Reserve,
    written: &AtomicBool,
) {
    let (log, mut empty_at) = (log_of(path), LOG_BYTES_MAX);
    let mut batch = Vec::with_capacity(BATCH_UNITS_MAX);
    while units.blocking_recv_many(&mut batch, BATCH_UNITS_MAX) > 0 {
        if reserve.release_if_low() {
            // Restart the log, so that it is overwritten from its beginning instead of growing.
            checkpoint(&connection, path, "PRAGMA wal_checkpoint(RESTART)");
        }
        let mut tx = Tx::new(Session::Sqlite(connection), 0);
        let mut answers = Vec::with_capacity(batch.len());
        let outcome = run_batch(&mut tx, batch.drain(..), &mut answers);
        let Session::Sqlite(returned) = tx.into_session() else { unreachable!("the connection is SQLite's") };
        connection = returned;
        if let Err(Failure { error, failed_sync }) = &outcome {
            tracing::error!(%error, units = answers.len(), "a batch of units failed");
            if *failed_sync {
                end_process(path, error);
            }
            if !connection.is_autocommit() && execute_raw(&connection, "ROLLBACK", &[]).is_err() {
                // ROLLBACK failed, so the state of the connection is unknown.
                end_process(path, error);
            }
        }
        let outcome = outcome.map_err(|failure| failure.error);
        for answer in answers {
            answer(outcome.clone());
        }
        written.store(true, Ordering::Release);
        let logged = length(&log);
        if logged > empty_at {
            // The checkpointer cannot keep up. Writers wait here, so that the log stays bounded.
            let _ = connection.busy_timeout(READERS_WITHIN);
            checkpoint(&connection, path, "PRAGMA wal_checkpoint(TRUNCATE)");
            let _ = connection.busy_timeout(BUSY_TIMEOUT);
            empty_at = if length(&log) == 0 { LOG_BYTES_MAX } else { logged + LOG_BYTES_MORE };
        }
    }
    // Leave nothing to recover, so that the next start is fast.
    checkpoint(&connection, path, "PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Why a batch failed.
struct Failure {
    error: Error,
    /// The sync failed, so the log may lack data that later commits would depend on.
    failed_sync: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, failed_sync: false }
    }
}

fn run_batch(
    tx: &mut Tx,
    batch: impl Iterator<Item = Unit>,
    answers: &mut Vec<Answer>,
) -> Result<(), Failure> {
    statement(tx, "BEGIN IMMEDIATE")?;
    for unit in batch {
        statement(tx, "SAVEPOINT unit")?;
        let (keep, answer) = unit(tx);
        answers.push(answer);
        if keep {
            tx.merge_unit();
        } else {
            statement(tx, "ROLLBACK TO unit")?;
            tx.roll_back_unit();
        }
        statement(tx, "RELEASE unit")?;
    }
    run_now(Box::pin(tx.flush()))?;
    commit(tx)
}

fn commit(tx: &Tx) -> Result<(), Failure> {
    let Session::Sqlite(connection) = tx.session() else { unreachable!("the connection is SQLite's") };
    execute_raw(connection, "COMMIT", &[]).map(|_| ()).map_err(|error| {
        let failed_sync = is_failed_sync(&error);
        let error = match failure("COMMIT", &error) {
            // The log may contain the commit nevertheless, and the next start would then find it.
            Error::Unavailable { reason } if is_io(&error) => Error::Unknown { reason },
            other => other,
        };
        Failure { error, failed_sync }
    })
}

fn is_io(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
}

fn statement(tx: &Tx, sql: &'static str) -> Result<(), Error> {
    let Session::Sqlite(connection) = tx.session() else { unreachable!("the connection is SQLite's") };
    execute_raw(connection, sql, &[]).map(|_| ()).map_err(|e| failure(sql, &e))
}

/// Ends the process. Nothing may be acknowledged on top of a log that may have lost data.
fn end_process(path: &Path, error: &Error) -> ! {
    tracing::error!(database = %path.display(), %error, "the log cannot be synced; ending the process, start it again");
    eprintln!("nephos: {}: the log cannot be synced ({error}); start again", path.display());
    std::process::exit(1)
}

/// Runs a checkpoint as far as readers and writers allow.
fn checkpoint(connection: &Connection, path: &Path, pragma: &str) {
    match connection.query_row(pragma, [], |_| Ok(())) {
        Err(error) if is_failed_sync(&error) => end_process(path, &failure(pragma, &error)),
        Err(error) => tracing::debug!(%error, "checkpoint of the write-ahead log postponed"),
        Ok(()) => {}
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Returns a file's length; 0 if it does not exist.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

fn checkpoint_regularly(path: &Path, reserve: &Reserve, stop: &(Mutex<bool>, Condvar), written: &AtomicBool) {
    let connection = match connect(path) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::error!(%error, "cannot start the checkpointer; only the writer checkpoints the write-ahead log");
            return;
        }
    };
    // Truncating needs the writer's lock. Do not wait for current writers or readers.
    let _ = connection.busy_timeout(Duration::ZERO);
    let (log, mut idle_looks) = (log_of(path), 0);
    loop {
        let stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) =
            stop.1.wait_timeout(stopped, CHECKPOINT_EVERY).unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return;
        }
        drop(stopped);
        reserve.take();
        if written.swap(false, Ordering::AcqRel) {
            idle_looks = 0;
            checkpoint(&connection, path, "PRAGMA wal_checkpoint(PASSIVE)");
        } else if idle_looks < IDLE_LOOKS {
            idle_looks += 1;
        } else if length(&log) > 0 && reserve.is_held() {
            // Truncate the log once the load is over, so that its space is free again. On a full disk keep it, so that it
            // can be overwritten.
            checkpoint(&connection, path, "PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
}
