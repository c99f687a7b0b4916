//! The requests before the power cut, and what must exist afterwards.

use std::collections::BTreeMap;

use tests::client::Client;

/// Number of concurrent clients, each with its own names.
pub const CLIENTS: usize = 3;

/// The expected state of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Absent,
    /// These bytes, and this value of `X-Object-Meta-N`.
    Content {
        bytes: Vec<u8>,
        meta: String,
    },
}

/// One request: the state that it sets, and the id of its response.
#[derive(Debug)]
pub struct Step {
    pub transaction: String,
    pub sets: Vec<(String, Value)>,
}

/// The steps of one client, in order.
pub type History = Vec<Step>;

/// Returns bytes that identify the name and version.
fn content(name: &str, version: usize, length: usize) -> Vec<u8> {
    format!("{name} {version} ").into_bytes().into_iter().cycle().take(length).collect()
}

struct Worker {
    client: Client,
    history: History,
}

impl Worker {
    fn step(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        sets: Vec<(String, Value)>,
    ) {
        let response = self.client.send(method, path, headers, body).expect("a response");
        assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
        let mut sets = sets;
        let version = response.header("x-object-version-id").to_owned();
        if !version.is_empty()
            && let Some((path, value @ Value::Content { .. })) = sets.first().cloned()
        {
            sets.push((format!("{path}?version-id={version}"), value));
        }
        let transaction = response.header("x-trans-id").to_ascii_lowercase();
        self.history.push(Step { transaction, sets });
    }

    fn put(&mut self, path: &str, version: usize, length: usize, headers: &[(&str, &str)]) {
        let bytes = content(path, version, length);
        let meta = version.to_string();
        let headers = [headers, &[("X-Object-Meta-N", meta.as_str())]].concat();
        let value = Value::Content { bytes: bytes.clone(), meta: meta.clone() };
        self.step("PUT", path, &headers, &bytes, vec![(path.to_owned(), value)]);
    }

    fn value(&self, path: &str) -> Value {
        let sets = self.history.iter().rev().flat_map(|step| step.sets.iter());
        sets.clone().find(|(name, _)| name == path).map_or(Value::Absent, |(_, value)| value.clone())
    }
}

/// Stores objects of every kind: small, large, overwritten, copied, deleted, versioned, segmented, expiring.
pub fn run(port: u16, token: &str, account: &str) -> Vec<History> {
    let connect = || Client::connect(port, token).expect("a connection");
    for (container, header) in [("c", ("x-a", "b")), ("v", ("X-Versions-Enabled", "true"))] {
        let made =
            connect().send("PUT", &format!("{account}/{container}"), &[header], b"").expect("a response");
        assert_eq!(made.status, 201);
    }
    std::thread::scope(|scope| {
        let work = |client: usize| {
            let mut worker = Worker { client: connect(), history: Vec::new() };
            objects(&mut worker, account, client);
            worker.history
        };
        let workers: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    })
}

fn objects(worker: &mut Worker, account: &str, client: usize) {
    let path = |name: &str| format!("{account}/c/{client}-{name}");
    for n in 0..12 {
        worker.put(&path(&format!("small-{}", n % 7)), n, 100 + n * 613, &[]);
    }
    worker.put(&path("large"), 0, 1_200_000, &[]);
    worker.put(&path("large"), 1, 1_100_000, &[]);
    worker.put(&path("expiring"), 0, 900, &[("X-Delete-After", "86400")]);
    for (from, to) in [("small-1", "copy"), ("large", "large-copy")] {
        let value = worker.value(&path(from));
        let target = format!("c/{client}-{to}");
        worker.step("COPY", &path(from), &[("Destination", &target)], b"", vec![(path(to), value)]);
    }
    let old = worker.value(&path("small-2"));
    if let Value::Content { bytes, .. } = old {
        let value = Value::Content { bytes, meta: "posted".into() };
        worker.step(
            "POST",
            &path("small-2"),
            &[("X-Object-Meta-N", "posted")],
            b"",
            vec![(path("small-2"), value)],
        );
    }
    worker.step("DELETE", &path("large"), &[], b"", vec![(path("large"), Value::Absent)]);
    worker.step("DELETE", &path("small-3"), &[], b"", vec![(path("small-3"), Value::Absent)]);
    let kept = format!("{account}/v/{client}-kept");
    for n in 0..3 {
        worker.put(&kept, n, 500 + n, &[]);
    }
    let (one, two) = (path("part-1"), path("part-2"));
    worker.put(&one, 0, 3000, &[]);
    worker.put(&two, 0, 2000, &[]);
    let manifest = format!(r#"[{{"path": "/c/{client}-part-1"}}, {{"path": "/c/{client}-part-2"}}]"#);
    let bytes = [content(&one, 0, 3000), content(&two, 0, 2000)].concat();
    let whole = path("whole");
    let value = Value::Content { bytes, meta: "slo".into() };
    let put = format!("{whole}?multipart-manifest=put");
    worker.step("PUT", &put, &[("X-Object-Meta-N", "slo")], manifest.as_bytes(), vec![(whole, value)]);
    // Enough versions of one name that the volume is mostly dead and is compacted.
    for n in 0..90 {
        worker.put(&path("churn"), n, 30_000, &[]);
    }
    for n in 0..6 {
        worker.put(&path("last"), n, 2000, &[]);
    }
}

/// Returns the allowed states of each name after all responses up to `line` were sent: what the last acknowledged request
/// set, or what the request in progress after it sets.
pub fn allowed(history: &History, acknowledged: &dyn Fn(&str) -> bool) -> BTreeMap<String, Vec<Value>> {
    let done = history.iter().take_while(|step| acknowledged(&step.transaction)).count();
    let mut allowed: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (path, value) in history[..done].iter().flat_map(|step| &step.sets) {
        allowed.insert(path.clone(), vec![value.clone()]);
    }
    for (path, value) in history.get(done).iter().flat_map(|step| &step.sets) {
        allowed.entry(path.clone()).or_insert_with(|| vec![Value::Absent]).push(value.clone());
    }
    allowed
}
