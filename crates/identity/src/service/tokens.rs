//! What others may do with a token: validate it and revoke it.

use std::sync::Arc;

use crate::model::{Session, hash_of};
use crate::service::accounts::managed_user;
use crate::service::error::Error;
use crate::service::{Identity, note};
use crate::store;

impl Identity {
    /// Returns the session of a token for another caller: its own user, a manager of that user, a service, or an operator.
    pub(crate) async fn validate(&self, by: &Session, token: &str) -> Result<Arc<Session>, Error> {
        let subject = self.subject(token).await?;
        if !by.caller.service {
            self.check_may_manage_token(by, &subject).await?;
        }
        Ok(subject)
    }

    /// Fails as if the token did not exist, unless it is the caller's own or belongs to a user whom the caller manages.
    async fn check_may_manage_token(&self, by: &Session, subject: &Session) -> Result<(), Error> {
        if subject.user.id == by.user.id {
            return Ok(());
        }
        let input = (Arc::clone(&by.caller), subject.user.id.clone());
        let managed = self
            .db
            .read(input, |(caller, id), tx| {
                Box::pin(async move { managed_user(tx, caller, id).await.map(|_| ()) })
            })
            .await;
        match managed {
            Err(Error::Database(error)) => Err(Error::Database(error)),
            other => other.map_err(|_| no_token()),
        }
    }

    async fn subject(&self, token: &str) -> Result<Arc<Session>, Error> {
        self.session(token).await.map_err(|denied| match Error::from(denied) {
            Error::Token => no_token(),
            other => other,
        })
    }

    /// Revokes a token, for its bearer or for an operator.
    pub(crate) async fn revoke(&self, by: &Session, token: &str) -> Result<(), Error> {
        let hash = hash_of(token);
        let subject = self.subject(token).await?;
        self.check_may_manage_token(by, &subject).await?;
        let now = self.clock.now();
        let audit_id = subject.token.audit_ids.first().cloned().unwrap_or_default();
        self.db
            .write((hash, by.caller.clone(), audit_id), move |(hash, by, audit_id), tx| {
                Box::pin(async move {
                    store::tokens::delete(tx, hash).await?;
                    note(tx, now, by, "token.revoke", audit_id, "").await
                })
            })
            .await?;
        self.sessions.forget_token(&hash);
        Ok(())
    }
}

fn no_token() -> Error {
    Error::not_found("token", "the one given")
}
