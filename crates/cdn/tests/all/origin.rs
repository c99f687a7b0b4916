//! An origin that tests hold, break and count.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use cdn::edge::{Ask, Origin, OriginError};
use cdn::model::{Hash, Names, Publication, Site, Ttl};
use futures_util::stream;
use http::Response;
use tokio::sync::Semaphore;

use crate::edge::{KEY, host};

/// How the origin behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    /// It cannot be reached.
    Away,
    /// It answers 500.
    Failing,
    /// It ends a body after so many bytes, as if that were all.
    Short(usize),
    /// It breaks a body off after so many bytes.
    Broken(usize),
    /// It sends more than it announced.
    Long,
}

pub struct Fake {
    pub hash: Hash,
    pub host: String,
    pub body: Mutex<Vec<u8>>,
    pub etag: Mutex<String>,
    pub mood: Mutex<Mood>,
    pub site: Mutex<Option<Arc<Site>>>,
    /// Objects and pages that were asked for.
    pub asked: AtomicU64,
    /// Those of them that were answered with a body.
    pub sent: AtomicU64,
    pub asks: Mutex<Vec<Ask>>,
    /// Requests wait for a permit.
    pub gate: Semaphore,
}

const OPEN: usize = 1 << 20;

impl Fake {
    pub fn new(body: Vec<u8>) -> Arc<Self> {
        let hash = Hash::of_container("1", "c", b"secret");
        let uris = Names::new("cdn.test:8081", KEY).uris(hash);
        let site = Site::of(Publication { ttl: Ttl::MIN, ..Publication::new(hash, "1", "c") }, [].into());
        Arc::new(Self {
            hash,
            host: host(&uris.plain).to_owned(),
            body: Mutex::new(body),
            etag: Mutex::new("\"one\"".into()),
            mood: Mutex::default(),
            site: Mutex::new(site.map(Arc::new)),
            asked: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            asks: Mutex::default(),
            gate: Semaphore::new(OPEN),
        })
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub fn replace(&self, body: &[u8], etag: &str) {
        *self.body.lock().unwrap() = body.to_vec();
        *self.etag.lock().unwrap() = etag.to_owned();
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Lets no request through until it is opened.
    pub fn close(&self) {
        self.gate.forget_permits(OPEN);
    }

    pub fn open(&self) {
        self.gate.add_permits(OPEN);
    }

    /// Purges the container or one object.
    pub fn purge(&self, object: Option<&str>) {
        let mut site = self.site.lock().unwrap();
        let generation = site.as_ref().unwrap().generation + 1;
        let purged = if object.is_none() { generation } else { 0 };
        let publication =
            Publication { ttl: Ttl::MIN, generation, purged, ..Publication::new(self.hash, "1", "c") };
        let objects = object.map(|object| (object.to_owned(), generation)).into_iter().collect();
        *site = Site::of(publication, objects).map(Arc::new);
    }
}

#[async_trait]
impl Origin for Fake {
    fn known_site(&self, _: Hash) -> Option<Option<Arc<Site>>> {
        None
    }

    async fn site(&self, hash: Hash) -> Result<Option<Arc<Site>>, OriginError> {
        Ok(self.site.lock().unwrap().clone().filter(|_| hash == self.hash))
    }

    async fn fetch(&self, _: &Site, ask: &Ask) -> Result<Response<Body>, OriginError> {
        self.asked.fetch_add(1, SeqCst);
        self.asks.lock().unwrap().push(ask.clone());
        // What is there when the request arrives, however long its answer takes.
        let (body, etag) = (self.body.lock().unwrap().clone(), self.etag.lock().unwrap().clone());
        self.gate.acquire().await.unwrap().forget();
        self.gate.add_permits(1);
        let mood = self.mood.lock().unwrap().clone();
        let response = Response::builder().header("etag", &etag).header("content-type", "text/plain");
        let status = |status: u16| Ok(Response::builder().status(status).body(Body::empty()).unwrap());
        match mood {
            Mood::Away => return Err(OriginError("away".into())),
            Mood::Failing => return status(500),
            _ => {}
        }
        if ask.if_none_match.as_ref() == Some(&etag) {
            return Ok(response.status(304).body(Body::empty()).unwrap());
        }
        if ask.if_match.as_ref().is_some_and(|tag| *tag != etag) {
            return status(412);
        }
        if ask.path.starts_with("missing") {
            return status(404).map(|mut missing| {
                missing.headers_mut().insert("content-length", 0.into());
                missing
            });
        }
        let all = body.len() as u64;
        let (response, bytes) = match &ask.range {
            Some(range) if range.start >= all => {
                let range = format!("bytes */{all}");
                return Ok(response.status(416).header("content-range", range).body(Body::empty()).unwrap());
            }
            Some(range) => {
                let range = range.start..range.end.min(all);
                let told = format!("bytes {}-{}/{all}", range.start, range.end - 1);
                let bytes = &body[range.start as usize..range.end as usize];
                (response.status(206).header("content-range", told), bytes.to_vec())
            }
            None => (response.header("content-length", all), body),
        };
        self.sent.fetch_add(1, SeqCst);
        let pieces: Vec<Result<Bytes, std::io::Error>> = match mood {
            Mood::Short(length) => vec![Ok(bytes[..length.min(bytes.len())].to_vec().into())],
            Mood::Broken(length) => vec![
                Ok(bytes[..length.min(bytes.len())].to_vec().into()),
                Err(std::io::Error::other("broken")),
            ],
            Mood::Long => vec![Ok(bytes.into()), Ok(Bytes::from_static(b"more"))],
            _ => bytes.chunks(100_000).map(|piece| Ok(piece.to_vec().into())).collect(),
        };
        Ok(response.body(Body::from_stream(stream::iter(pieces))).unwrap())
    }
}
