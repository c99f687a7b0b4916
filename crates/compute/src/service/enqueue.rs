//! Enqueues the job of an accepted action.

use database::Tx;
use work::{NewJob, Time, jobs};

use crate::model::{JobPayload, Server, WorkItem};
use crate::store;

impl WorkItem {
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
        let payload = JobPayload { server: server.id, work: self, action: Some(action) }.to_json();
        let subject = server.id.to_string();
        let job = NewJob { kind: name, subject: &subject, payload, due: now, deadline };
        jobs::enqueue(tx, now, &job).await.map(|_| ())
    }
}
