//! Forgotten passwords: a token, sent to the user's mail address, that sets a new password once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::hash_of;
use crate::service::error::Error;
use crate::service::signin::IdOrName;
use crate::service::users::check_password;
use crate::service::{Identity, secrets};
use crate::store;

/// How long such a token is valid.
const RESET_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Minimum time between two mails to one user.
const RESET_EVERY: Duration = Duration::from_secs(60);

/// A mail to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The address.
    pub to: String,
    /// The subject, one line.
    pub subject: String,
    /// The text.
    pub text: String,
}

/// A mail transport.
#[async_trait]
pub trait MailTransport: Send + Sync {
    /// Sends a mail.
    ///
    /// # Errors
    /// Why it could not be sent, in one line.
    async fn send(&self, mail: Mail) -> Result<(), String>;
}

/// Why a forgotten password was not reset.
#[derive(Debug)]
pub(crate) enum ResetError {
    /// The token is invalid.
    NoToken,
    /// The token is valid, but not for resetting a password.
    OtherToken,
    /// The password is invalid, or the service failed.
    Error(Error),
}

/// A name as the log may show it: anybody can send one of any length.
fn shown(name: &str) -> String {
    const SHOWN_MAX: usize = 64;
    let mut shown: String = name.chars().take(SHOWN_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

impl From<Error> for ResetError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Identity {
    /// Sets the mail transport. Without one no mails are sent.
    pub fn set_mail_transport(&self, post: Arc<dyn MailTransport>) {
        let _ = self.post.set(post);
    }

    /// Mails the user of that name a token for a new password. Runs in the background, so that the response time does not
    /// reveal which users exist.
    pub(crate) fn forgot_password(self: &Arc<Self>, name: &str) {
        if self.post.get().is_none() {
            tracing::info!(
                user = shown(name),
                "a user requested a password reset, but no mail can be sent: [identity] sendmail is not set"
            );
            return;
        }
        let Ok(turn) = Arc::clone(&self.resets_at_once).try_acquire_owned() else {
            tracing::warn!(user = shown(name), "too many concurrent password-reset requests; dropped one");
            return;
        };
        let (identity, name) = (Arc::clone(self), name.to_owned());
        tokio::spawn(async move {
            let _turn = turn;
            match identity.mail_reset(&name).await {
                Ok(true) => tracing::info!(user = shown(&name), "sent a password-reset token"),
                Ok(false) => {
                    tracing::info!(
                        user = shown(&name),
                        "password reset requested, but no user to send a token to"
                    );
                }
                Err(reason) => {
                    tracing::warn!(user = shown(&name), reason, "cannot send a password-reset token")
                }
            }
        });
    }

    async fn mail_reset(&self, name: &str) -> Result<bool, String> {
        let found = self.find_user(&IdOrName::name(name)).await.map_err(|e| e.to_string())?;
        let Some((user, _)) = found.filter(|(user, _)| user.enabled) else { return Ok(false) };
        let (Some(to), Some(post)) = (user.email.clone(), self.post.get()) else { return Ok(false) };
        let token = secrets::random_hex::<32>().map_err(|e| e.to_string())?;
        let now = self.clock.now();
        let (expires, not_before) = (now.after(RESET_LIFETIME), now.after(RESET_LIFETIME - RESET_EVERY));
        let written = self
            .db
            .write((user.clone(), hash_of(&token)), move |(user, hash), tx| {
                Box::pin(async move {
                    if store::passwords::has_reset(tx, &user.id, not_before).await? {
                        return Ok::<_, Error>(false);
                    }
                    store::passwords::set_reset(tx, &user.id, hash, expires).await?;
                    let actor = (user.id.as_str(), user.name.as_str());
                    store::audit::record(tx, now, actor, "user.password.forgotten", &user.id, "").await?;
                    Ok(true)
                })
            })
            .await
            .map_err(|e| e.to_string())?;
        if !written {
            return Ok(false);
        }
        let text = format!(
            "Someone, perhaps you, requested a new password for {name}. If it was not you, ignore this mail.\n\n\
             This token sets a new password once, within {minutes} minutes:\n\n    {token}\n\n\
             curl -X POST {url}/identity/v2.0/users/RAX-AUTH/pwd-reset \\\n  \
             -H 'X-Auth-Token: {token}' -H 'Content-Type: application/json' \\\n  \
             -d '{{\"RAX-AUTH:passwordReset\": {{\"password\": \"the new password\"}}}}'\n",
            name = user.name,
            minutes = RESET_LIFETIME.as_secs() / 60,
            url = self.settings.public_url,
        );
        post.send(Mail { to, subject: "Your password".to_owned(), text }).await?;
        Ok(true)
    }

    /// Resets a forgotten password with the mailed token and returns the user's name. Revokes all of the user's tokens,
    /// including this one.
    pub(crate) async fn reset_password(&self, token: &str, password: &str) -> Result<String, ResetError> {
        let (hash, now) = (hash_of(token), self.clock.now());
        let found = self
            .db
            .read((hash, now), |(hash, now), tx| {
                Box::pin(async move { Ok::<_, Error>(store::passwords::reset_of(tx, hash, *now).await?) })
            })
            .await?;
        let Some(user_id) = found else {
            return Err(match self.session(token).await.map_err(Error::from) {
                Ok(_) => ResetError::OtherToken,
                Err(Error::Token) => ResetError::NoToken,
                Err(other) => ResetError::Error(other),
            });
        };
        check_password(password)?;
        self.check_reuse(&user_id, password).await?;
        let hashed = self.passwords.hash(password).await?;
        let name = self
            .db
            .write((user_id.clone(), hash, hashed), move |(user_id, hash, hashed), tx| {
                Box::pin(async move {
                    // Of two requests with one token, the second fails.
                    let still = store::passwords::reset_of(tx, hash, now).await?.as_ref() == Some(user_id);
                    let user = store::users::by_id(tx, user_id).await?.filter(|user| still && user.enabled);
                    let Some(user) = user else { return Ok::<_, Error>(None) };
                    store::passwords::set(tx, user_id, hashed, now).await?;
                    store::tokens::delete_of_user(tx, user_id).await?;
                    let actor = (user.id.as_str(), user.name.as_str());
                    store::audit::record(tx, now, actor, "user.password", user_id, "forgotten").await?;
                    Ok(Some(user.name))
                })
            })
            .await?;
        self.sessions.forget_user(&user_id);
        name.ok_or(ResetError::NoToken)
    }
}
