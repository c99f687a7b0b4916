//! The cache: heads and pieces of bodies, in memory and on disk.
//!
//! Each entry on disk has a checksum of its key and value, which is verified when it is read. An unreadable entry is a miss.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, Error, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, RecoverMode, S3FifoConfig,
};

use super::head::{CHUNK, Head};
use crate::model::Hash;

/// Sizes and location of an edge's cache.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Bytes in memory.
    pub memory: usize,
    /// The directory and size in bytes of the cache on disk; `None` for a cache in memory only.
    pub disk: Option<(PathBuf, usize)>,
}

/// Maximum number of bytes that wait to be written to disk. Further entries are not written.
const WRITE_BUFFER: usize = 16 << 20;
/// Size in bytes of the blocks in which the cache on disk is evicted. An entry fits into one block.
const BLOCK: usize = 16 << 20;
/// Maximum length of a name in bytes, on disk.
const NAME_MAX: u32 = 4096;

/// Key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) site: Hash,
    pub(super) path: Arc<str>,
    pub(super) part: Part,
}

/// The part of an object that an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Head,
    /// The piece with this number, of the representation with this tag.
    Chunk(u32, Arc<str>),
}

/// An entry.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Head(Arc<Head>),
    Chunk(Bytes),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Head(head) => head.size(),
            Self::Chunk(bytes) => bytes.len() + 64,
        }
    }
}

fn text(reader: &mut impl Read) -> foyer::Result<Arc<str>> {
    let length = number(reader)?;
    if length > NAME_MAX {
        return Err(damaged());
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    String::from_utf8(bytes).map(Into::into).map_err(|_| damaged())
}

fn number(reader: &mut impl Read) -> foyer::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(u32::from_le_bytes(bytes))
}

fn write_text(text: &str, writer: &mut impl Write) -> foyer::Result<()> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    writer.write_all(&length.to_le_bytes()).map_err(Error::io_error)?;
    writer.write_all(text.as_bytes()).map_err(Error::io_error)
}

fn damaged() -> Error {
    Error::io_error(std::io::ErrorKind::InvalidData.into())
}

impl Code for Key {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        writer.write_all(&self.site.to_bytes()).map_err(Error::io_error)?;
        write_text(&self.path, writer)?;
        match &self.part {
            Part::Head => writer.write_all(&u32::MAX.to_le_bytes()).map_err(Error::io_error),
            Part::Chunk(number, tag) => {
                writer.write_all(&number.to_le_bytes()).map_err(Error::io_error)?;
                write_text(tag, writer)
            }
        }
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut site = [0; 16];
        reader.read_exact(&mut site).map_err(Error::io_error)?;
        let site = Hash::from_bytes(&site).ok_or_else(damaged)?;
        let path = text(reader)?;
        let part = match number(reader)? {
            u32::MAX => Part::Head,
            number => Part::Chunk(number, text(reader)?),
        };
        Ok(Self { site, path, part })
    }

    fn estimated_size(&self) -> usize {
        let tag = if let Part::Chunk(_, tag) = &self.part { 4 + tag.len() } else { 0 };
        16 + 4 + self.path.len() + 4 + tag
    }
}

impl Code for Value {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        match self {
            Self::Head(head) => {
                writer.write_all(b"h").map_err(Error::io_error)?;
                head.encode(writer).map_err(Error::io_error)
            }
            Self::Chunk(bytes) => {
                writer.write_all(b"c").map_err(Error::io_error)?;
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                writer.write_all(&length.to_le_bytes()).map_err(Error::io_error)?;
                writer.write_all(bytes).map_err(Error::io_error)
            }
        }
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut kind = [0; 1];
        reader.read_exact(&mut kind).map_err(Error::io_error)?;
        match &kind {
            b"h" => Ok(Self::Head(Arc::new(Head::decode(reader).map_err(Error::io_error)?))),
            b"c" => {
                let length = number(reader)?;
                if u64::from(length) > CHUNK {
                    return Err(damaged());
                }
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes).map_err(Error::io_error)?;
                Ok(Self::Chunk(bytes.into()))
            }
            _ => Err(damaged()),
        }
    }

    fn estimated_size(&self) -> usize {
        self.size()
    }
}

/// The cache.
pub(super) struct Cache(HybridCache<Key, Value>);

impl Cache {
    /// Opens the cache with the entries that an earlier process left on disk. If the disk cannot be used, it works in memory only.
    pub(super) async fn open(settings: &CacheSettings) -> Self {
        if let Some((dir, bytes)) = &settings.disk {
            // In its own task, because the library panics on some failures.
            let (memory, place, bytes) = (settings.memory, dir.clone(), *bytes);
            let opened = tokio::spawn(async move { on_disk(memory, &place, bytes).await }).await;
            let reason = match opened {
                Ok(Ok(cache)) => return Self(cache),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(reason, dir = %dir.display(), "the edge's cache on disk cannot be used");
        }
        let built = in_memory(settings.memory).storage().build().await;
        Self(built.expect("a cache without a disk opens nothing"))
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.0.close().await {
            tracing::warn!(%error, "the edge's cache was not written to the disk");
        }
    }

    /// Returns an entry that is in memory.
    pub(super) fn in_memory(&self, key: &Key) -> Option<Value> {
        self.0.memory().get(key).map(|entry| entry.value().clone())
    }

    /// Returns an entry from memory or disk.
    pub(super) async fn get(&self, key: &Key) -> Option<Value> {
        if let Some(value) = self.in_memory(key) {
            return Some(value);
        }
        match self.0.get(key).await {
            Ok(entry) => entry.map(|entry| entry.value().clone()),
            Err(error) => {
                tracing::warn!(%error, "an entry of the edge's cache cannot be read");
                None
            }
        }
    }

    pub(super) fn put(&self, key: Key, value: Value) {
        self.0.insert(key, value);
    }

    pub(super) fn remove(&self, key: &Key) {
        self.0.remove(key);
    }
}

fn in_memory(bytes: usize) -> foyer::HybridCacheBuilderPhaseMemory<Key, Value, foyer::DefaultHasher> {
    HybridCacheBuilder::new()
        .with_name("edge")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(bytes)
        .with_shards(4)
        .with_eviction_config(S3FifoConfig::default())
        .with_weighter(|key: &Key, value: &Value| key.estimated_size() + value.size())
}

async fn on_disk(
    memory: usize,
    dir: &std::path::Path,
    bytes: usize,
) -> foyer::Result<HybridCache<Key, Value>> {
    std::fs::create_dir_all(dir).map_err(Error::io_error)?;
    let device = FsDeviceBuilder::new(dir).with_capacity(bytes).build()?;
    let engine = BlockEngineConfig::new(device).with_block_size(BLOCK).with_buffer_pool_size(WRITE_BUFFER);
    in_memory(memory).storage().with_engine_config(engine).with_recover_mode(RecoverMode::Quiet).build().await
}
