//! What servers use, by server and UTC day: how long they exist, in which size, and what they move over the public
//! network. Read every few minutes, and before whatever sets a machine's counters back or ends it.

use std::sync::Arc;
use std::time::Duration;

use meter::{Measure, Meter};
use networks::Label;
use uuid::Uuid;
use work::Time;

use super::{Compute, Error, Halt, Inner};
use crate::model::Server;
use crate::store;
use crate::store::usage::Reading;

pub use crate::store::usage::ServerUsage;

/// How often servers are read. What a guest's own restart takes with it is at most the traffic of so long.
const EVERY: Duration = Duration::from_secs(300);
/// Servers read in one unit, and rows shown in one go.
const PAGE: i64 = 200;
/// A host that is slower than this is read the next time: no operation waits for its meter.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const DAY_SECONDS: i64 = 86_400;

/// The counters of a server's public card: bytes in, bytes out.
type Counters = (i64, i64);

/// What a unit found to be told to the meter.
type Counted = Vec<(String, i64, Measure, u64)>;

impl Compute {
    /// Begins to read what servers use, and tells the meter of it and of every call.
    pub fn report_to(&self, meter: Meter) {
        if self.0.meter.set(meter).is_ok() {
            tokio::spawn(read_on(Arc::clone(&self.0)));
        }
    }

    /// A call was made on a tenant's account.
    pub(crate) fn count_call(&self, tenant: &str) {
        if let Some(meter) = self.0.meter.get() {
            meter.count(tenant, Measure::ServersOperations, 1);
        }
    }

    /// What servers used from `first_day` on, as far as it is read, for one tenant or all.
    ///
    /// # Errors
    /// The database's.
    pub async fn usage(&self, tenant: Option<&str>, first_day: i64) -> Result<Vec<ServerUsage>, Error> {
        let (mut found, mut after) = (Vec::new(), (first_day, String::new(), -1));
        loop {
            let input = (tenant.map(str::to_owned), after);
            let page = self.0.db.scan(input, |(tenant, (day, after, number)), tx| {
                Box::pin(async move {
                    store::usage::page(tx, tenant.as_deref(), (*day, after, *number), PAGE).await
                })
            });
            let page: Vec<ServerUsage> = page.await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = (last.day, last.tenant.clone(), last.number);
            found.extend(page);
        }
    }

    /// Reads every server now.
    ///
    /// # Errors
    /// The database's.
    pub async fn read_meters(&self) -> Result<(), Error> {
        self.0.read_all().await
    }
}

async fn read_on(inner: Arc<Inner>) {
    let mut halt = inner.halt.subscribe();
    let reading = async {
        loop {
            inner.clock.sleep(EVERY).await;
            if let Err(error) = inner.read_all().await {
                tracing::warn!(%error, "what servers use is read later");
            }
        }
    };
    tokio::select! {
        () = reading => {}
        _ = halt.wait_for(|halt| *halt != Halt::No) => {}
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
                read.push((server.id, self.counters(server).await));
            }
            self.keep_readings(read).await?;
        }
    }

    /// Reads one server, as far as its host answers.
    pub(super) async fn read_meter(&self, server: &Server) {
        let read = vec![(server.id, self.counters(server).await)];
        if let Err(error) = self.keep_readings(read).await {
            tracing::warn!(%error, server = %server.id, "what a server uses is read later");
        }
    }

    async fn counters(&self, server: &Server) -> Option<Counters> {
        if server.power == hypervisor::Power::Absent || self.is_lost(&server.host) {
            return None;
        }
        let card = server.interfaces.iter().find(|port| port.label == Label::Public)?.mac;
        let host = self.host_named(&server.host)?;
        let usage = tokio::time::timeout(ANSWER_WITHIN, host.usage(server.id)).await.ok()?.ok()?;
        let nic = usage.nics.iter().find(|nic| nic.mac == card)?;
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Some((number(nic.received_bytes), number(nic.sent_bytes)))
    }

    async fn keep_readings(&self, read: Vec<(Uuid, Option<Counters>)>) -> Result<(), Error> {
        let input = (read, self.clock.now());
        let counted = self.db.write(input, |(read, now), tx| {
            Box::pin(async move {
                let mut counted = Counted::new();
                for (id, counters) in read {
                    if let Some(server) = store::servers::by_id(tx, *id).await? {
                        keep_reading(tx, &server, *counters, *now, &mut counted).await?;
                    }
                }
                Ok::<_, Error>(counted)
            })
        });
        let counted = counted.await?;
        if let Some(meter) = self.meter.get() {
            for (tenant, day, measure, amount) in counted {
                meter.count_on(&tenant, day, measure, amount);
            }
        }
        Ok(())
    }
}

async fn keep_reading(
    tx: &mut database::Tx,
    server: &Server,
    counters: Option<Counters>,
    now: Time,
    counted: &mut Counted,
) -> Result<(), database::Error> {
    let last = store::usage::reading(tx, server.id).await?;
    let last = last.unwrap_or(Reading { until: server.created, bytes_in: 0, bytes_out: 0 });
    // It is its owner's until it is deleted, not until nothing is left of it.
    let now = server.deleted.unwrap_or(now).max(last.until);
    let (bytes_in, bytes_out) = counters.unwrap_or((last.bytes_in, last.bytes_out));
    // Counters that went back began anew with the machine.
    let since = |now: i64, last: i64| if now >= last { now - last } else { now };
    let mut moved = (since(bytes_in, last.bytes_in), since(bytes_out, last.bytes_out));
    let spans: Vec<_> = by_day(last.until.seconds(), now.seconds()).collect();
    let today = (now.seconds().div_euclid(DAY_SECONDS), 0);
    let spans = if spans.is_empty() && moved != (0, 0) { vec![today] } else { spans };
    // What moved is told of the last day of the time that was read.
    for (day, seconds) in spans.into_iter().rev() {
        let bytes = std::mem::take(&mut moved);
        store::usage::add(tx, server, day, seconds, bytes).await?;
        let mib_seconds = seconds.saturating_mul(i64::from(server.flavor.memory_mib));
        for (measure, amount) in [
            (Measure::ServersSeconds, seconds),
            (Measure::ServersMibSeconds, mib_seconds),
            (Measure::ServersBytesIn, bytes.0),
            (Measure::ServersBytesOut, bytes.1),
        ] {
            counted.push((server.tenant.clone(), day, measure, u64::try_from(amount).unwrap_or(0)));
        }
    }
    let reading = Reading { until: now, bytes_in, bytes_out };
    store::usage::set_reading(tx, server.id, reading).await
}

/// The days of a span of time, each with its seconds in it.
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
    fn a_span_is_parted_at_midnight() {
        let days = |from, to| by_day(from, to).collect::<Vec<_>>();
        assert_eq!(days(100, 160), [(0, 60)]);
        assert_eq!(days(86_300, 172_900), [(0, 100), (1, 86_400), (2, 100)]);
        assert_eq!(days(86_399, 86_400), [(0, 1)]);
        assert_eq!(days(50, 50), []);
    }
}
