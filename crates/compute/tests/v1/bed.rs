//! A cloud of simulated hosts behind an in-process router, its time in the test's hands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use compute::{Compute, Denied, Settings, Tokens};
use database::testing::Scratch;
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

pub use crate::alike::{assert_json, assert_xml};
use crate::documents;

pub const TENANT: &str = "345812";
pub const NAMESPACE: &str = "http://docs.rackspacecloud.com/servers/api/v1.0";
/// How long tests wait for what must happen. Shorter than a job's lease of 30 s, so that a test fails where something waits
/// needlessly for a lease to run out.
const PATIENCE: Duration = Duration::from_secs(20);
/// The newest migration of the service.
const TABLES_VERSION: i64 = 6;
/// 2010-10-10T12:00:00Z, as in the guide's samples.
pub const NOON: i64 = 1_286_712_000;

/// Tokens are `user` or `user@tenant`; `operator` is the operator, `servers` may do all to servers and nothing else.
struct Book;

#[async_trait]
impl Tokens for Book {
    async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Denied> {
        let (user, tenant) = token.split_once('@').unwrap_or((token, TENANT));
        let right = match user {
            "jdoe" | "operator" | "servers" => Right::Administer,
            "creator" => Right::Create,
            "observer" => Right::Observe,
            "away" => return Err(Denied::Unavailable("identity is away".into())),
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

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
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

pub struct Bed {
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
    /// Held for writing, no image is stored or read.
    pub vault: Arc<tokio::sync::RwLock<()>>,
    dir: Arc<tempfile::TempDir>,
    scratch: Option<Scratch>,
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

/// A vault that stores and gives nothing while a test holds its gate.
struct Gated {
    vault: Directory,
    gate: Arc<tokio::sync::RwLock<()>>,
}

#[async_trait]
impl Vault for Gated {
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError> {
        let _open = self.gate.read().await;
        self.vault.put(object, bytes).await
    }

    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError> {
        self.vault.pin(pin, owner, container, object).await
    }

    async fn open(&self, pin: &str) -> Result<Reader, VaultError> {
        let _open = self.gate.read().await;
        self.vault.open(pin).await
    }

    async fn unpin(&self, pin: &str) -> Result<(), VaultError> {
        self.vault.unpin(pin).await
    }
}

fn dynamic(hosts: &[Arc<Faulty<SimulatedHost>>]) -> Vec<Arc<dyn Hypervisor>> {
    hosts.iter().map(|host| Arc::clone(host) as Arc<dyn Hypervisor>).collect()
}

/// A request whose path is behind the dialect's place, or whole.
fn in_place(mut request: Request<Body>) -> Request<Body> {
    if !request.uri().path().starts_with("/servers") {
        *request.uri_mut() = format!("/servers{}", request.uri()).parse().unwrap();
    }
    request
}

impl Bed {
    pub async fn new() -> Self {
        Self::with(HostSettings::default(), Settings::default()).await
    }

    /// Without rate limits, for tests of many requests.
    pub async fn unlimited() -> Self {
        Self::with(HostSettings::default(), Settings { rate_limits: false, ..Settings::default() }).await
    }

    pub async fn with(hosts: HostSettings, settings: Settings) -> Self {
        let scratch = Scratch::sqlite();
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
        let vault =
            Arc::new(Gated { vault: Directory::new(dir.path().join("vault")), gate: Arc::clone(&gate) });
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
        let router = compute.router(Arc::new(Book));
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

    /// As a crash and a new start: every task of the service is dropped where it is; the hosts live on.
    pub async fn crash_and_reopen(&mut self) {
        self.compute.abandon().await;
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
        self.router = self.compute.router(Arc::new(Book));
    }

    /// The service's own database, to look into and to lay out what a death leaves.
    pub async fn database(&self) -> Database {
        let open = async || {
            let known: Vec<_> = (1..=TABLES_VERSION).map(|version| Migration { version, sql: "" }).collect();
            Database::open(&self.location, "compute", &known).await.unwrap()
        };
        self.database.get_or_init(open).await.clone()
    }

    /// The kinds of the jobs that a machine has, in hand or waiting.
    pub async fn jobs_of(&self, machine: Uuid) -> Vec<String> {
        let sql = "SELECT kind FROM jobs WHERE subject LIKE $1";
        let rows = self.database().await.rows(sql, params![format!("%{machine}%")]).await.unwrap();
        rows.into_iter().map(|mut row| row.take(0).unwrap()).collect()
    }

    /// A meter that what servers use is told to.
    pub async fn meter(&self) -> meter::Meter {
        let meter = meter::Meter::open(&self.location, self.clock.clone()).await.unwrap();
        self.compute.report_to(meter.clone());
        meter
    }

    /// Lets the next call of an operation on the first host meet a fault.
    pub fn fail_next(&self, operation: &str, fault: Fault) {
        let host = &self.faulty[0];
        host.inject(operation, host.calls(operation) + 1, fault);
    }

    /// Lets the `nth` call of an operation on any host, counted from its beginning, meet a fault.
    pub fn fail_on(&self, host: usize, operation: &str, nth: u32, fault: Fault) {
        self.faulty[host].inject(operation, nth, fault);
    }

    /// How often an operation of any host has been called.
    pub fn calls_on(&self, host: usize, operation: &str) -> u32 {
        self.faulty[host].calls(operation)
    }

    /// How often an operation of the first host has been called.
    pub fn calls(&self, operation: &str) -> u32 {
        self.faulty[0].calls(operation)
    }

    /// Where an object of an account is kept.
    pub fn object(&self, tenant: &str, container: &str, object: &str) -> std::path::PathBuf {
        let container = self.dir.path().join("vault").join(tenant).join(container);
        std::fs::create_dir_all(&container).unwrap();
        container.join(object)
    }

    /// What is left of images: pinned objects, and files put aside.
    pub fn left(&self) -> (usize, usize) {
        let count = |path: &str| std::fs::read_dir(self.dir.path().join(path)).map_or(0, Iterator::count);
        (count("vault/pins"), count("scratch"))
    }

    pub fn images(&self) -> &Images {
        &self.images
    }

    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(in_place(request)).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let name = response.extensions().get::<web::listener::ServiceName>().map(|name| name.0);
        assert_eq!(name, Some("servers"));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Headers and bytes of an answer.
    pub async fn send_raw(&self, request: Request<Body>) -> (HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(in_place(request)).await.unwrap();
        let headers = response.headers().clone();
        (headers, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    /// A request of `jdoe`; `path` is behind the account, or whole where it begins with `//`.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
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

    /// A request of another tenant's `jdoe`.
    pub async fn call_as(&self, tenant: &str, method: &str, path: &str, body: &str) -> Answer {
        let token = format!("jdoe@{tenant}");
        let headers = [("x-auth-token", token.as_str()), ("content-type", "application/json")];
        self.call(method, &format!("//v1.0/{tenant}{path}"), &headers, body).await
    }

    /// An image of the tenant's own, ACTIVE, made of an object.
    pub async fn uploaded(&self, name: &str) -> i64 {
        std::fs::write(self.object(TENANT, "disks", name), vec![7; 1024]).unwrap();
        let body = format!(r#"{{"image": {{"name": "{name}", "source": "disks/{name}", "format": "raw"}}}}"#);
        let answer = self.post("/images", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let number = answer.json()["image"]["id"].as_i64().unwrap();
        assert_eq!(self.image_settled(number).await["status"], "ACTIVE");
        number
    }

    /// An image once it is in flight no more.
    pub async fn image_settled(&self, number: i64) -> Value {
        let path = format!("/images/{number}");
        self.eventually("an image settles", || async {
            self.pass(Duration::from_millis(1)).await;
            let image = self.get(&path).await.json();
            ["ACTIVE", "FAILED"].contains(&image["image"]["status"].as_str().unwrap())
        })
        .await;
        self.get(&path).await.json()["image"].clone()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    /// Whether the database's files hold these bytes anywhere.
    pub fn is_written(&self, needle: &str) -> bool {
        let Location::Sqlite(dir) = &self.location else { panic!("SQLite only") };
        let files =
            std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
    }

    pub async fn get_xml(&self, path: &str) -> Answer {
        self.call("GET", path, &[("accept", "application/xml")], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.body("POST", path, body).await
    }

    /// Orders what is to be accepted.
    pub async fn order(&self, path: &str, body: &str) {
        let answer = self.post(path, body).await;
        assert!(answer.status.is_success(), "{body}: {}", answer.body);
    }

    pub async fn put(&self, path: &str, body: &str) -> Answer {
        self.body("PUT", path, body).await
    }

    /// Sends JSON or XML, and wants the same back.
    async fn body(&self, method: &str, path: &str, body: &str) -> Answer {
        let media = if body.trim_start().starts_with('<') { "application/xml" } else { "application/json" };
        let answer = self.call(method, path, &[("content-type", media), ("accept", media)], body).await;
        if body.contains(NAMESPACE) && answer.status.is_success() {
            documents::assert_valid(body);
        }
        answer
    }

    /// A server's status, or `gone`.
    pub async fn status(&self, number: i64) -> String {
        let answer = self.get(&format!("/servers/{number}")).await;
        if answer.status == StatusCode::NOT_FOUND {
            return "gone".into();
        }
        answer.json()["server"]["status"].as_str().unwrap().to_owned()
    }

    /// Waits until a server has that status.
    pub async fn until(&self, number: i64, wanted: &str) {
        let mut last = String::new();
        let reached = tokio::time::timeout(PATIENCE, async {
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
            panic!("server {number} is {last}, not {wanted}: {server}\n{}", self.described().await);
        }
    }

    /// Sends so many creates at once; the answers.
    pub async fn all_at_once(&self, body: &str, count: usize) -> Vec<Answer> {
        let mut calls: Vec<_> = (0..count).map(|_| Box::pin(self.post("/servers", body))).collect();
        let mut answers: Vec<Option<Answer>> = (0..count).map(|_| None).collect();
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

    /// Lets time pass in steps, so that what is due in between happens in between.
    pub async fn pass(&self, by: Duration) {
        let end = self.clock.now().after(by);
        while self.clock.now() < end {
            self.clock.advance(end.since(self.clock.now()).min(Duration::from_secs(10)));
            // Jobs get on meanwhile: their deadlines must not pass because the machine is busy.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until something holds.
    pub async fn eventually<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let held = tokio::time::timeout(PATIENCE, async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        if held.await.is_err() {
            panic!("never: {what}\n{}", self.described().await);
        }
    }

    /// The jobs that wait or run, the machines of every host, and how long a write to the database takes, for messages of
    /// tests that fail.
    async fn described(&self) -> String {
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
        let written = work::lease::take(&self.database().await, "bed", "bed", PATIENCE).await;
        text + &format!("a write took {:?}: {written:?}\n", began.elapsed())
    }

    /// Launches a server and waits until it is there; its number and machine.
    pub async fn active(&self, name: &str, flavor: i64) -> (i64, Uuid) {
        let body = format!(r#"{{"server": {{"name": "{name}", "imageId": 1, "flavorId": {flavor}}}}}"#);
        let answer = self.post("/servers", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let number = answer.json()["server"]["id"].as_i64().unwrap();
        self.until(number, "ACTIVE").await;
        (number, self.uuid(number).await)
    }

    /// The machine of a server.
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

    /// The host that a machine is on.
    pub fn host_of(&self, machine: Uuid) -> &SimulatedHost {
        self.hosts.iter().find(|host| host.spec(machine).is_some()).expect("a host has it")
    }

    /// Two hosts, and a server `1` of 256 MB on the first one, which server `2` fills up: what `1` is resized to is on the
    /// second one.
    pub async fn crowded() -> Self {
        let scratch = Scratch::sqlite();
        let mut bed = Self::crowded_at(&scratch.location).await;
        bed.scratch = Some(scratch);
        bed
    }

    pub async fn crowded_at(location: &Location) -> Self {
        let hosts = HostSettings { hosts: 2, memory_mib: 1280, ..HostSettings::default() };
        let bed = Self::at(location, hosts, Settings { rate_limits: false, ..Settings::default() }).await;
        bed.eventually("both hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 })
            .await;
        bed.compute.drain("simulated-2", true).await.unwrap();
        bed.active("small", 1).await;
        bed.active("neighbour", 3).await;
        bed.compute.drain("simulated-2", false).await.unwrap();
        bed
    }

    /// A machine runs on one host at most, and one host at most lets it use addresses. The host it runs on, if it does.
    pub async fn runs_once(&self, machine: Uuid) -> Option<usize> {
        let (mut running, mut allowing) = (Vec::new(), Vec::new());
        // All hosts at one moment: a machine that moves between two looks would seem to be on both or on neither.
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

    /// Waits until hosts are cleared of what servers left there, which happens behind them.
    pub async fn is_cleared(&self) {
        self.eventually("nothing is left", || async {
            self.pass(Duration::from_secs(1)).await;
            let mut left = 0;
            for host in &self.hosts {
                left += host.machines().await.unwrap().len() + host.snapshots().await.unwrap().len();
            }
            left == 0
        })
        .await;
    }

    /// Nothing of any server is left anywhere.
    pub async fn assert_clean(&self) {
        for host in &self.hosts {
            assert!(host.machines().await.unwrap().is_empty(), "machines are left on {}", host.host());
            assert!(host.snapshots().await.unwrap().is_empty(), "snapshots are left on {}", host.host());
        }
        let hosts = self.compute.hosts().await.unwrap();
        assert!(hosts.iter().all(|host| (host.used_memory_mib, host.used_disk_gib) == (0, 0)), "{hosts:?}");
    }
}
