//! Identity's operations, independent of dialects. All rules are enforced here.

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
mod tokens;
pub(crate) mod units;
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
use crate::service::resets::MailTransport;
use crate::service::sessions::Sessions;
use crate::service::signin::{API_KEYS, Reusable};
use crate::service::units::Units;
use crate::settings::Settings;
use crate::store::{self, Page};

/// Largest and default page size of lists.
pub(crate) const PAGE_MAX: i64 = 1000;
/// Maximum number of reusable tokens kept in memory.
const REUSABLE_MAX: usize = 20_000;
/// Maximum number of password-reset mails being sent at once.
const RESETS_AT_ONCE: usize = 16;
/// Interval at which expired tokens are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Number of expired tokens deleted per transaction.
const SWEEP_ROWS: i64 = 500;

/// Why identity cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its database cannot be opened.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The settings for passwords are outside Argon2's range.
    #[error("password_memory_kib = {memory_kib}: Argon2 takes from 8 KiB to 4 GiB")]
    Passwords {
        /// The configured memory, in KiB.
        memory_kib: u32,
    },
    /// The operating system provides no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// The identity service.
pub struct Identity {
    pub(crate) db: Units,
    pub(crate) clock: Clock,
    pub(crate) key: Arc<MasterKey>,
    pub(crate) settings: Settings,
    /// The deployed catalog, without operators' additions.
    pub(crate) deployed: Catalog,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) passwords: Passwords,
    pub(crate) guard: Guard,
    /// A sealed API key that belongs to nobody. It is compared with if the user has none, so that the time is the same.
    pub(crate) decoy_key: Vec<u8>,
    pub(crate) reusable: Cache<Reusable, Arc<str>>,
    pub(crate) runner: OnceLock<RunnerHandle>,
    /// The mail transport, once one is set.
    pub(crate) post: OnceLock<Arc<dyn MailTransport>>,
    pub(crate) resets_at_once: Arc<Semaphore>,
}

impl Identity {
    /// Opens identity's database at `location` and migrates it. `key` must be the key with which the database was created.
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
        let sessions = Arc::new(Sessions::new(settings.alone));
        let decoy_key = key.seal(API_KEYS, b"", &[b'0'; 32]).map_err(|_| OpenError::Random)?;
        let identity = Arc::new(Self {
            db: Units::new(db, Arc::clone(&sessions)),
            clock: clock.clone(),
            key,
            deployed: Catalog::deployed(&settings),
            sessions,
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

    /// Number of work buffers for password hashes allocated so far: at most `passwords_at_once`, each of
    /// `password_memory_kib`.
    #[must_use]
    pub fn password_buffers(&self) -> usize {
        self.passwords.buffers_allocated()
    }

    /// Returns the settings with which it was opened.
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
                    tracing::warn!(%error, "cannot delete expired tokens; retrying later");
                }
            }
        });
    }

    /// Deletes expired tokens, and addresses that are no longer known.
    async fn sweep(&self) -> Result<(), database::Error> {
        let now = self.clock.now();
        loop {
            let more = self
                .db
                .write(now, |now, tx| {
                    Box::pin(async move {
                        let tokens = store::tokens::sweep(tx, *now, SWEEP_ROWS).await?;
                        Ok(store::known::sweep(tx, *now, SWEEP_ROWS).await? || tokens)
                    })
                })
                .await?;
            if !more {
                return Ok(());
            }
        }
    }
}

/// Writes missing built-in roles, since a newer version may add some.
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

/// Returns a page after `marker` with at most `limit` rows, bounded by the largest page size. One more row is read, to
/// detect whether another page follows.
pub(crate) fn page_of(marker: Option<&str>, limit: Option<i64>) -> Page {
    let limit = limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    Page { marker: marker.unwrap_or_default().to_owned(), limit: limit + 1 }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Whether more rows follow.
    pub(crate) more: bool,
    /// The marker of the previous page, empty for the first one. Set only if it was requested.
    pub(crate) previous: Option<String>,
}

impl<T> Listed<T> {
    /// Creates the page from the rows read for it, which may be one more than the page holds.
    pub(crate) fn of(mut items: Vec<T>, page: &Page) -> Self {
        let limit = usize::try_from(page.limit - 1).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more, previous: None }
    }

    /// Creates a list that has only one page.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, more: false, previous: None }
    }

    /// Adds the previous page's marker. `before` holds the ids up to this page's marker, last first, one more than a page
    /// holds.
    pub(crate) fn after(mut self, before: &[String], page: &Page) -> Self {
        let limit = usize::try_from(page.limit - 1).unwrap_or(0);
        self.previous = Some(before.get(limit).cloned().unwrap_or_default());
        self
    }
}

/// Records a change in the audit log, in the unit that makes it.
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
