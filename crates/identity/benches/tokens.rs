//! Measures sign-in, validation and authorisation in process on this machine: `cargo bench -p identity`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::Request;
use identity::{Identity, MasterKey, Product, Right, Settings};
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";
const API_KEY: &str = "a86850deb2742ec3cb41518e26aa2d89";
const CLIENTS: usize = 64;
const SPAN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = work::Clock::system();
    let key = MasterKey::load_or_create(&dir.path().join("master.key"), true).expect("a key");
    let location = database::Location::Sqlite(dir.path().join("db"));
    let settings = Settings::new("http://127.0.0.1:8080");
    let identity = Identity::open(&location, clock, Arc::new(key), settings).await.expect("identity");
    identity.bootstrap(Some(PASSWORD.into()), Some(API_KEY.into())).await.expect("a first user");
    let router = identity.router();

    let lasting = || {
        Request::get("/v1.0").header("x-auth-user", "admin").header("x-auth-key", API_KEY).body(Body::empty())
    };
    let response = router.clone().oneshot(lasting().expect("a request")).await.expect("an answer");
    let token = response.headers()["x-auth-token"].to_str().expect("text").to_owned();

    authorise(&identity, &token).await;
    report("v1.0 by API key, the same token", rate(&router, lasting).await);
    let validation = {
        let token = token.clone();
        move || {
            Request::get(format!("/v2.0/tokens/{token}")).header("x-auth-token", &token).body(Body::empty())
        }
    };
    report("v2.0 validations", rate(&router, validation).await);
    let unscoped = format!(
        r#"{{"auth":{{"identity":{{"methods":["token"],"token":{{"id":"{token}"}}}},"scope":"unscoped"}}}}"#
    );
    report(
        "v3 by token, each a new durable token",
        rate(&router, move || Request::post("/v3/auth/tokens?nocatalog").body(Body::from(unscoped.clone())))
            .await,
    );
    let password =
        format!(r#"{{"auth":{{"passwordCredentials":{{"username":"admin","password":"{PASSWORD}"}}}}}}"#);
    report(
        "v2.0 by password (Argon2id, 19 MiB)",
        rate(&router, move || Request::post("/v2.0/tokens").body(Body::from(password.clone()))).await,
    );
}

/// The identity work behind one small GET in a service: authenticate the token and check one right.
async fn authorise(identity: &Identity, token: &str) {
    const ROUNDS: u32 = 2_000_000;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        let caller = identity.authenticate(std::hint::black_box(token)).await.expect("a good token");
        assert!(caller.may(std::hint::black_box("100001"), Product::ObjectStore, Right::Observe));
    }
    let each = started.elapsed().as_nanos() / u128::from(ROUNDS);
    println!("{:<45} {each:>9} ns", "authenticate a cached token and call may()");
}

async fn rate<E: std::fmt::Debug + Send + 'static>(
    router: &Router,
    request: impl Fn() -> Result<Request<Body>, E> + Clone + Send + Sync + 'static,
) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (router, request, done) = (router.clone(), request.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while started.elapsed() < SPAN {
                    let request = request().expect("a request");
                    let response = router.clone().oneshot(request).await.expect("an answer");
                    assert!(response.status().is_success(), "{}", response.status());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client");
    }
    let count = u32::try_from(done.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn report(what: &str, rate: f64) {
    println!("{what:<45} {rate:>9.0} per second");
}
