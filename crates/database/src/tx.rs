//! The transaction in which a unit runs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::value::{Cell, Row, Value};

/// Number of slots of a folded counter on PostgreSQL.
pub(crate) const SLOTS: i64 = 8;

/// A boxed future that may borrow for `'a`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sums to add at the end of the transaction, by statement and key.
pub(crate) type Folds = BTreeMap<(&'static str, Vec<Cell>), Vec<i64>>;

/// A transaction. Statements see the effects of earlier ones of the same unit. A unit must check first (`ON CONFLICT DO
/// NOTHING`, a `SELECT`), because once one of its statements has failed the unit cannot succeed.
pub struct Tx {
    session: Session,
    /// Sums that this unit folded.
    folds: Folds,
    /// Sums that earlier units of the batch folded and that are not written yet.
    batch: Folds,
    /// The batch's sums that this unit wrote. They are folded again if the unit is rolled back.
    written: Folds,
    /// The first failure of a statement. No later statement can succeed.
    failure: Option<Error>,
    slot: i64,
}

impl Tx {
    pub(crate) fn new(session: Session, slot: i64) -> Self {
        Self { session, folds: Folds::new(), batch: Folds::new(), written: Folds::new(), failure: None, slot }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn into_session(self) -> Session {
        self.session
    }

    /// Returns the rows of `sql`.
    ///
    /// # Errors
    /// The engine's error.
    pub async fn rows(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let answer = self.session.rows(sql, params).await;
        self.record_failure(answer)
    }

    /// Returns the first row of `sql`.
    ///
    /// # Errors
    /// The engine's error.
    pub async fn row(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Runs `sql` and returns the number of rows it changed.
    ///
    /// # Errors
    /// The engine's error; [`crate::Error::Duplicate`] for a key that already exists.
    pub async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        let answer = self.session.execute(sql, params).await;
        self.record_failure(answer)
    }

    /// Records a statement's failure. On PostgreSQL a failed statement makes its transaction fail, so both engines do the
    /// same: see [`Tx::take_failure`].
    fn record_failure<T>(&mut self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer {
            self.failure.get_or_insert_with(|| error.clone());
        }
        answer
    }

    /// Returns the first failure of a statement of this unit.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Returns the failure of a statement even if the unit ignored it, so that the unit does not succeed.
    pub(crate) fn take_failure(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(crate) async fn finish(&mut self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => self.flush().await,
        }
    }

    /// Adds `deltas` at the end of the transaction, merged with every other unit's deltas for the same key.
    ///
    /// `sql` takes the key's cells and then one parameter per delta, and must add to an existing row. If it finds no row,
    /// that is a conflict, and the unit is repeated. With SQLite it runs once per batch and key. Until then a reader inside
    /// the batch does not see it, so a unit that needs the sum reads after [`Tx::flush`].
    pub fn fold(&mut self, sql: &'static str, key: Vec<Cell>, deltas: &[i64]) {
        add(&mut self.folds, (sql, key), deltas);
    }

    /// Writes the sums folded so far, in key order.
    ///
    /// # Errors
    /// The engine's error.
    pub async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let unit = std::mem::take(&mut self.folds);
        self.written.extend(batch.clone());
        let mut all = batch;
        merge(&mut all, unit);
        for ((sql, key), sums) in all {
            let mut params: Vec<Value<'_>> = key.iter().map(Value::from).collect();
            params.extend(sums.iter().map(|sum| Value::Int(*sum)));
            if self.execute(sql, &params).await? == 0 {
                self.handle_missing_row(sql)?;
            }
        }
        Ok(())
    }

    /// Handles a fold that found no row: another unit deleted the row after this unit checked for it.
    fn handle_missing_row(&mut self, sql: &str) -> Result<()> {
        if self.slots() == 1 {
            // A single writer runs its units in order, so a deletion sees earlier folds. The batch's other units are not at
            // fault and must not fail.
            tracing::error!(sql, "a counter's row is gone; its sum is lost");
            return Ok(());
        }
        self.record_failure(Err(Error::Conflict))
    }

    /// Keeps the unit: moves its folded sums to the batch.
    pub(crate) fn merge_unit(&mut self) {
        self.written.clear();
        let unit = std::mem::take(&mut self.folds);
        merge(&mut self.batch, unit);
    }

    /// Handles the unit's rollback, which also undid the batch's sums that it wrote.
    pub(crate) fn roll_back_unit(&mut self) {
        self.folds.clear();
        let written = std::mem::take(&mut self.written);
        merge(&mut self.batch, written);
    }

    /// Number of slots over which a counter is spread: 1 with SQLite, 8 with PostgreSQL.
    #[must_use]
    pub fn slots(&self) -> i64 {
        match self.session {
            Session::Sqlite(_) => 1,
            Session::Postgres(_) => SLOTS,
        }
    }

    /// The slot of a counter that this unit adds to, so that concurrent writers rarely update the same row: always 0 with
    /// SQLite, 0 to 7 with PostgreSQL.
    #[must_use]
    pub fn slot(&self) -> i64 {
        self.slot
    }
}

fn add(folds: &mut Folds, key: (&'static str, Vec<Cell>), deltas: &[i64]) {
    let sums = folds.entry(key).or_insert_with(|| vec![0; deltas.len()]);
    for (sum, delta) in sums.iter_mut().zip(deltas) {
        *sum += delta;
    }
}

fn merge(into: &mut Folds, from: Folds) {
    for (key, sums) in from {
        add(into, key, &sums);
    }
}
