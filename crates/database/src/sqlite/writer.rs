//! The writer: units queue up while an fsync runs and share the next one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{execute, run_now};
use crate::error::Error;
use crate::tx::{BoxFuture, Connection as TxConnection, Tx};

/// Units in one transaction at most.
const BATCH_UNITS_MAX: usize = 512;
/// Units waiting before submitters wait.
const QUEUE_UNITS: usize = 4096;
/// Pages in the write-ahead log (8 KiB each) at which the writer itself waits for a full checkpoint.
const WAL_PAGES_MAX: u64 = 64 * 1024;
/// How often the checkpointer looks.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(300);

/// Answers a unit's caller, once the batch's fate is known. Dropped unused, as when the batch never began, it
/// tells the caller that the database is unavailable.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// Runs a unit; `true` when its effects are to be kept.
type Unit = Box<dyn FnOnce(&mut Tx) -> (bool, Answer) + Send>;

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
        let wal_pages = Arc::new(AtomicU64::new(0));
        let written = Arc::new(AtomicBool::new(false));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = std::thread::Builder::new().name(format!("{service}-writer")).spawn({
            let (wal_pages, written) = (Arc::clone(&wal_pages), Arc::clone(&written));
            move || write_batches(connection, units, &wal_pages, &written)
        })?;
        let checkpointer = std::thread::Builder::new().name(format!("{service}-checkpoint")).spawn({
            let stop = Arc::clone(&stop);
            move || checkpoint(&path, &stop, &wal_pages, &written)
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
            if let Err(error) = tx.verdict() {
                outcome = outcome.and(Err(error.into()));
            }
            let keep = outcome.is_ok();
            let answer: Answer = Box::new(move |fate| {
                // The caller may be gone: its connection was closed. The unit stands all the same.
                let _ = sender.send(fate.map_err(E::from).and(outcome));
            });
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
    wal_pages: &AtomicU64,
    written: &AtomicBool,
) {
    let mut batch = Vec::with_capacity(BATCH_UNITS_MAX);
    while units.blocking_recv_many(&mut batch, BATCH_UNITS_MAX) > 0 {
        let mut tx = Tx::new(TxConnection::Sqlite(connection), 0);
        let mut answers = Vec::with_capacity(batch.len());
        let fate = run_batch(&mut tx, batch.drain(..), &mut answers);
        let TxConnection::Sqlite(returned) = tx.connection else {
            unreachable!("the connection is SQLite's")
        };
        connection = returned;
        if let Err(error) = &fate {
            tracing::error!(%error, units = answers.len(), "batch lost");
            if !connection.is_autocommit() {
                let _ = execute(&connection, "ROLLBACK", &[]);
            }
        }
        for answer in answers {
            answer(fate.clone());
        }
        written.store(true, Ordering::Release);
        if wal_pages.load(Ordering::Acquire) > WAL_PAGES_MAX {
            // The checkpointer cannot keep up: writers wait here, so the log cannot grow without end.
            let _ = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
            wal_pages.store(0, Ordering::Release);
        }
    }
    // Leaves nothing to recover, so that the next start is quick.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

fn run_batch(tx: &mut Tx, batch: impl Iterator<Item = Unit>, answers: &mut Vec<Answer>) -> Result<(), Error> {
    statement(tx, "BEGIN IMMEDIATE")?;
    for unit in batch {
        statement(tx, "SAVEPOINT unit")?;
        let (keep, answer) = unit(tx);
        answers.push(answer);
        if keep {
            tx.keep_unit();
        } else {
            statement(tx, "ROLLBACK TO unit")?;
            tx.undo_unit();
        }
        statement(tx, "RELEASE unit")?;
    }
    run_now(Box::pin(tx.flush()))?;
    statement(tx, "COMMIT")
}

fn statement(tx: &Tx, sql: &'static str) -> Result<(), Error> {
    let TxConnection::Sqlite(connection) = &tx.connection else { unreachable!("the connection is SQLite's") };
    execute(connection, sql, &[]).map(|_| ())
}

fn checkpoint(path: &PathBuf, stop: &(Mutex<bool>, Condvar), wal_pages: &AtomicU64, written: &AtomicBool) {
    let connection = match super::connect(path) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::error!(%error, "no checkpointer: the write-ahead log is folded in by the writer alone");
            return;
        }
    };
    loop {
        let stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) =
            stop.1.wait_timeout(stopped, CHECKPOINT_EVERY).unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return;
        }
        drop(stopped);
        if !written.swap(false, Ordering::AcqRel) {
            continue;
        }
        let log: rusqlite::Result<i64> =
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1));
        if let Ok(pages) = log {
            wal_pages.store(u64::try_from(pages).unwrap_or(0), Ordering::Release);
        }
    }
}
