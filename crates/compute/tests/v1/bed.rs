//! A cloud of simulated hosts behind an in-process router, with a frozen clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use compute::{Compute, Denied, Settings, Tokens};
use database::testing::TestLocation;
use database::{Database, Location, Migration, params};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hypervisor::faulty::{Fault, Faulty};
use hypervisor::simulated::{Settings as HostSettings, SimulatedHost, Steps};
use hypervisor::{Forward, Hypervisor, Reader};
use identity::{Caller, Grant, Product, Right, RoleRef, TenantRef};
use images::{Directory, Images, Object, Stored, Vault, VaultError};
use networks::{Config, Networks, Pool};
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;
use web::xml::{self, Element};
use work::{Clock, Time};

pub use crate::assertions::{assert_json, assert_xml};
use crate::documents;

pub const TENANT: &str = "345812";
pub const NAMESPACE: &str = "http://docs.rackspacecloud.com/servers/api/v1.0";
/// Time limit for conditions that must become true. Shorter than a job's lease of 30 s, so that a test fails if
/// something waits for a lease to expire.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The newest migration of the service.
const TABLES_VERSION: i64 = 6;
/// 2010-10-10T12:00:00Z, as in the guide's samples.
pub const NOON: i64 = 1_286_712_000;

/// Accepts tokens of the form `user` or `user@tenant`. `operator` is the operator; `servers` has all rights on
/// servers and none on other products.
struct TestTokens;

#[async_trait]
impl Tokens for TestTokens {
    async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Denied> {
        let (user, tenant) = token.split_once('@').unwrap_or((token, TENANT));
        let right = match user {
            "jdoe" | "operator" | "servers" => Right::Administer,
            "creator" => Right::Create,
            "observer" => Right::Observe,
            "away" => return Err(Denied::Unavailable("identity is unavailable".into())),
            _ => return Err(Denied::Invalid),
        };
        Ok(Arc::new(Caller {
            user_id: user.into(),
            user_name: user.into(),
            domain_id: "default".into(),
            tenant: Some(TenantRef { id: tenant.into(), name: "jdoe".into(), domain_id: "default".into() }),
            roles: vec![RoleRef { id: "1".into(), name: "admin".into() }],
            grants: vec![Grant { product: (user == "servers").then_some(Product::Compute), right }],
            operator: user == "operator",
            service: false,
            expires: Time(i64::MAX),
            delegation: None,
        }))
    }
}

pub struct TestResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl TestResponse {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn xml(&self) -> Element {
        assert!(self.body.contains(&format!("xmlns=\"{NAMESPACE}\"")), "{}", self.body);
        documents::assert_valid(&self.body);
        xml::parse(self.body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub struct TestBed {
    pub compute: Compute,
    pub clock: Clock,
    pub hosts: Vec<SimulatedHost>,
    faulty: Vec<Arc<Faulty<SimulatedHost>>>,
    pub steps: Steps,
    pub settings: Settings,
    images: Arc<Images>,
    networks: Arc<Networks>,
    router: Router,
    location: Location,
    /// Held for writing: no image is stored or read.
    pub vault: Arc<tokio::sync::RwLock<()>>,
    dir: Arc<tempfile::TempDir>,
    scratch: Option<TestLocation>,
    database: tokio::sync::OnceCell<Database>,
}

pub fn pools() -> Config {
    let pool = |cidr: &str, gateway: [u8; 4], bridge: &str| Pool {
        cidr: cidr.parse().unwrap(),
        gateway: gateway.into(),
        bridge: bridge.into(),
        forward: Forward::Nat,
    };
    Config {
        public: pool("67.23.0.0/20", [67, 23, 0, 1], "pub"),
        private: pool("10.176.32.0/20", [10, 176, 32, 1], "priv"),
    }
}

/// A vault that a test can block.
struct BlockingVault {
    vault: Directory,
    gate: Arc<tokio::sync::RwLock<()>>,
}

#[async_trait]
impl Vault for BlockingVault {
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError> {
        let _guard = self.gate.read().await;
        self.vault.put(object, bytes).await
    }

    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError> {
        self.vault.pin(pin, owner, container, object).await
    }

    async fn open(&self, pin: &str) -> Result<Reader, VaultError> {
        let _guard = self.gate.read().await;
        self.vault.open(pin).await
    }

    async fn unpin(&self, pin: &str) -> Result<(), VaultError> {
        self.vault.unpin(pin).await
    }
}

fn dynamic(hosts: &[Arc<Faulty<SimulatedHost>>]) -> Vec<Arc<dyn Hypervisor>> {
    hosts.iter().map(|host| Arc::clone(host) as Arc<dyn Hypervisor>).collect()
}

/// Prefixes the path with `/servers` unless it has that prefix.
fn with_prefix(mut request: Request<Body>) -> Request<Body> {
    if !request.uri().path().starts_with("/servers") {
        *request.uri_mut() = format!("/servers{}", request.uri()).parse().unwrap();
    }
    request
}

impl TestBed {
    pub async fn new() -> Self {
        Self::with(HostSettings::default(), Settings::default()).await
    }

    /// Without rate limits, for tests of many requests.
    pub async fn unlimited() -> Self {
        Self::with(HostSettings::default(), Settings { rate_limits: false, ..Settings::default() }).await
    }

    pub async fn with(hosts: HostSettings, settings: Settings) -> Self {
        let scratch = TestLocation::sqlite();
        let mut bed = Self::at(&scratch.location, hosts, settings).await;
        bed.scratch = Some(scratch);
        bed
    }

    /// A cloud without any host.
    pub async fn hostless() -> Self {
        let mut bed = Self::new().await;
        bed.compute.stop().await;
        bed.faulty.clear();
        bed.reopen().await;
        bed
    }

    pub async fn at(location: &Location, hosts: HostSettings, settings: Settings) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let hosts = HostSettings { delay: Duration::ZERO, ..hosts };
        let hosts = SimulatedHost::fleet(&hosts, None).unwrap();
        let clock = Clock::frozen_at(Time::from_seconds(NOON));
        let location = location.clone();
        let faulty: Vec<_> = hosts.iter().map(|host| Arc::new(Faulty::new(host.clone()))).collect();
        let gate = Arc::new(tokio::sync::RwLock::new(()));
        let vault = Arc::new(BlockingVault {
            vault: Directory::new(dir.path().join("vault")),
            gate: Arc::clone(&gate),
        });
        let image_settings = images::Settings {
            scratch: dir.path().join("scratch"),
            virtual_bytes_max: 1 << 40,
            space: images::Space::of,
        };
        let images = Images::open(&location, clock.clone(), vault, image_settings).await.unwrap();
        let networks = Networks::open(&location, clock.clone(), pools()).await.unwrap();
        images.ensure_simulated_image().await.unwrap();
        let (images, networks) = (Arc::new(images), Arc::new(networks));
        images.start();
        let opened = Compute::open(
            &location,
            clock.clone(),
            dynamic(&faulty),
            Arc::clone(&networks),
            Arc::clone(&images),
            settings.clone(),
        );
        let compute = opened.await.unwrap();
        let steps = hosts.first().map(|host| host.steps().clone()).unwrap_or_default();
        let router = compute.router(Arc::new(TestTokens));
        Self {
            compute,
            clock,
            hosts,
            faulty,
            steps,
            settings,
            images,
            networks,
            router,
            location,
            vault: gate,
            dir,
            scratch: None,
            database: tokio::sync::OnceCell::new(),
        }
    }

    /// Simulates a crash and a restart: all tasks of the service are dropped; the hosts continue.
    pub async fn crash_and_reopen(&mut self) {
        self.compute.crash().await;
        self.reopen().await;
    }

    pub async fn reopen(&mut self) {
        let opened = Compute::open(
            &self.location,
            self.clock.clone(),
            dynamic(&self.faulty),
            Arc::clone(&self.networks),
            Arc::clone(&self.images),
            self.settings.clone(),
        );
        self.compute = opened.await.unwrap();
        self.router = self.compute.router(Arc::new(TestTokens));
    }

    /// Opens the service's database, to read it and to create the state after a crash.
    pub async fn database(&self) -> Database {
        let open = async || {
            let known: Vec<_> = (1..=TABLES_VERSION).map(|version| Migration { version, sql: "" }).collect();
            Database::open(&self.location, "compute", &known).await.unwrap()
        };
        self.database.get_or_init(open).await.clone()
    }

    /// Returns the kinds of a machine's jobs, claimed or not.
    pub async fn jobs_of(&self, machine: Uuid) -> Vec<String> {
        let sql = "SELECT kind FROM jobs WHERE subject LIKE $1";
        let rows = self.database().await.rows(sql, params![format!("%{machine}%")]).await.unwrap();
        rows.into_iter().map(|mut row| row.take(0).unwrap()).collect()
    }

    /// Returns a meter that the usage of servers is reported to.
    pub async fn meter(&self) -> meter::Meter {
        let meter = meter::Meter::open(&self.location, self.clock.clone()).await.unwrap();
        self.compute.report_to(meter.clone());
        meter
    }

    /// Injects a fault into the next call of an operation on the first host.
    pub fn fail_next(&self, operation: &str, fault: Fault) {
        let host = &self.faulty[0];
        host.inject(operation, host.calls(operation) + 1, fault);
    }

    /// Injects a fault into the `nth` call of an operation on a host, counted from 1.
    pub fn fail_on(&self, host: usize, operation: &str, nth: u32, fault: Fault) {
        self.faulty[host].inject(operation, nth, fault);
    }

    /// Returns how often an operation of a host was called.
    pub fn calls_on(&self, host: usize, operation: &str) -> u32 {
        self.faulty[host].calls(operation)
    }

    /// Returns how often an operation of the first host was called.
    pub fn calls(&self, operation: &str) -> u32 {
        self.faulty[0].calls(operation)
    }

    /// Returns the file of an object of an account.
    pub fn object(&self, tenant: &str, container: &str, object: &str) -> std::path::PathBuf {
        let container = self.dir.path().join("vault").join(tenant).join(container);
        std::fs::create_dir_all(&container).unwrap();
        container.join(object)
    }

    /// Returns the numbers of pinned objects and of files in the scratch directory.
    pub fn remaining_files(&self) -> (usize, usize) {
        let count = |path: &str| std::fs::read_dir(self.dir.path().join(path)).map_or(0, Iterator::count);
        (count("vault/pins"), count("scratch"))
    }

    pub fn images(&self) -> &Images {
        &self.images
    }

    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    pub async fn send(&self, request: Request<Body>) -> TestResponse {
        let response = self.router.clone().oneshot(with_prefix(request)).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let name = response.extensions().get::<web::listener::ServiceName>().map(|name| name.0);
        assert_eq!(name, Some("servers"));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        TestResponse { status, headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Sends a request and returns headers and bytes of the response.
    pub async fn send_raw(&self, request: Request<Body>) -> (HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(with_prefix(request)).await.unwrap();
        let headers = response.headers().clone();
        (headers, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    /// Sends a request of `jdoe`. `path` is relative to the account, or absolute if it begins with `//`.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TestResponse {
        let uri = match path.strip_prefix('/').filter(|rest| rest.starts_with('/')) {
            Some(whole) => whole.to_owned(),
            None => format!("/v1.0/{TENANT}{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "x-auth-token") {
            request = request.header("x-auth-token", "jdoe");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Sends a request of another tenant's `jdoe`.
    pub async fn call_as(&self, tenant: &str, method: &str, path: &str, body: &str) -> TestResponse {
        let token = format!("jdoe@{tenant}");
        let headers = [("x-auth-token", token.as_str()), ("content-type", "application/json")];
        self.call(method, &format!("//v1.0/{tenant}{path}"), &headers, body).await
    }

    /// Registers an object as an image and waits until it is ACTIVE.
    pub async fn uploaded(&self, name: &str) -> i64 {
        std::fs::write(self.object(TENANT, "disks", name), vec![7; 1024]).unwrap();
        let body = format!(r#"{{"image": {{"name": "{name}", "source": "disks/{name}", "format": "raw"}}}}"#);
        let answer = self.post("/images", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let number = answer.json()["image"]["id"].as_i64().unwrap();
        assert_eq!(self.finished_image(number).await["status"], "ACTIVE");
        number
    }

    /// Waits until an image is ACTIVE or FAILED and returns it.
    pub async fn finished_image(&self, number: i64) -> Value {
        let path = format!("/images/{number}");
        self.eventually("the image is finished", || async {
            self.advance(Duration::from_millis(1)).await;
            let image = self.get(&path).await.json();
            ["ACTIVE", "FAILED"].contains(&image["image"]["status"].as_str().unwrap())
        })
        .await;
        self.get(&path).await.json()["image"].clone()
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.call("GET", path, &[], "").await
    }

    /// Returns whether the database's files contain these bytes.
    pub fn is_written(&self, needle: &str) -> bool {
        let Location::Sqlite(dir) = &self.location else { panic!("SQLite only") };
        let files =
            std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
    }

    pub async fn get_xml(&self, path: &str) -> TestResponse {
        self.call("GET", path, &[("accept", "application/xml")], "").await
    }

    pub async fn delete(&self, path: &str) -> TestResponse {
        self.call("DELETE", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> TestResponse {
        self.body("POST", path, body).await
    }

    /// Sends a POST that must be accepted.
    pub async fn order(&self, path: &str, body: &str) {
        let answer = self.post(path, body).await;
        assert!(answer.status.is_success(), "{body}: {}", answer.body);
    }

    pub async fn put(&self, path: &str, body: &str) -> TestResponse {
        self.body("PUT", path, body).await
    }

    /// Sends JSON or XML and requests the same format.
    async fn body(&self, method: &str, path: &str, body: &str) -> TestResponse {
        let media = if body.trim_start().starts_with('<') { "application/xml" } else { "application/json" };
        let answer = self.call(method, path, &[("content-type", media), ("accept", media)], body).await;
        if body.contains(NAMESPACE) && answer.status.is_success() {
            documents::assert_valid(body);
        }
        answer
    }

    /// Returns a server's status, or `gone` if it does not exist.
    pub async fn status(&self, number: i64) -> String {
        let answer = self.get(&format!("/servers/{number}")).await;
        if answer.status == StatusCode::NOT_FOUND {
            return "gone".into();
        }
        answer.json()["server"]["status"].as_str().unwrap().to_owned()
    }

    /// Waits until a server has this status.
    pub async fn until(&self, number: i64, wanted: &str) {
        let mut last = String::new();
        let reached = tokio::time::timeout(TIMEOUT, async {
            loop {
                last = self.status(number).await;
                if last == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        if reached.await.is_err() {
            let server = self.get(&format!("/servers/{number}")).await.body;
            panic!("server {number} is {last}, not {wanted}: {server}\n{}", self.describe().await);
        }
    }

    /// Sends `count` creates at once and returns the responses.
    pub async fn all_at_once(&self, body: &str, count: usize) -> Vec<TestResponse> {
        let mut calls: Vec<_> = (0..count).map(|_| Box::pin(self.post("/servers", body))).collect();
        let mut answers: Vec<Option<TestResponse>> = (0..count).map(|_| None).collect();
        std::future::poll_fn(|context| {
            for (call, answer) in calls.iter_mut().zip(&mut answers) {
                if answer.is_none()
                    && let std::task::Poll::Ready(ready) = call.as_mut().poll(context)
                {
                    *answer = Some(ready);
                }
            }
            if answers.iter().any(Option::is_none) {
                std::task::Poll::Pending
            } else {
                std::task::Poll::Ready(())
            }
        })
        .await;
        answers.into_iter().flatten().collect()
    }

    /// Advances the clock in steps, so that jobs due in between run in between.
    pub async fn advance(&self, by: Duration) {
        let end = self.clock.now().after(by);
        while self.clock.now() < end {
            self.clock.advance(end.since(self.clock.now()).min(Duration::from_secs(10)));
            // Let jobs run: their deadlines must not pass because the test machine is busy.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a condition holds.
    pub async fn eventually<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let held = tokio::time::timeout(TIMEOUT, async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        if held.await.is_err() {
            panic!("never: {what}\n{}", self.describe().await);
        }
    }

    /// Describes all jobs, the machines of every host, and the duration of a database write, for messages of failing tests.
    async fn describe(&self) -> String {
        let sql = "SELECT kind, subject, attempts, due, lease_until - now_micros() FROM jobs ORDER BY due";
        let mut text = format!("at {}:\n", self.clock.now().iso_millis());
        for mut row in self.database().await.rows(sql, params![]).await.unwrap() {
            let (kind, subject): (String, String) = (row.take(0).unwrap(), row.take(1).unwrap());
            let (attempts, due): (i64, i64) = (row.take(2).unwrap(), row.take(3).unwrap());
            let lease = Duration::from_micros(u64::try_from(row.take::<i64>(4).unwrap()).unwrap_or(0));
            let due = Time(due).iso_millis();
            text +=
                &format!("job {kind} on {subject}: attempt {attempts}, due {due}, leased for {lease:?}\n");
        }
        for host in &self.hosts {
            for (power, spec) in host.all_machines() {
                text += &format!("{} has {}: {power:?}\n", host.host(), spec.id);
            }
        }
        let began = std::time::Instant::now();
        let written = work::lease::take(&self.database().await, "bed", "bed", TIMEOUT).await;
        text + &format!("a write took {:?}: {written:?}\n", began.elapsed())
    }

    /// Creates a server and waits until it is ACTIVE. Returns its number and the id of its machine.
    pub async fn active(&self, name: &str, flavor: i64) -> (i64, Uuid) {
        let body = format!(r#"{{"server": {{"name": "{name}", "imageId": 1, "flavorId": {flavor}}}}}"#);
        let answer = self.post("/servers", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let number = answer.json()["server"]["id"].as_i64().unwrap();
        self.until(number, "ACTIVE").await;
        (number, self.uuid(number).await)
    }

    /// Returns the id of a server's machine.
    pub async fn uuid(&self, number: i64) -> Uuid {
        self.server(number).await.id
    }

    pub async fn server(&self, number: i64) -> compute::model::Server {
        self.compute.get(&self.context(), compute::model::Id::Number(number)).await.unwrap()
    }

    pub fn context(&self) -> compute::Context {
        let caller = Caller {
            user_id: "jdoe".into(),
            user_name: "jdoe".into(),
            domain_id: "default".into(),
            tenant: Some(TenantRef { id: TENANT.into(), name: "jdoe".into(), domain_id: "default".into() }),
            roles: Vec::new(),
            grants: vec![Grant { product: None, right: Right::Administer }],
            operator: false,
            service: false,
            expires: Time(i64::MAX),
            delegation: None,
        };
        compute::Context::new(Arc::new(caller), TENANT, "req-test").unwrap()
    }

    /// Returns the host of a machine.
    pub fn host_of(&self, machine: Uuid) -> &SimulatedHost {
        self.hosts.iter().find(|host| host.spec(machine).is_some()).expect("a host has the machine")
    }

    /// Two hosts. The first one has server `1` of 256 MB and is filled by server `2`, so that a resize of server `1`
    /// migrates it to the second one.
    pub async fn with_full_host() -> Self {
        let scratch = TestLocation::sqlite();
        let mut bed = Self::with_full_host_at(&scratch.location).await;
        bed.scratch = Some(scratch);
        bed
    }

    pub async fn with_full_host_at(location: &Location) -> Self {
        let hosts = HostSettings { hosts: 2, memory_mib: 1280, ..HostSettings::default() };
        let bed = Self::at(location, hosts, Settings { rate_limits: false, ..Settings::default() }).await;
        bed.eventually("the capacity of both hosts is known", || async {
            bed.compute.hosts().await.unwrap().len() == 2
        })
        .await;
        bed.compute.drain("simulated-2", true).await.unwrap();
        bed.active("small", 1).await;
        bed.active("neighbour", 3).await;
        bed.compute.drain("simulated-2", false).await.unwrap();
        bed
    }

    /// Asserts that a machine runs on at most one host and that at most one host allows its addresses. Returns the
    /// host that it runs on, if any.
    pub async fn assert_runs_once(&self, machine: Uuid) -> Option<usize> {
        let (mut running, mut allowing) = (Vec::new(), Vec::new());
        // Read all hosts atomically: otherwise a machine that moves between two reads would seem to be on both or on neither.
        for (number, found) in SimulatedHost::machine_on_each(&self.hosts, machine).into_iter().enumerate() {
            let Some((power, spec)) = found else { continue };
            if matches!(power, hypervisor::Power::Running | hypervisor::Power::Paused) {
                running.push(number);
            }
            if spec.nics.iter().any(|nic| nic.lease.is_some() || !nic.allowed.is_empty()) {
                allowing.push(number);
            }
        }
        assert!(running.len() <= 1 && allowing.len() <= 1, "running on {running:?}, allowed on {allowing:?}");
        assert!(running.is_empty() || running == allowing, "running on {running:?}, allowed on {allowing:?}");
        running.first().copied()
    }

    /// Waits until cleanup jobs have removed all machines and snapshots from the hosts.
    pub async fn wait_until_cleaned(&self) {
        self.eventually("all machines and snapshots are removed", || async {
            self.advance(Duration::from_secs(1)).await;
            let mut left = 0;
            for host in &self.hosts {
                left += host.machines().await.unwrap().len() + host.snapshots().await.unwrap().len();
            }
            left == 0
        })
        .await;
    }

    /// Asserts that no machine, snapshot or reservation is left.
    pub async fn assert_clean(&self) {
        for host in &self.hosts {
            assert!(host.machines().await.unwrap().is_empty(), "machines are left on {}", host.host());
            assert!(host.snapshots().await.unwrap().is_empty(), "snapshots are left on {}", host.host());
        }
        let hosts = self.compute.hosts().await.unwrap();
        assert!(hosts.iter().all(|host| (host.used_memory_mib, host.used_disk_gib) == (0, 0)), "{hosts:?}");
    }
}
