//! What identity can do, in its own words; all rules live here.

pub(crate) mod accounts;
pub(crate) mod admin;
pub(crate) mod bootstrap;
pub(crate) mod catalog;
pub(crate) mod credentials;
pub(crate) mod deletion;
pub(crate) mod domains;
pub(crate) mod error;
pub(crate) mod guard;
pub(crate) mod passwords;
pub(crate) mod policies;
pub(crate) mod resets;
pub(crate) mod roles;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod signin;
pub(crate) mod tenants;
mod text;
pub(crate) mod users;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use database::{Database, Location};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use work::{Clock, RunnerHandle};

use crate::key::MasterKey;
use crate::model::{BUILTIN_ROLES, Caller, Catalog, Extra, Role, builtin_role_id};
use crate::service::error::Error;
use crate::service::guard::Guard;
use crate::service::passwords::Passwords;
use crate::service::resets::Post;
use crate::service::sessions::Sessions;
use crate::service::signin::{API_KEYS, Reusable};
use crate::settings::Settings;
use crate::store::{self, Page};

/// A list gives this many at once unless fewer are asked for.
pub(crate) const PAGE_MAX: i64 = 1000;
/// Tokens that clients may get again, kept in memory.
const REUSABLE_MAX: usize = 20_000;
/// Mails about forgotten passwords that are under way at most.
const RESETS_AT_ONCE: usize = 16;
/// How often tokens that ran out are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Of how many tokens at once.
const SWEEP_ROWS: i64 = 500;

/// Why identity cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its database cannot.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The settings for passwords are outside what Argon2 takes.
    #[error("password_memory_kib = {memory_kib}: Argon2 takes from 8 KiB to 4 GiB")]
    Passwords {
        /// What was set.
        memory_kib: u32,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// The identity service.
pub struct Identity {
    pub(crate) db: Database,
    pub(crate) clock: Clock,
    pub(crate) key: Arc<MasterKey>,
    pub(crate) settings: Settings,
    /// What is deployed, without what operators added.
    pub(crate) deployed: Catalog,
    pub(crate) sessions: Sessions,
    pub(crate) passwords: Passwords,
    pub(crate) guard: Guard,
    /// A sealed API key that nobody has, to compare with where there is none.
    pub(crate) decoy_key: Vec<u8>,
    pub(crate) reusable: Cache<Reusable, Arc<str>>,
    pub(crate) runner: OnceLock<RunnerHandle>,
    /// What carries mails, once there is something that does.
    pub(crate) post: OnceLock<Arc<dyn Post>>,
    pub(crate) resets_at_once: Arc<Semaphore>,
}

impl Identity {
    /// Opens identity's database at `location` and brings it up to date. `key` must be the one that the database was
    /// made with.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        location: &Location,
        clock: Clock,
        key: Arc<MasterKey>,
        settings: Settings,
    ) -> Result<Arc<Self>, OpenError> {
        let db = Database::open(location, "identity", store::MIGRATIONS).await?;
        seed_roles(&db).await?;
        let decoy_key = key.seal(API_KEYS, b"", &[b'0'; 32]).map_err(|_| OpenError::Random)?;
        let identity = Arc::new(Self {
            db,
            clock: clock.clone(),
            key,
            deployed: Catalog::deployed(&settings),
            sessions: Sessions::new(settings.alone),
            passwords: Passwords::new(settings.password_memory_kib, settings.passwords_at_once)?,
            guard: Guard::new(clock),
            decoy_key,
            reusable: Cache::new(REUSABLE_MAX),
            settings,
            runner: OnceLock::new(),
            post: OnceLock::new(),
            resets_at_once: Arc::new(Semaphore::new(RESETS_AT_ONCE)),
        });
        identity.sweep_in_background();
        Ok(identity)
    }

    /// Work buffers for password hashes that were ever made: at most `passwords_at_once`, each of
    /// `password_memory_kib`.
    #[must_use]
    pub fn password_buffers(&self) -> usize {
        self.passwords.buffers_made()
    }

    /// The settings that it was opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn sweep_in_background(self: &Arc<Self>) {
        let (weak, clock) = (Arc::downgrade(self), self.clock.clone());
        tokio::spawn(async move {
            loop {
                clock.sleep(SWEEP_EVERY).await;
                let Some(identity) = weak.upgrade() else { break };
                if let Err(error) = identity.sweep().await {
                    tracing::warn!(%error, "cannot forget tokens that ran out");
                }
            }
        });
    }

    /// Forgets tokens that ran out.
    async fn sweep(&self) -> Result<(), database::Error> {
        let now = self.clock.now();
        loop {
            let more = self
                .db
                .write(now, |now, tx| {
                    Box::pin(async move { store::tokens::sweep(tx, *now, SWEEP_ROWS).await })
                })
                .await?;
            if !more {
                return Ok(());
            }
        }
    }
}

/// Writes the cloud's own roles where they are missing: a newer program may bring more.
async fn seed_roles(db: &Database) -> Result<(), database::Error> {
    let known = db
        .read((), |(), tx| {
            Box::pin(async move {
                store::roles::list(tx, None, &Page { marker: String::new(), limit: i64::MAX }).await
            })
        })
        .await?;
    let missing: Vec<Role> = BUILTIN_ROLES
        .iter()
        .map(|role| Role {
            id: builtin_role_id(role.name),
            name: role.name.to_owned(),
            description: role.description.to_owned(),
            builtin: true,
            extra: Extra::default(),
        })
        .filter(|role| !known.iter().any(|found| found.id == role.id))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    db.write(missing, |missing, tx| {
        Box::pin(async move {
            for role in missing {
                store::roles::insert(tx, role).await?;
            }
            Ok(())
        })
    })
    .await
}

/// A page of at most `limit` after `marker`, within what a list gives at once; one more is read to see whether another
/// page follows.
pub(crate) fn page_of(marker: Option<&str>, limit: Option<i64>) -> Page {
    let limit = limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    Page { marker: marker.unwrap_or_default().to_owned(), limit: limit + 1 }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Whether more follow.
    pub(crate) more: bool,
    /// The marker of the page before, empty for the first one; known only where it was asked for.
    pub(crate) previous: Option<String>,
}

impl<T> Listed<T> {
    /// Of what was read for `page`, which is one more than the page holds.
    pub(crate) fn of(mut items: Vec<T>, page: &Page) -> Self {
        let limit = usize::try_from(page.limit - 1).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more, previous: None }
    }

    /// A list that is no part of a longer one.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, more: false, previous: None }
    }

    /// With the page before, given the ids up to this page's marker, last first and one more than a page holds.
    pub(crate) fn after(mut self, before: &[String], page: &Page) -> Self {
        let limit = usize::try_from(page.limit - 1).unwrap_or(0);
        self.previous = Some(before.get(limit).cloned().unwrap_or_default());
        self
    }
}

/// Notes a change in the audit log, within the unit that makes it.
pub(crate) async fn note(
    tx: &mut database::Tx,
    now: work::Time,
    caller: &Caller,
    action: &str,
    subject: &str,
    detail: &str,
) -> Result<(), Error> {
    let actor = (caller.user_id.as_str(), caller.user_name.as_str());
    Ok(store::audit::record(tx, now, actor, action, subject, detail).await?)
}
