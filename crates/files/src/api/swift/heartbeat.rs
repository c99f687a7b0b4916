//! Responses to requests that may take long: 202 at once, a space periodically so that no intermediary times out, and the
//! outcome in the body (Swift, `heartbeat=on`).

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use web::Response;
use web::query::Query;

use super::answer;
use super::listing::is_true;

/// Interval between two spaces.
const EVERY: Duration = Duration::from_secs(10);

/// Returns whether a request asks for a heartbeat.
pub(super) fn asked(query: &Query) -> bool {
    query.text("heartbeat").is_some_and(|value| is_true(&value))
}

/// Runs `work`, whose outcome ends the body. It runs to completion even if the client disconnects.
pub(super) fn answer(
    content_type: &'static str,
    work: impl Future<Output = String> + Send + 'static,
) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::convert::Infallible>>(4);
    tokio::spawn(async move {
        tokio::pin!(work);
        // A client that disconnected does not cancel the work.
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
