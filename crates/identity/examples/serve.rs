//! Identity alone on a port, to try clients against.

use std::sync::Arc;

use identity::{Identity, MasterKey, Settings};

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap_or_else(|| "18099".to_owned());
    let dir = tempfile::tempdir().expect("a directory");
    let clock = work::Clock::system();
    let key = MasterKey::load_or_create(&dir.path().join("master.key"), true).expect("a key");
    let settings = Settings::new(&format!("http://127.0.0.1:{port}"));
    let location = database::Location::Sqlite(dir.path().join("db"));
    let identity = Identity::open(&location, clock.clone(), Arc::new(key), settings).await.expect("identity");
    let first = identity
        .bootstrap(Some("secret-password".into()), Some("0123456789abcdef0123456789abcdef".into()))
        .await
        .expect("a first user");
    println!("{first:?}");
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port");
    web::listener::serve(listener, identity.router(), clock, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await;
}
