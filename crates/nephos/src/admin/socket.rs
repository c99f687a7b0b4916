//! `admin.sock`: one order per connection, one line of JSON in each direction. Access to the socket means access to the data
//! directory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::execute::execute;
use super::order::Order;
use crate::Failure;
use crate::cloud::Cloud;
use crate::config::SettingError;

/// Maximum length of an order, in bytes.
const ORDER_BYTES_MAX: u64 = 64 * 1024;
/// Timeout for a client to send its order.
const ORDER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Failed(String),
}

/// Accepts orders until the cloud stops.
pub fn serve(
    data_dir: &Path,
    cloud: Arc<Cloud>,
    mut stopping: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, SettingError> {
    let path = data_dir.join("admin.sock");
    let failed = |e: std::io::Error| SettingError::new("data_dir", format!("{}: {e}", path.display()));
    // This process holds the lock, so an existing socket is left from a dead server.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let (path, watched) = (path.clone(), stopping.clone());
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let cloud = Arc::clone(&cloud);
                        let mut ended = watched.clone();
                        tokio::spawn(async move {
                            tokio::select! {
                                () = answer(stream, &cloud) => {}
                                _ = ended.wait_for(|stop| *stop) => {}
                            }
                        });
                    }
                }
            }
        }
        let _ = std::fs::remove_file(path);
    }))
}

async fn answer(mut stream: UnixStream, cloud: &Cloud) {
    let (reading, mut writing) = stream.split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading).take(ORDER_BYTES_MAX);
    if !matches!(tokio::time::timeout(ORDER_WITHIN, reading.read_line(&mut line)).await, Ok(Ok(_))) {
        return;
    }
    let answer = match serde_json::from_str::<Order>(&line) {
        Ok(order) => match execute(cloud, order).await {
            Ok(value) => Answer::Done(value),
            Err(reason) => Answer::Failed(reason),
        },
        Err(error) => Answer::Failed(format!("not an order: {error}")),
    };
    let line = serde_json::to_string(&answer).unwrap_or_default() + "\n";
    let _ = writing.write_all(line.as_bytes()).await;
}

/// Connects to the running server's socket, if a server runs.
pub async fn connect(data_dir: &Path) -> Option<UnixStream> {
    UnixStream::connect(data_dir.join("admin.sock")).await.ok()
}

/// Sends an order to the running server and returns the result.
pub async fn ask(mut stream: UnixStream, order: &Order) -> Result<Value, Failure> {
    let lost = |e: std::io::Error| Failure::Failed(format!("the server did not respond: {e}"));
    let line = serde_json::to_string(order).unwrap_or_default() + "\n";
    stream.write_all(line.as_bytes()).await.map_err(lost)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(lost)?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Done(value)) => Ok(value),
        Ok(Answer::Failed(reason)) => Err(Failure::Failed(reason)),
        Err(_) => Err(Failure::Failed("the server stopped before it responded".into())),
    }
}
