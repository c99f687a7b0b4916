//! Fenced leases: at most one process at a time does a singleton's work.
//!
//! A lease expires by the database's clock, which all processes share. Its holder measures by its own clock, starting before
//! it sent the request, and stops after two thirds of the lease. As long as both clocks run at about the same speed, it has
//! therefore stopped before the database grants the lease to another process.

use std::time::Duration;

use database::{Database, Error, params};

/// A point in time since boot, which includes time in which the machine was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(Duration);

impl Uptime {
    /// Returns the current time.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// The point in time `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// The time left until then; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Waits until then. After a suspension of the machine it returns at most one second late.
    pub async fn reached(self) {
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            // Timers stop while the machine is suspended, so none may be long.
            tokio::time::sleep(remaining.min(Duration::from_secs(1))).await;
        }
    }
}

/// Returns until when a holder may act on a lease of duration `lease` that it requested at `sent`.
#[must_use]
pub fn usable_until(sent: Uptime, lease: Duration) -> Uptime {
    sent.after(lease * 2 / 3)
}

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What the lease is for.
    pub name: String,
    /// Increases with every change of holder. Writes made under the lease are checked against it.
    pub fence: i64,
    /// The holder must stop then unless it has renewed the lease.
    pub usable_until: Uptime,
}

/// Takes or renews the lease `name` for `duration`. Returns `None` while another process holds it.
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
    // A renewal keeps the fence, so that work in progress under the lease stays valid.
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
