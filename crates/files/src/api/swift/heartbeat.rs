//! Answers to what may take long: 202 at once, blanks so that no one between gives up, and in the body what became of it
//! (Swift, `heartbeat=on`).

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use web::Response;
use web::query::Query;

use super::answer;
use super::listing::is_true;

/// A blank is sent as often as this.
const EVERY: Duration = Duration::from_secs(10);

/// Whether a request asks for it.
pub(super) fn asked(query: &Query) -> bool {
    query.text("heartbeat").is_some_and(|value| is_true(&value))
}

/// Does `work`, whose outcome is the end of the body, whether or not anyone reads it.
pub(super) fn answer(
    content_type: &'static str,
    work: impl Future<Output = String> + Send + 'static,
) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::convert::Infallible>>(4);
    tokio::spawn(async move {
        tokio::pin!(work);
        // A reader who has gone does not undo what was asked.
        let _ = sender.send(Ok(Bytes::from_static(b" "))).await;
        let text = loop {
            tokio::select! {
                text = &mut work => break text,
                () = tokio::time::sleep(EVERY) => { let _ = sender.send(Ok(Bytes::from_static(b" "))).await; }
            }
        };
        let _ = sender.send(Ok(text.into())).await;
    });
    let body = Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    }));
    answer::with(StatusCode::ACCEPTED, content_type, body)
}
