//! Backup schedules.

use database::{Error, Tx, params};
use uuid::Uuid;
use work::Time;

use super::bad;
use crate::model::{Daily, Schedule, Weekly};

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
