//! Stores an object: first its bytes, then the row, in one transaction.

use blobs::{BlobId, Claim, PACKED_BYTES_MAX, StoredBlob, Writer};
use bytes::{Bytes, BytesMut};

use super::access::Access;
use super::authorise::Action;
use super::budget::Share;
use super::container_sync::{is_synchronised, must_be_newer};
use super::content::Body;
use super::encryption::Cipher;
use super::keeping::store_object;
use super::write::Named;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Blob, Object, SealedKey};
use crate::model::etag::is_quoted;
use crate::model::metadata::Metadata;
use crate::model::name;
use crate::model::shape::Shape;
use crate::store;
use work::Time;

/// Maximum bytes of a large upload queued for hashing.
const HASHED_AT_ONCE: usize = 128 << 10;
/// Memory held by a large upload, in bytes: pieces queued for the disk and for hashing. A small upload of unknown length may
/// need as much.
const LARGE_BYTES_HELD: u64 = PACKED_BYTES_MAX as u64;
/// Memory held by any upload, in bytes.
const SMALL_BYTES_HELD: u64 = 4 << 10;

/// An object to be stored.
pub struct PutRequest {
    /// The announced length, if any, in bytes.
    pub length: Option<u64>,
    /// The MD5 announced by the sender, in lower-case hex.
    pub etag: Option<String>,
    /// The media type.
    pub content_type: String,
    /// The metadata.
    pub metadata: Metadata,
    /// Whether to fail if the object exists (`If-None-Match: *`).
    pub only_new: bool,
    /// What the bytes represent if not the object's own content.
    pub shape: Option<Shape>,
    /// When the object expires.
    pub expires: Option<Time>,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The object.
    pub object: Object,
    /// Whether its container's ETags are shown in quotes.
    pub quoted: bool,
}

impl Files {
    /// Stores an object; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::WrongEtag`], [`Error::TooLarge`], [`Error::BrokeOff`], [`Error::Precondition`] and the errors of invalid names
    /// and metadata. Nothing is stored then.
    pub async fn put_object(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        request: PutRequest,
        body: &mut dyn Body,
    ) -> Result<Stored> {
        let begun = self.0.clock.now();
        let found = self.container_for(context, account, container, Action::WriteObject).await?;
        let access = self.access(context, (account, container), &found, Action::WriteObject);
        self.may_expire(context, account, (&found, container), name, request.expires).await?;
        self.check_quotas(context, &found, request.length.unwrap_or(0)).await?;
        name::check_object(name, self.limits())?;
        request.metadata.check_totals("x-object-meta-", self.limits())?;
        if request.length.is_some_and(|length| length > self.limits().max_file_size) {
            return Err(Error::TooLarge);
        }
        // Reject early if the object already exists; the transaction below decides.
        if request.only_new
            && store::objects::find(&self.0.db, found.id, name)
                .await?
                .is_some_and(|old| !old.is_expired(self.now()))
        {
            return Err(Error::Precondition("an object of that name exists".into()));
        }
        let tenant = context.tenant_for(account);
        let received = self.receive(found.policy, &tenant, request.length, body).await?;
        let context = &self.caller_now(context, begun).await?;
        if request.etag.as_ref().is_some_and(|etag| *etag != received.etag) {
            return Err(Error::WrongEtag);
        }
        let now = context.replicated_at_or(self.now());
        let object = Object {
            created: now,
            changed: now,
            etag: received.etag.clone(),
            size: received.size,
            content_type: request.content_type,
            metadata: request.metadata,
            blob: None,
            shape: request.shape,
            expires: request.expires,
            version: None,
        };
        let flags = (request.only_new, context.carried.is_some());
        self.store_and_commit(access.by(context.clone()), name, object, flags, received).await
    }

    /// Makes an upload durable and points the name at it, as the blob of `object`; see [`Files::commit_object`].
    pub(super) async fn store_and_commit(
        &self,
        access: Access,
        name: &str,
        object: Object,
        flags: (bool, bool),
        received: Received,
    ) -> Result<Stored> {
        // Do both in one task that runs to completion: if the client disconnects while the bytes are being synced, they are still
        // named. Otherwise they would remain unreferenced until the next start.
        let (files, name) = (self.clone(), name.to_owned());
        let named = tokio::spawn(async move {
            let Received { bytes, _share, .. } = received;
            let (blob, claim) = files.store(bytes).await?;
            files.commit_object(access, name, Object { blob, ..object }, flags, claim).await
        });
        named.await.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
    }

    /// Points the name at its blob, updates the counters and releases the old blob. If that fails, the new blob is deleted. If
    /// its outcome is unknown, the blob is kept, since the name may refer to it; the orphan check decides later. `claim` keeps
    /// the blob's volume until the outcome is known.
    async fn commit_object(
        &self,
        access: Access,
        name: String,
        object: Object,
        (only_new, from_elsewhere): (bool, bool),
        claim: Claim,
    ) -> Result<Stored> {
        let blob = object.blob;
        let input = (access, name, object);
        let named = self.0.db.write(input, move |(access, name, object), tx| {
            Box::pin(async move {
                let container = &access.container_with_room(tx, object.size).await?;
                access.may_expire(tx, container, name, object).await?;
                if from_elsewhere {
                    must_be_newer(tx, container, name, object.changed).await?;
                }
                if let Some(blob) = &object.blob {
                    store::blobs::insert(tx, blob).await?;
                }
                let named = store_object(tx, container, name, object, only_new).await?;
                Ok((named, is_quoted(container), is_synchronised(&container.metadata)))
            })
        });
        let (Named { object, freed }, quoted, carried) = match named.await {
            Ok(named) => named,
            Err(unknown @ Error::Unknown(_)) => {
                // The row may still be committed, so keep the claim until this process exits.
                claim.keep();
                return Err(unknown);
            }
            Err(error) => {
                self.discard(blob).await;
                return Err(error);
            }
        };
        self.after_write(&object, freed);
        self.after_change(carried);
        Ok(Stored { object, quoted })
    }

    /// Wakes the background tasks that a write created work for.
    pub(super) fn after_write(&self, object: &Object, freed: bool) {
        if freed {
            self.0.garbage.notify_one();
        }
        if object.expires.is_some() {
            self.0.expiring.notify_one();
        }
    }

    /// Receives an upload of `tenant` for a policy's blob store, encrypted if configured. Waits for memory before it reads the
    /// body. Nothing remains of the upload if the result is dropped.
    pub(super) async fn receive(
        &self,
        policy: i64,
        tenant: &str,
        announced: Option<u64>,
        body: &mut dyn Body,
    ) -> Result<Received> {
        let limit = self.limits().max_file_size;
        let is_packed = announced.is_none_or(|length| length <= PACKED_BYTES_MAX as u64);
        let memory = announced.filter(|_| is_packed).unwrap_or(LARGE_BYTES_HELD);
        let share = self.0.uploads.take(tenant, memory.max(SMALL_BYTES_HELD)).await?;
        let mut head = BytesMut::new();
        while is_packed && head.len() <= PACKED_BYTES_MAX {
            let Some(piece) = body.next().await? else {
                return self.pack(policy, announced, head.freeze(), share);
            };
            if head.is_empty() && announced == Some(piece.len() as u64) && piece.len() <= PACKED_BYTES_MAX {
                // Most small objects arrive in one piece, which is not copied.
                return match body.next().await? {
                    None => self.pack(policy, announced, piece, share),
                    Some(_) => Err(Error::BrokeOff),
                };
            }
            head.extend_from_slice(&piece);
        }
        let id = BlobId::new();
        let (cipher, key) = self.fresh_key(policy, id)?;
        let mut writer = self.0.blobs.create(self.store_for(policy), id).await?;
        let mut hasher = Hasher::start();
        let mut size = 0;
        let mut next = if head.is_empty() { body.next().await? } else { Some(head.freeze()) };
        while let Some(piece) = next {
            let at = size;
            size += piece.len() as u64;
            if size > limit {
                return Err(Error::TooLarge);
            }
            hasher.update(piece.clone()).await?;
            let kept = match &cipher {
                Some(cipher) => cipher.apply(at, &piece)?,
                None => piece,
            };
            writer.write(kept).await?;
            next = body.next().await?;
        }
        if announced.is_some_and(|announced| announced != size) {
            return Err(Error::BrokeOff);
        }
        let etag = hasher.finish().await?;
        let bytes = Arrived::Single { id, key, writer };
        Ok(Received { size, etag, bytes, _share: share })
    }

    /// Makes bytes durable; returns their blob, and a claim to hold until it is known whether a row refers to it.
    async fn store(&self, bytes: Arrived) -> Result<(Option<Blob>, Claim)> {
        let (id, key, location, claim) = match bytes {
            Arrived::Nothing => return Ok((None, Claim::default())),
            Arrived::Packed { store, id, key, bytes } => {
                let StoredBlob { location, claim } = self.0.blobs.put(store, id, bytes).await?;
                (id, key, location, claim)
            }
            Arrived::Single { id, key, writer } => (id, key, writer.finish().await?, Claim::default()),
        };
        Ok((Some(Blob { id, location, key }), claim))
    }

    fn store_for(&self, policy: i64) -> usize {
        self.0.blobs.index(usize::try_from(policy).unwrap_or(0))
    }

    fn fresh_key(&self, policy: i64, id: BlobId) -> Result<(Option<Cipher>, Option<SealedKey>)> {
        Ok(match self.encrypts(policy)? {
            Some(master) => Some(Cipher::fresh(master, id)?).unzip(),
            None => (None, None),
        })
    }

    fn pack(&self, policy: i64, announced: Option<u64>, bytes: Bytes, share: Share) -> Result<Received> {
        if announced.is_some_and(|announced| announced != bytes.len() as u64) {
            return Err(Error::BrokeOff);
        }
        let etag = hex::encode(fast_md5::digest(&bytes));
        let size = bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(Received { size, etag, bytes: Arrived::Nothing, _share: share });
        }
        let id = BlobId::new();
        let (cipher, key) = self.fresh_key(policy, id)?;
        let bytes = match &cipher {
            Some(cipher) => cipher.apply(0, &bytes)?,
            None => bytes,
        };
        let bytes = Arrived::Packed { store: self.store_for(policy), id, key, bytes };
        Ok(Received { size, etag, bytes, _share: share })
    }

    /// Deletes a blob that was stored and that no row refers to.
    pub(super) async fn discard(&self, blob: Option<Blob>) {
        let Some(blob) = blob else { return };
        let freed = if blobs::is_single(blob.location.volume) {
            self.0.blobs.delete(blob.id, blob.location).await.map_err(Error::from)
        } else {
            self.count_dead(vec![blob.location]).await;
            Ok(())
        };
        if let Err(error) = freed {
            tracing::warn!(%error, blob = %blob.id, "cannot delete an unreferenced blob; the orphan check will remove it");
        }
    }
}

/// An upload that was received completely. It is not durable yet, and nothing remains of it if this is dropped.
pub(super) struct Received {
    size: u64,
    etag: String,
    bytes: Arrived,
    /// The memory that the bytes occupy.
    _share: Share,
}

/// The bytes of an upload, encrypted if configured.
enum Arrived {
    Nothing,
    Packed {
        /// The index of the store to write to.
        store: usize,
        id: BlobId,
        key: Option<SealedKey>,
        bytes: Bytes,
    },
    Single {
        id: BlobId,
        key: Option<SealedKey>,
        writer: Box<dyn Writer>,
    },
}

/// Computes the MD5 of a large upload while it is written. Uses no thread while nothing arrives.
struct Hasher {
    state: Hashing,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

enum Hashing {
    Idle(fast_md5::Md5),
    Busy(tokio::task::JoinHandle<fast_md5::Md5>),
    Lost,
}

impl Hasher {
    fn start() -> Self {
        Self { state: Hashing::Idle(fast_md5::Md5::new()), waiting: Vec::new(), waiting_bytes: 0 }
    }

    async fn update(&mut self, piece: Bytes) -> Result<()> {
        self.waiting_bytes += piece.len();
        self.waiting.push(piece);
        if self.waiting_bytes >= HASHED_AT_ONCE {
            let mut md5 = self.idle().await?;
            let pieces = std::mem::take(&mut self.waiting);
            self.waiting_bytes = 0;
            self.state = Hashing::Busy(tokio::task::spawn_blocking(move || {
                pieces.iter().for_each(|piece| md5.update(piece));
                md5
            }));
        }
        Ok(())
    }

    /// Waits for pending work and returns the hash so far.
    async fn idle(&mut self) -> Result<fast_md5::Md5> {
        match std::mem::replace(&mut self.state, Hashing::Lost) {
            Hashing::Idle(md5) => Ok(md5),
            Hashing::Busy(task) => task.await.map_err(|e| Error::Unavailable(e.to_string())),
            Hashing::Lost => Err(Error::Unavailable("hashing was interrupted".into())),
        }
    }

    async fn finish(mut self) -> Result<String> {
        let mut md5 = self.idle().await?;
        self.waiting.iter().for_each(|piece| md5.update(piece));
        Ok(hex::encode(md5.finalize()))
    }
}
