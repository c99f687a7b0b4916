//! The transaction that a unit works in.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::value::{Cell, Row, Value};

/// Slots of a folded counter on PostgreSQL.
pub(crate) const SLOTS: i64 = 8;

/// A boxed future that may borrow for `'a`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sums to add in one go at the end of the transaction, by statement and key.
pub(crate) type Folds = BTreeMap<(&'static str, Vec<Cell>), Vec<i64>>;

/// A transaction: statements see what earlier ones of the same unit did. A unit checks first (`ON CONFLICT DO
/// NOTHING`, a `SELECT`): once one of its statements has failed it cannot succeed any more.
pub struct Tx {
    session: Session,
    /// What this unit folded.
    folds: Folds,
    /// What earlier units of the batch folded and nobody has written yet.
    batch: Folds,
    /// What this unit wrote of the batch's, to be folded again if the unit is rolled back.
    written: Folds,
    /// The first statement's failure: nothing after it can succeed.
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

    /// The rows that `sql` returns.
    ///
    /// # Errors
    /// The engine's own error.
    pub async fn rows(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let answer = self.session.rows(sql, params).await;
        self.noted(answer)
    }

    /// The first row that `sql` returns.
    ///
    /// # Errors
    /// The engine's own error.
    pub async fn row(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Runs `sql` and returns how many rows it changed.
    ///
    /// # Errors
    /// The engine's own error; [`crate::Error::Duplicate`] for a key that exists already.
    pub async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        let answer = self.session.execute(sql, params).await;
        self.noted(answer)
    }

    /// A failed statement dooms its unit on PostgreSQL, so it does everywhere: see [`Tx::verdict`].
    fn noted<T>(&mut self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer {
            self.failure.get_or_insert_with(|| error.clone());
        }
        answer
    }

    /// The first failure of a statement of this unit.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The failure of a statement whose error the unit ignored: it must not succeed.
    pub(crate) fn verdict(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(crate) async fn finish(&mut self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => self.flush().await,
        }
    }

    /// Adds `deltas` at the end of the transaction, merged with every other unit's for the same key.
    ///
    /// `sql` takes the key's cells and then one parameter per delta, and must add to a row. One that finds no row is a
    /// conflict, and the unit is repeated. With SQLite it runs once per
    /// batch and key; until then a reader inside the batch does not see it, so a unit that needs the sum reads
    /// after [`Tx::flush`].
    pub fn fold(&mut self, sql: &'static str, key: Vec<Cell>, deltas: &[i64]) {
        add(&mut self.folds, (sql, key), deltas);
    }

    /// Writes what was folded so far, in key order.
    ///
    /// # Errors
    /// The engine's own error.
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
                self.fold_lost(sql)?;
            }
        }
        Ok(())
    }

    /// What was to be added to is gone: another unit deleted it since this one looked.
    fn fold_lost(&mut self, sql: &str) -> Result<()> {
        if self.slots() == 1 {
            // One writer runs its units in order, so that whoever deletes sees what was added. The batch's other units
            // are not to blame.
            tracing::error!(sql, "a sum was added to no row");
            return Ok(());
        }
        self.noted(Err(Error::Conflict))
    }

    /// The unit is kept: what it folded is the batch's now.
    pub(crate) fn keep_unit(&mut self) {
        self.written.clear();
        let unit = std::mem::take(&mut self.folds);
        merge(&mut self.batch, unit);
    }

    /// The unit was rolled back, and with it what it wrote of the batch's sums.
    pub(crate) fn undo_unit(&mut self) {
        self.folds.clear();
        let written = std::mem::take(&mut self.written);
        merge(&mut self.batch, written);
    }

    /// Over how many slots a counter is spread: 1 with SQLite, 8 with PostgreSQL.
    #[must_use]
    pub fn slots(&self) -> i64 {
        match self.session {
            Session::Sqlite(_) => 1,
            Session::Postgres(_) => SLOTS,
        }
    }

    /// Which of a counter's few slots this unit adds to, so that concurrent writers do not meet in one row:
    /// always 0 with SQLite, 0 to 7 with PostgreSQL.
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
