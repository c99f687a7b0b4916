//! The edge in this process.

use std::future::Future;
use std::sync::Arc;

use cdn::edge::{CacheSettings, Edge, LocalOrigin, Spool};
use tokio::net::TcpListener;
use web::direct;
use web::listener::Limits;
use web::tls::Tls;

use crate::certificate;
use crate::cloud::Cloud;
use crate::config::{Config, SettingError};
use crate::data_dir::DataDir;
use crate::tokens::IdentityTokens;

/// The directory of the cache, in the data directory.
const CACHE: &str = "edge-cache";
/// The directory of access logs that are not delivered yet, in the data directory.
const LOGS: &str = "edge-logs";

/// An edge that listens and does not accept yet.
pub struct BoundEdge {
    listener: TcpListener,
    tls: Arc<Tls>,
    log: Arc<Spool>,
}

/// Binds the edge's address; nothing where there is no edge. Its certificate is the API's, if that is given, and otherwise one
/// that the cloud signs.
///
/// # Errors
/// [`SettingError`] with the key to blame.
pub async fn bind(
    config: &Config,
    dir: &DataDir,
    tls: Option<&Arc<Tls>>,
) -> Result<Option<BoundEdge>, SettingError> {
    let Some(listen) = config.edge.listen else { return Ok(None) };
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| SettingError::new("edge_listen", format!("{listen}: {e}")))?;
    let logs = config.data_dir.join(LOGS);
    let log =
        Spool::open(&logs).map_err(|e| SettingError::new("data_dir", format!("{}: {e}", logs.display())))?;
    Ok(Some(BoundEdge { listener, tls: certificate::of_edge(config, dir, tls)?, log }))
}

impl BoundEdge {
    /// Serves until `stop` resolves, and until requests under way have ended.
    pub async fn serve(self, config: &Config, cloud: &Cloud, limits: Limits, stop: impl Future<Output = ()>) {
        let tokens = Arc::new(IdentityTokens(Arc::clone(&cloud.identity)));
        let storage = files::api::swift::router(cloud.files.clone(), tokens.clone());
        let origin = Arc::new(LocalOrigin::new(cloud.cdn.clone(), storage).with_tenants(tokens));
        let disk = (config.edge.disk > 0).then(|| (config.data_dir.join(CACHE), config.edge.disk));
        let cache = CacheSettings { memory: config.edge.memory, disk };
        let (names, clock) = (cloud.cdn.names().clone(), cloud.clock.clone());
        let edge = Edge::open(origin, names, clock.clone(), &cache, Some(Arc::clone(&self.log))).await;
        let (served, is_served) = tokio::sync::oneshot::channel::<()>();
        let (log, files) = (self.log, cloud.files.clone());
        let interval = files.settings().log_interval;
        let delivering = tokio::spawn(async move {
            let last = async { drop(is_served.await) };
            log.deliver_on(&files, &clock, interval, last).await;
        });
        direct::serve(self.listener, Arc::clone(&edge), Some(self.tls), limits, stop).await;
        // The last lines are those of the last connections.
        drop(served);
        let _ = delivering.await;
        edge.close().await;
    }
}
