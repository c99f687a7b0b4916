//! Usage of servers by server and UTC day: time of existence, size, and traffic on the public network. Traffic
//! counters are read every few minutes, and before every action that resets them.

use std::sync::Arc;
use std::time::Duration;

use meter::{Measure, Meter};
use networks::Label;
use uuid::Uuid;
use work::Time;

use super::{Compute, Error, Inner, Shutdown};
use crate::model::Server;
use crate::store;
use crate::store::usage::{Position, Reading};

pub use crate::store::usage::ServerUsage;

/// Interval between readings. A restart by the guest itself loses at most this much traffic.
const READ_INTERVAL: Duration = Duration::from_secs(300);
/// Number of servers whose readings are stored per transaction, and of rows per query.
const PAGE: i64 = 200;
/// Time limit for reading a machine's counters, so that a slow host does not delay operations. It is read the next time.
const USAGE_TIMEOUT: Duration = Duration::from_secs(5);
const DAY_SECONDS: i64 = 86_400;

/// The traffic of a server's public interface, in bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Traffic {
    bytes_in: i64,
    bytes_out: i64,
}

/// An amount to be added to the meter once the reading is committed.
struct Count {
    tenant: String,
    day: i64,
    measure: Measure,
    amount: u64,
}

impl Compute {
    /// Starts reading the usage of servers and reports it, and every request, to the meter.
    pub fn report_to(&self, meter: Meter) {
        if self.0.meter.set(meter).is_ok() {
            tokio::spawn(read_periodically(Arc::clone(&self.0)));
        }
    }

    /// Counts a request to a tenant's account.
    pub(crate) fn count_request(&self, tenant: &str) {
        if let Some(meter) = self.0.meter.get() {
            meter.count(tenant, Measure::ServersOperations, 1);
        }
    }

    /// Returns the recorded usage of servers from `first_day` on, of one tenant or of all.
    ///
    /// # Errors
    /// The database's.
    pub async fn usage(&self, tenant: Option<&str>, first_day: i64) -> Result<Vec<ServerUsage>, Error> {
        let mut found = Vec::new();
        let mut after = Position { day: first_day, tenant: String::new(), number: -1 };
        loop {
            let input = (tenant.map(str::to_owned), after);
            let page = self.0.db.scan(input, |(tenant, after), tx| {
                Box::pin(async move { store::usage::page(tx, tenant.as_deref(), after, PAGE).await })
            });
            let page: Vec<ServerUsage> = page.await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Position { day: last.day, tenant: last.tenant.clone(), number: last.number };
            found.extend(page);
        }
    }

    /// Reads the usage of every server now.
    ///
    /// # Errors
    /// The database's.
    pub async fn read_meters(&self) -> Result<(), Error> {
        self.0.read_all().await
    }
}

async fn read_periodically(inner: Arc<Inner>) {
    let mut shutdown = inner.shutdown.subscribe();
    let reading = async {
        loop {
            inner.clock.sleep(READ_INTERVAL).await;
            if let Err(error) = inner.read_all().await {
                tracing::warn!(%error, "cannot read the usage of servers; the next reading retries");
            }
        }
    };
    tokio::select! {
        () = reading => {}
        _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::No) => {}
    }
}

impl Inner {
    async fn read_all(&self) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let page = self
                .db
                .scan(after, |after, tx| Box::pin(async move { store::servers::all(tx, after, PAGE).await }));
            let page = page.await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id.to_string();
            let mut read = Vec::with_capacity(page.len());
            for server in &page {
                read.push((server.id, self.traffic(server).await));
            }
            self.store_readings(read).await?;
        }
    }

    /// Reads one server's usage if its host is reachable.
    pub(super) async fn read_meter(&self, server: &Server) {
        let read = vec![(server.id, self.traffic(server).await)];
        if let Err(error) = self.store_readings(read).await {
            tracing::warn!(%error, server = %server.id, "cannot store the usage of a server; the next reading retries");
        }
    }

    async fn traffic(&self, server: &Server) -> Option<Traffic> {
        if server.power == hypervisor::Power::Absent || self.is_unreachable(&server.host) {
            return None;
        }
        let mac = server.interfaces.iter().find(|port| port.label == Label::Public)?.mac;
        let host = self.host_named(&server.host)?;
        let usage = tokio::time::timeout(USAGE_TIMEOUT, host.usage(server.id)).await.ok()?.ok()?;
        let nic = usage.nics.iter().find(|nic| nic.mac == mac)?;
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(Traffic { bytes_in: number(nic.received_bytes), bytes_out: number(nic.sent_bytes) })
    }

    async fn store_readings(&self, read: Vec<(Uuid, Option<Traffic>)>) -> Result<(), Error> {
        let input = (read, self.clock.now());
        let counted = self.db.write(input, |(read, now), tx| {
            Box::pin(async move {
                let mut counted = Vec::new();
                for (id, traffic) in read {
                    if let Some(server) = store::servers::by_id(tx, *id).await? {
                        store_reading(tx, &server, *traffic, *now, &mut counted).await?;
                    }
                }
                Ok::<_, Error>(counted)
            })
        });
        let counted = counted.await?;
        if let Some(meter) = self.meter.get() {
            for Count { tenant, day, measure, amount } in counted {
                meter.count_on(&tenant, day, measure, amount);
            }
        }
        Ok(())
    }
}

async fn store_reading(
    tx: &mut database::Tx,
    server: &Server,
    traffic: Option<Traffic>,
    now: Time,
    counted: &mut Vec<Count>,
) -> Result<(), database::Error> {
    let last = store::usage::reading(tx, server.id).await?;
    let last = last.unwrap_or(Reading { until: server.created, bytes_in: 0, bytes_out: 0 });
    // Usage ends when the owner deletes the server, not when the deletion is complete.
    let now = server.deleted.unwrap_or(now).max(last.until);
    let last_traffic = Traffic { bytes_in: last.bytes_in, bytes_out: last.bytes_out };
    let Traffic { bytes_in, bytes_out } = traffic.unwrap_or(last_traffic);
    // Counters that went down were reset with the machine.
    let since = |now: i64, last: i64| if now >= last { now - last } else { now };
    let mut new_bytes = (since(bytes_in, last.bytes_in), since(bytes_out, last.bytes_out));
    let spans: Vec<_> = by_day(last.until.seconds(), now.seconds()).collect();
    let today = (now.seconds().div_euclid(DAY_SECONDS), 0);
    let spans = if spans.is_empty() && new_bytes != (0, 0) { vec![today] } else { spans };
    // The traffic is recorded on the last day of the span.
    for (day, seconds) in spans.into_iter().rev() {
        let bytes = std::mem::take(&mut new_bytes);
        store::usage::add(tx, server, day, seconds, bytes).await?;
        let mib_seconds = seconds.saturating_mul(i64::from(server.flavor.memory_mib));
        for (measure, amount) in [
            (Measure::ServersSeconds, seconds),
            (Measure::ServersMibSeconds, mib_seconds),
            (Measure::ServersBytesIn, bytes.0),
            (Measure::ServersBytesOut, bytes.1),
        ] {
            let amount = u64::try_from(amount).unwrap_or(0);
            counted.push(Count { tenant: server.tenant.clone(), day, measure, amount });
        }
    }
    let reading = Reading { until: now, bytes_in, bytes_out };
    store::usage::set_reading(tx, server.id, reading).await
}

/// Returns the days of a span of time with the number of its seconds on each.
fn by_day(from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
    let first = from.div_euclid(DAY_SECONDS);
    let last = (to - 1).div_euclid(DAY_SECONDS);
    (first..=last).filter(move |_| to > from).map(move |day| {
        let (begin, end) = (day * DAY_SECONDS, (day + 1) * DAY_SECONDS);
        (day, to.min(end) - from.max(begin))
    })
}

#[cfg(test)]
mod tests {
    use super::by_day;

    #[test]
    fn a_span_is_split_at_midnight() {
        let days = |from, to| by_day(from, to).collect::<Vec<_>>();
        assert_eq!(days(100, 160), [(0, 60)]);
        assert_eq!(days(86_300, 172_900), [(0, 100), (1, 86_400), (2, 100)]);
        assert_eq!(days(86_399, 86_400), [(0, 1)]);
        assert_eq!(days(50, 50), []);
    }
}
