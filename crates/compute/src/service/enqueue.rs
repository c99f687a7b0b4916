//! Enqueues the job of an accepted action.

use database::Tx;
use work::{NewJob, Time, jobs};

use crate::model::{JobPayload, Server, WorkItem};
use crate::store;

/// Who requested an action, for its entry in the action log. Both are empty for actions of the cloud itself.
pub(super) struct RequestedBy<'a> {
    /// The request's id.
    pub(super) request: &'a str,
    /// The user's id.
    pub(super) user: &'a str,
}

impl WorkItem {
    /// Enqueues the job and inserts its entry in the action log, in the caller's transaction.
    pub(super) async fn enqueue(
        self,
        tx: &mut Tx,
        server: &Server,
        name: &str,
        by: RequestedBy<'_>,
        now: Time,
        deadline: Time,
    ) -> Result<(), database::Error> {
        let action = store::actions::begin(tx, server.id, name, by.request, by.user, now).await?;
        let payload = JobPayload { server: server.id, work: self, action: Some(action) }.to_json();
        let subject = server.id.to_string();
        let job = NewJob { kind: name, subject: &subject, payload, due: now, deadline };
        jobs::enqueue(tx, now, &job).await.map(|_| ())
    }
}
