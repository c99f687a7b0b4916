//! Jobs: what was accepted is carried out in small steps, each of which may run again. One job is active per server;
//! its lease is fenced in the database, and within this process it has its machine's turn.

mod addresses;
mod building;
mod crossing;
mod imaging;
mod lifecycle;
mod placing;
mod resizing;
mod settle;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use database::Tx;
use hypervisor::Hypervisor;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use work::{Handler, Job, NewJob, Next, Time, jobs};

use super::orders::NewImage;
use super::{Halt, Inner};
use crate::model::{Cadence, Reboot, Server};
use crate::store;

/// What a job is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    Build,
    Reboot {
        kind: Reboot,
    },
    Password {
        sealed: String,
    },
    Rebuild,
    Resize {
        flavor: i64,
        /// The host that it goes to, if not its own.
        #[serde(default)]
        to: Option<String>,
    },
    Confirm,
    Revert,
    Image(NewImage),
    Share {
        address: Ipv4Addr,
        configure: bool,
    },
    Unshare {
        address: Ipv4Addr,
    },
    Suspend,
    Resume,
    Start,
    Delete,
    /// Waits until a resize is confirmed by itself.
    AutoConfirm,
    /// Waits until a host answers that the server was moved from, or on which its resize failed.
    Vacate {
        host: String,
        /// What a disk went over by, if it is there.
        #[serde(default)]
        snapshot: Option<Uuid>,
        /// A resize to this host failed, and nobody knows whether the machine runs there.
        #[serde(default)]
        unseen: bool,
    },
    /// Waits for a backup window.
    Backup {
        cadence: Cadence,
        start: i64,
        end: i64,
    },
}

/// A job's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) server: Uuid,
    pub(super) work: Work,
    /// Its entry in the log of actions.
    pub(super) action: Option<String>,
}

impl Payload {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Work {
    /// Writes the job and its entry in the log of actions.
    pub(super) async fn enqueue(
        self,
        tx: &mut Tx,
        server: &Server,
        name: &str,
        (request, user): (&str, &str),
        now: Time,
        deadline: Time,
    ) -> Result<(), database::Error> {
        let action = store::actions::begin(tx, server.id, name, request, user, now).await?;
        let payload = Payload { server: server.id, work: self, action: Some(action) }.to_json();
        let subject = server.id.to_string();
        let job = NewJob { kind: name, subject: &subject, payload, due: now, deadline };
        jobs::enqueue(tx, now, &job).await.map(|_| ())
    }

    /// The subject of the job that confirms a server's resize by itself.
    pub(super) fn confirm_subject(server: Uuid) -> String {
        format!("confirm:{server}")
    }

    /// The subject of the job that waits for a server's backup window.
    pub(super) fn backup_subject(server: Uuid, cadence: Cadence) -> String {
        format!("backup:{}:{server}", cadence.origin().as_str())
    }
}

/// Why a step did not come to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may succeed later.
    Later(String),
    /// It never will.
    Failed(String),
    /// The job is someone else's now, or its server is gone.
    Lost,
}

impl From<hypervisor::Error> for Trouble {
    fn from(error: hypervisor::Error) -> Self {
        match error {
            hypervisor::Error::Unreachable { .. } | hypervisor::Error::Timeout { .. } => {
                Self::Later(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<database::Error> for Trouble {
    fn from(error: database::Error) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<super::Error> for Trouble {
    fn from(error: super::Error) -> Self {
        match error {
            super::Error::Unavailable(reason) | super::Error::Unknown(reason) => Self::Later(reason),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<networks::Error> for Trouble {
    fn from(error: networks::Error) -> Self {
        super::Error::from(error).into()
    }
}

impl From<images::Error> for Trouble {
    fn from(error: images::Error) -> Self {
        match error {
            images::Error::Vault(images::VaultError::Failed(_)) | images::Error::Database(_) => {
                Self::Later(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A job in hand.
pub(super) struct Hand<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) job: &'a Job,
    pub(super) payload: Payload,
}

/// Carries the jobs of one service forward.
pub(super) struct Carrier(pub(super) Arc<Inner>);

#[async_trait]
impl Handler for Carrier {
    async fn step(&self, job: &Job) -> Next {
        let Ok(payload) = serde_json::from_str::<Payload>(&job.payload) else {
            tracing::error!(job = job.id, kind = job.kind, "a job cannot be read");
            return Next::After(Duration::from_secs(3600));
        };
        let hand = Hand { inner: &self.0, job, payload };
        let mut halt = self.0.halt.subscribe();
        let turn = tokio::select! {
            turn = self.0.turn(hand.payload.server).take() => turn,
            _ = halt.wait_for(|halt| *halt != Halt::No) => return halted(*self.0.halt.borrow()),
        };
        let left = turn.left();
        tokio::pin!(left);
        // Registered before the first look at the job's lease, so that a deletion in between is not missed.
        left.as_mut().enable();
        tokio::select! {
            next = hand.carry() => next,
            // Whoever interrupts has cancelled the job, or wants it to be looked at anew.
            () = &mut left => Next::Continue,
            _ = halt.wait_for(|halt| *halt != Halt::No) => halted(*self.0.halt.borrow()),
            () = self.0.clock.until(job.deadline) => Next::Continue,
        }
    }

    async fn expired(&self, job: &Job) -> Next {
        let Ok(payload) = serde_json::from_str::<Payload>(&job.payload) else { return Next::Ended };
        let hand = Hand { inner: &self.0, job, payload };
        if hand.payload.work == Work::Delete {
            // Nothing may be left behind: a deletion is never given up.
            return hand.step_again().await;
        }
        let _turn = self.0.turn(hand.payload.server).take().await;
        let minutes = job.deadline.since(job.created).as_secs() / 60;
        hand.end(Err(Trouble::Failed(format!("it was not finished within {minutes} minutes")))).await
    }
}

fn halted(halt: Halt) -> Next {
    match halt {
        // The lease runs out, or is forgotten at the next start, as after a crash.
        Halt::Abandon => Next::Ended,
        Halt::No | Halt::Stop => Next::Continue,
    }
}

impl Hand<'_> {
    async fn step_again(&self) -> Next {
        let _turn = self.inner.turn(self.payload.server).take().await;
        tokio::select! {
            next = self.carry() => next,
            () = self.inner.clock.sleep(self.inner.settings.deadlines.short) => Next::Continue,
        }
    }

    async fn carry(&self) -> Next {
        let outcome = self.work().await;
        if outcome.is_err() && matches!(self.place_anew().await, Ok(true)) {
            return Next::Continue;
        }
        self.end(outcome).await
    }

    async fn work(&self) -> Result<(), Trouble> {
        if let Work::Vacate { host, snapshot, unseen } = &self.payload.work {
            return self.vacate(host, *snapshot, *unseen).await;
        }
        let server = self.server().await?;
        if self.inner.is_given_up(&server.host) {
            // Another process may have taken it back.
            self.inner.learn_given_up().await?;
        }
        if !self.payload.work.waits() && self.payload.work != Work::Build {
            // What follows may set the machine's counters back.
            self.inner.read_meter(&server).await;
        }
        match self.payload.work.clone() {
            Work::Build => self.build(server).await,
            Work::Rebuild => self.rebuild(server).await,
            Work::Reboot { kind } => self.reboot(&server, kind).await,
            Work::Password { sealed } => self.password(&server, &sealed).await,
            Work::Resize { flavor, to: None } => self.resize(server, flavor).await,
            Work::Resize { flavor, to: Some(to) } => self.cross(server, flavor, &to).await,
            Work::Confirm => self.confirm(&server).await,
            Work::Revert => self.revert(server).await,
            Work::Image(image) => self.image(&server, &image).await,
            Work::Share { address, configure } => self.share(server, address, configure).await,
            Work::Unshare { address } => self.unshare(server, address).await,
            Work::Suspend => self.suspend(&server).await,
            Work::Resume => self.resume(&server).await,
            Work::Start => self.start(&server).await,
            Work::Delete => self.delete(&server).await,
            Work::Vacate { .. } => Ok(()),
            Work::AutoConfirm => self.auto_confirm(&server).await,
            Work::Backup { cadence, start, end } => {
                self.backup(&server, cadence, Time(start), Time(end)).await
            }
        }
    }

    /// The server, while the job is this holder's.
    async fn server(&self) -> Result<Server, Trouble> {
        let input = (self.job.clone(), self.payload.server);
        let found = self.inner.db.read(input, |(job, server), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                store::servers::by_id(tx, *server).await
            })
        });
        found.await?.ok_or(Trouble::Lost)
    }

    /// The server's host.
    fn host(&self, server: &Server) -> Result<Arc<dyn Hypervisor>, Trouble> {
        self.host_named(&server.host)
    }

    fn host_named(&self, name: &str) -> Result<Arc<dyn Hypervisor>, Trouble> {
        let missing = || Trouble::Later(format!("host {name} is not configured"));
        self.inner.host_named(name).ok_or_else(missing)
    }

    /// Shows how far the job is; `Lost` when it is not this holder's any more.
    async fn show(&self, change: impl Fn(&mut Server) + Send + Sync + 'static) -> Result<Server, Trouble> {
        let input = (self.job.clone(), self.payload.server, change, self.inner.clock.now());
        let shown = self.inner.db.write(input, |(job, server, change, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                let Some(mut server) = store::servers::by_id(tx, *server).await? else { return Ok(None) };
                change(&mut server);
                server.updated = *now;
                store::servers::update(tx, &server).await?;
                Ok::<_, database::Error>(Some(server))
            })
        });
        shown.await?.ok_or(Trouble::Lost)
    }

    async fn progress(&self, percent: u8) -> Result<(), Trouble> {
        self.show(move |server| server.progress = percent.min(100)).await.map(|_| ())
    }

    async fn secret(&self, server: Uuid, name: &'static str) -> Result<Option<Vec<u8>>, Trouble> {
        let sealed = self.inner.db.read((server, name), |(server, name), tx| {
            Box::pin(async move { store::servers::secret(tx, *server, name).await })
        });
        let Some(sealed) = sealed.await? else { return Ok(None) };
        Ok(Some(self.inner.seal.open(&server.to_string(), &sealed)?))
    }

    async fn password_of(&self, server: Uuid) -> Result<Option<String>, Trouble> {
        let plain = self.secret(server, "password").await?;
        Ok(plain.and_then(|plain| String::from_utf8(plain).ok()))
    }
}
