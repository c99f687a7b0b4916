//! Fenced leases by the database's clock: one process at a time does what must be done once.
//!
//! A lease lasts by the database's clock, which all processes share. Its holder counts by its own clock from the moment
//! before it asked, stops at two thirds, and so has stopped before the database gives the lease to another process, as
//! long as the two clocks run at about the same speed.

use std::time::Duration;

use database::{Database, Error, params};

/// A span of this machine's time, including time in which it was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(Duration);

impl Uptime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// The moment `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long from now until this moment; zero once it has come.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Waits until this moment. Returns at most a second late after the machine was suspended.
    pub async fn come(self) {
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            // Timers stand still while the machine is suspended, so none may be long.
            tokio::time::sleep(remaining.min(Duration::from_secs(1))).await;
        }
    }
}

/// Until when the holder of a lease that it asked for at `sent` may act on it.
#[must_use]
pub fn usable_until(sent: Uptime, lease: Duration) -> Uptime {
    sent.after(lease * 2 / 3)
}

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is on.
    pub name: String,
    /// Grows with every change of holder; what is written under the lease is checked against it.
    pub fence: i64,
    /// The holder stops then unless it has taken the lease again.
    pub usable_until: Uptime,
}

/// Takes or renews the lease on `name` for `duration`; `None` while another holder has it.
///
/// # Errors
/// The database's.
pub async fn take(
    db: &Database,
    name: &str,
    owner: &str,
    duration: Duration,
) -> Result<Option<Lease>, Error> {
    let sent = Uptime::now();
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    // The fence grows only with a new holder: a renewal keeps valid what was begun under it.
    let sql = "INSERT INTO leases (name, owner, fence, until) VALUES ($1, $2, 1, now_micros() + $3)
               ON CONFLICT (name) DO UPDATE SET
                 fence = leases.fence + CASE WHEN leases.owner = $2 THEN 0 ELSE 1 END, owner = $2,
                 until = now_micros() + $3
               WHERE leases.owner = $2 OR leases.until <= now_micros()
               RETURNING fence";
    let rows = db.write_rows(sql, params![name, owner, micros]).await?;
    let usable_until = usable_until(sent, duration);
    let lease = |row: &database::Row| Ok(Lease { name: name.to_owned(), fence: row.get(0)?, usable_until });
    rows.first().map(lease).transpose()
}
