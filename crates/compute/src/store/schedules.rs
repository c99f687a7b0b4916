//! Backup schedules.

use database::{Error, Tx, params};
use uuid::Uuid;
use work::Time;

use super::bad;
use crate::model::{Cadence, Daily, Schedule, Weekly};

pub(crate) async fn get(tx: &mut Tx, server: Uuid) -> Result<Schedule, Error> {
    let sql = "SELECT enabled, weekly, daily FROM schedules WHERE server = $1";
    let Some(mut row) = tx.row(sql, params![server.to_string()]).await? else {
        return Ok(Schedule::default());
    };
    Ok(Schedule {
        enabled: row.take(0)?,
        weekly: Weekly::parse(&row.take::<String>(1)?).ok_or_else(|| bad("day"))?,
        daily: Daily::parse(&row.take::<String>(2)?).ok_or_else(|| bad("window"))?,
    })
}

pub(crate) async fn set(tx: &mut Tx, server: Uuid, schedule: Schedule, now: Time) -> Result<(), Error> {
    let sql = "INSERT INTO schedules (server, enabled, weekly, daily, updated) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (server) DO UPDATE SET enabled = $2, weekly = $3, daily = $4, updated = $5";
    let (weekly, daily) = (schedule.weekly.as_str(), schedule.daily.as_str());
    tx.execute(sql, params![server.to_string(), schedule.enabled, weekly, daily, now.0]).await.map(|_| ())
}

pub(crate) async fn changed(tx: &mut Tx, server: Uuid) -> Result<Option<Time>, Error> {
    let row = tx.row("SELECT updated FROM schedules WHERE server = $1", params![server.to_string()]).await?;
    row.map(|row| row.get(0).map(Time)).transpose()
}

/// Returns the end of the last window whose image was requested.
pub(crate) async fn served_until(tx: &mut Tx, server: Uuid, cadence: Cadence) -> Result<Time, Error> {
    let sql = match cadence {
        Cadence::Daily => "SELECT daily_served FROM schedules WHERE server = $1",
        Cadence::Weekly => "SELECT weekly_served FROM schedules WHERE server = $1",
    };
    let row = tx.row(sql, params![server.to_string()]).await?;
    Ok(Time(row.map(|row| row.get(0)).transpose()?.unwrap_or(0)))
}

pub(crate) async fn set_served_until(
    tx: &mut Tx,
    server: Uuid,
    cadence: Cadence,
    until: Time,
) -> Result<(), Error> {
    let sql = match cadence {
        Cadence::Daily => "UPDATE schedules SET daily_served = $2 WHERE server = $1",
        Cadence::Weekly => "UPDATE schedules SET weekly_served = $2 WHERE server = $1",
    };
    tx.execute(sql, params![server.to_string(), until.0]).await.map(|_| ())
}
