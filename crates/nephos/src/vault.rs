//! Stores images' bytes as objects in Cloud Files, each pinned to its version.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use files::model::metadata::{Changes, Metadata};
use files::service::{Body, Content, PutRequest};
use files::{Context, Files};
use hypervisor::Reader;
use identity::{Caller, TenantRef};
use images::{Object, Stored, Vault, VaultError};
use tokio::io::AsyncReadExt;
use tokio_util::io::StreamReader;

/// The container with images in each owner's account, named as the live service named it.
const CONTAINER: &str = "cloudservers";
/// Size of the pieces written to an object, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// Images' bytes in Cloud Files.
pub struct FilesVault {
    files: Files,
    /// The tenant whose account holds the images without a tenant.
    operator_tenant: String,
    context: Context,
}

impl FilesVault {
    /// Creates a vault on `files` that acts as the cloud itself.
    #[must_use]
    pub fn new(files: Files, operator_tenant: &str) -> Self {
        let caller = Caller {
            user_id: "images".into(),
            user_name: "images".into(),
            domain_id: "default".into(),
            tenant: Some(TenantRef {
                id: operator_tenant.into(),
                name: "images".into(),
                domain_id: "default".into(),
            }),
            roles: Vec::new(),
            grants: Vec::new(),
            operator: true,
            service: true,
            expires: work::Time(i64::MAX),
            delegation: None,
        };
        let context = Context { caller: Some(Arc::new(caller)), internal: true, ..Context::default() };
        Self { files, operator_tenant: operator_tenant.to_owned(), context }
    }

    fn account(&self, owner: Option<&str>) -> String {
        // The operator's images are for all tenants and must not appear in listings of the first tenant's account.
        owner.map_or_else(|| format!("SERVICE_{}", self.operator_tenant), |tenant| format!("AUTH_{tenant}"))
    }
}

#[async_trait]
impl Vault for FilesVault {
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError> {
        let account = self.account(object.owner.as_deref());
        self.files
            .put_container(&self.context, &account, CONTAINER, Changes::default(), None)
            .await
            .map_err(|e| refused(&e))?;
        let put = PutRequest {
            length: None,
            etag: None,
            content_type: "application/octet-stream".into(),
            metadata: Metadata::default(),
            only_new: false,
            shape: None,
            expires: None,
        };
        let mut body = Incoming(bytes);
        self.files
            .put_object(&self.context, &account, CONTAINER, &object.name, put, &mut body)
            .await
            .map_err(|e| refused(&e))?;
        let pin = format!("{account}/{CONTAINER}/{}", object.name);
        let pinned = self.files.pin(&self.context, &account, CONTAINER, &object.name, &pin).await;
        pinned.map(|pinned| Stored { pin, bytes: pinned.size }).map_err(|e| refused(&e))
    }

    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError> {
        let account = self.account(Some(owner));
        match self.files.pin(&self.context, &account, container, object, pin).await {
            Ok(pinned) => Ok(Stored { pin: pin.to_owned(), bytes: pinned.size }),
            Err(files::Error::NotFound) => Err(VaultError::NotFound(format!("{container}/{object}"))),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn open(&self, pin: &str) -> Result<Reader, VaultError> {
        let (_, content) = self.files.open_pin(pin).await.map_err(|error| match error {
            files::Error::NotFound => VaultError::NotFound(pin.to_owned()),
            other => refused(&other),
        })?;
        Ok(match content {
            Content::Whole(bytes) => Box::pin(io::Cursor::new(bytes)),
            Content::Stream(reader) => {
                let pieces = futures_util::stream::try_unfold(reader, |mut reader| async move {
                    let piece = reader.next().await.map_err(io::Error::other)?;
                    Ok::<_, io::Error>(piece.map(|piece| (piece, reader)))
                });
                Box::pin(StreamReader::new(Box::pin(pieces)))
            }
        })
    }

    async fn unpin(&self, pin: &str) -> Result<(), VaultError> {
        self.files.unpin(pin).await.map_err(|e| refused(&e))
    }
}

fn refused(error: &files::Error) -> VaultError {
    match error {
        files::Error::Forbidden | files::Error::TooLarge | files::Error::Full | files::Error::Invalid(_) => {
            VaultError::Refused(error.to_string())
        }
        other => VaultError::Failed(other.to_string()),
    }
}

struct Incoming(Reader);

#[async_trait]
impl Body for Incoming {
    async fn next(&mut self) -> files::Result<Option<Bytes>> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        while piece.len() < PIECE_BYTES {
            let read = self.0.read_buf(&mut piece).await.map_err(|_| files::Error::BrokeOff)?;
            if read == 0 {
                break;
            }
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}
