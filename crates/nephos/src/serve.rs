//! `nephos serve`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use identity::{Denied, Identity};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use web::Response;
use web::listener::{Limits, Options};
use web::metrics::Handle as MetricsHandle;

use crate::certificate;
use crate::cloud::Cloud;
use crate::config::{Config, SettingError};
use crate::data_dir::DataDir;
use crate::tokens::IdentityTokens;
use crate::{Failure, admin, descriptors, edge, refuse, runtime};

/// Serves until asked to stop.
pub fn run(config: &Config) -> Result<(), Failure> {
    start_log(config)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config));
    // Dropping the runtime waits for blocking reads and writes in progress.
    drop(runtime);
    outcome
}

async fn serve(config: &Config) -> Result<(), Failure> {
    let dir = DataDir::hold(&config.data_dir)?;
    let tls = certificate::open(config, &dir)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| SettingError::new("listen", format!("{}: {e}", config.listen)))?;
    let edge = edge::bind(config, &dir, tls.as_ref()).await?;
    let metrics_listener = match config.metrics_listen {
        None => None,
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|e| SettingError::new("metrics.listen", format!("{address}: {e}")))?)
        }
    };
    let files = descriptors::raise();
    let metrics = web::metrics::install();
    tokio::spawn(web::metrics::upkeep_loop(metrics.clone()));
    let cloud = Arc::new(Cloud::open(config, dir).await?);
    let (stop, stopping) = watch::channel(false);
    let administration = admin::socket::serve(&config.data_dir, Arc::clone(&cloud), stopping.clone())?;
    let router = files::api::swift::hosted(routes(&cloud, metrics.clone()), cloud.files.settings());
    let router = web::forwarded::behind(config.trusted_proxies.clone(), router);
    if tls.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "serving plain HTTP beyond loopback: passwords and tokens can be read on the network");
    }
    // Install the handlers before announcing readiness, since a reader of that line may ask the process to stop.
    let no_signals = |e: std::io::Error| Failure::Failed(format!("cannot wait for signals: {e}"));
    let asked_to_stop = StopSignals::watch().map_err(no_signals)?;
    if let Some(tls) = &tls {
        let hang_up = signal(SignalKind::hangup()).map_err(no_signals)?;
        tokio::spawn(certificate::reload_at(hang_up, Arc::clone(tls)));
    }
    let openrc = config.data_dir.join("openrc");
    println!("ready api={} openrc={}", config.public_url, openrc.display());
    let asked = || {
        let mut stopping = stopping.clone();
        async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        }
    };
    let limits = Limits { proxies: config.trusted_proxies.clone(), ..config.connections.limits(files) };
    let options = |tls, limits| Options { tls, clock: cloud.clock.clone(), refuse: refuse::refuse, limits };
    let listening = tokio::spawn(web::listener::serve(listener, router, options(tls, limits), asked()));
    let serving_edge = edge.map(|edge| {
        // The API's connections may take three quarters of all files.
        let limits =
            Limits { proxies: config.trusted_proxies.clone(), ..config.connections.limits(files / 4) };
        let (config, cloud, asked) = (config.clone(), Arc::clone(&cloud), asked());
        tokio::spawn(async move { edge.serve(&config, &cloud, limits, asked).await })
    });
    if let Some(listener) = metrics_listener {
        let router = Router::new().route("/metrics", get(show_metrics).with_state(metrics));
        let options = options(None, Limits::for_files(0));
        tokio::spawn(web::listener::serve(listener, router, options, asked()));
    }
    tokio::select! {
        () = asked_to_stop.wait() => {}
        () = cloud.lock.lost() => {
            // Exit at once: requests in progress must not write concurrently with the other process.
            tracing::error!("another process took the lock of the database; exiting");
            std::process::exit(1);
        }
    }
    tracing::info!("asked to stop; finishing the requests in progress");
    stop.send_replace(true);
    let _ = listening.await;
    if let Some(serving) = serving_edge {
        let _ = serving.await;
    }
    let _ = administration.await;
    if let Ok(cloud) = Arc::try_unwrap(cloud) {
        cloud.close().await;
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

fn routes(cloud: &Arc<Cloud>, metrics: MetricsHandle) -> Router {
    let tokens = Arc::new(IdentityTokens(Arc::clone(&cloud.identity)));
    let storage = files::api::swift::router(cloud.files.clone(), tokens.clone());
    let storage = cdn::api::management::on_storage_host(storage, cloud.cdn.clone(), tokens.clone());
    Router::new()
        .route("/healthz", get(|| async { "OK\n" }))
        .route("/metrics", get(show_metrics_to_operators).with_state((metrics, Arc::clone(&cloud.identity))))
        .route("/", get(versions).with_state(Arc::clone(&cloud.identity)))
        .merge(cloud.identity.router())
        .merge(storage)
        .merge(cdn::api::management::router(cloud.cdn.clone(), tokens.clone()))
        .merge(cloud.compute.router(tokens))
}

async fn show_metrics(State(metrics): State<MetricsHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

/// Restricts metrics to operators, since they show how much each part of the cloud is used.
async fn show_metrics_to_operators(
    State((metrics, identity)): State<(MetricsHandle, Arc<Identity>)>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    match identity.authenticate(token).await {
        Ok(caller) if caller.operator => show_metrics(State(metrics)).await.into_response(),
        Ok(_) => (StatusCode::FORBIDDEN, "Metrics are for operators.\n").into_response(),
        Err(Denied::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(_) => (StatusCode::UNAUTHORIZED, "X-Auth-Token of an operator is missing.\n").into_response(),
    }
}

/// Returns the identity versions at `/`. Keystone's clients use a URL without a path as identity's, so `/` returns the same
/// document and status as `/identity`.
async fn versions(State(identity): State<Arc<Identity>>) -> impl IntoResponse {
    let mut document = identity.versions();
    document["name"] = "nephos".into();
    document["services"] = serde_json::json!({
        "identity": ["/identity/v1.0", "/identity/v1.1", "/identity/v2.0", "/identity/v3"],
        "files": ["/v1"],
        "cdn": ["/cdn/v1"],
        "servers": ["/servers/v1.0"],
    });
    (StatusCode::MULTIPLE_CHOICES, [(header::CONTENT_TYPE, "application/json")], document.to_string())
}

fn start_log(config: &Config) -> Result<(), SettingError> {
    let level = config.log.level.as_deref().unwrap_or("info");
    // A misspelled level would be taken for the name of a module and silence all others.
    let word = |part: &&str| !part.contains(['=', '[']) && part.trim().parse::<LevelFilter>().is_err();
    if let Some(word) = level.split(',').find(word) {
        return Err(SettingError::new(
            "log.level",
            format!("{word:?}: expected error, warn, info, debug or trace"),
        ));
    }
    let filter = EnvFilter::try_new(level).map_err(|e| SettingError::new("log.level", e))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(BoxMakeWriter::new(std::io::stderr));
    match config.log.format.as_deref() {
        None | Some("text") => builder.with_ansi(false).init(),
        Some("json") => builder.json().init(),
        Some(other) => {
            return Err(SettingError::new("log.format", format!("{other:?}: expected text or json")));
        }
    }
    Ok(())
}
