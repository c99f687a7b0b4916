//! Reads blobs in blocks: directly if the bytes are in the page cache, otherwise on a blocking thread.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::ReadWriteFlags;

use super::record::{HEADER_BYTES, read_header};
use crate::buffers::{BUFFER_BYTES, Buffer};
use crate::checksum::{blocks, crc32c, first_bad_block};
use crate::error::{Error, Result};
use crate::{BLOCK_BYTES, BlobId, Location, Reader};

/// Blocks per read.
const READ_BLOCKS: u64 = (BUFFER_BYTES / BLOCK_BYTES) as u64;
/// Checksums fetched per read: those of 64 MiB of data.
const TABLE_BLOCKS: u64 = 1024;

pub(super) struct BlockReader {
    id: BlobId,
    file: Arc<File>,
    /// Bytes of record header before the data; 0 in a blob's own file.
    header: usize,
    /// Offset of the data in the file. The checksum table follows the data.
    start: u64,
    length: u64,
    next: u64,
    end: u64,
    table: Vec<u8>,
    table_first_block: u64,
}

impl BlockReader {
    /// Creates a reader of a blob in a file of its own.
    pub(super) fn single(id: BlobId, file: Arc<File>, length: u64, range: Range<u64>) -> Self {
        Self::new(id, file, (0, 0), length, range)
    }

    /// Creates a reader of the record at `offset` in a volume.
    pub(super) fn packed(id: BlobId, file: Arc<File>, offset: u64, length: u64, range: Range<u64>) -> Self {
        Self::new(id, file, (HEADER_BYTES, offset + HEADER_BYTES as u64), length, range)
    }

    fn new(
        id: BlobId,
        file: Arc<File>,
        (header, start): (usize, u64),
        length: u64,
        range: Range<u64>,
    ) -> Self {
        let end = range.end.min(length);
        let (table, table_first_block) = (Vec::new(), 0);
        Self { id, file, header, start, length, next: range.start, end, table, table_first_block }
    }

    /// Reads a blob of one block. Header, data and checksum are adjacent, so one read fetches all three.
    async fn read_single_block(&mut self) -> Result<Bytes> {
        let (ahead, length) = (self.header, usize::try_from(self.length).unwrap_or(0));
        let mut bytes = vec![0; ahead + length + 4];
        bytes = fill(&self.file, bytes, self.start - ahead as u64).await.map_err(|e| self.failed(&e))?;
        self.check_owner(&bytes[..ahead])?;
        if first_bad_block(&bytes[ahead..ahead + length], &bytes[ahead + length..]).is_some() {
            return Err(self.corrupt(0));
        }
        let part = |at: u64| ahead + usize::try_from(at).unwrap_or(0);
        let part = part(self.next)..part(self.end);
        self.next = self.end;
        Ok(Bytes::from(bytes).slice(part))
    }

    /// Rejects a record that belongs to another blob. A damaged header is ignored: the data has its own checksums, and the
    /// scrub reports the header.
    fn check_owner(&self, header: &[u8]) -> Result<()> {
        match header.try_into().ok().and_then(read_header) {
            Some(found) if found != (self.id, self.length) => {
                Err(Error::Corrupt { id: self.id.to_string(), what: "another blob is in its place".into() })
            }
            _ => Ok(()),
        }
    }

    async fn read_blocks(&mut self) -> Result<Bytes> {
        let first = self.next / BLOCK_BYTES as u64;
        let last = blocks(self.end).min(first + READ_BLOCKS);
        self.fetch_table(first, last).await?;
        let from = first * BLOCK_BYTES as u64;
        let upto = (last * BLOCK_BYTES as u64).min(self.length);
        let length = usize::try_from(upto - from).unwrap_or(0);
        let buffer = fill_buffer(&self.file, length, self.start + from).await.map_err(|e| self.failed(&e))?;
        let mut buffer = buffer;
        let skip = usize::try_from((first - self.table_first_block) * 4).unwrap_or(0);
        if let Some(bad) = first_bad_block(buffer.space(length), &self.table[skip..]) {
            return Err(self.corrupt(first + bad as u64));
        }
        let part_start = usize::try_from(self.next - from).unwrap_or(0);
        let part_end = usize::try_from(self.end.min(upto) - from).unwrap_or(0);
        self.next = self.end.min(upto);
        Ok(buffer.view(part_start..part_end))
    }

    /// Loads the checksums of blocks `first..last`.
    async fn fetch_table(&mut self, first: u64, last: u64) -> Result<()> {
        let have = self.table_first_block..self.table_first_block + (self.table.len() / 4) as u64;
        if first >= have.start && last <= have.end {
            return Ok(());
        }
        if self.table.is_empty() && self.header > 0 {
            let header = fill(&self.file, vec![0; self.header], self.start - self.header as u64).await;
            self.check_owner(&header.map_err(|e| self.failed(&e))?)?;
        }
        let upto = blocks(self.length).min(first + TABLE_BLOCKS);
        let bytes = vec![0; usize::try_from((upto - first) * 4).unwrap_or(0)];
        let at = self.start + self.length + first * 4;
        self.table = fill(&self.file, bytes, at).await.map_err(|e| self.failed(&e))?;
        self.table_first_block = first;
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        failed(self.id, error)
    }

    fn corrupt(&self, block: u64) -> Error {
        let error = Error::Corrupt { id: self.id.to_string(), what: format!("checksum of block {block}") };
        tracing::error!(%error, "not served");
        error
    }
}

#[async_trait]
impl Reader for BlockReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let single = self.length <= BLOCK_BYTES as u64;
        let piece = if single { self.read_single_block().await? } else { self.read_blocks().await? };
        Ok(Some(piece))
    }
}

fn failed(id: BlobId, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::Corrupt { id: id.to_string(), what: "the file ends before the blob does".into() };
    }
    Error::io("reading a blob", error)
}

/// Verifies that a record's header is intact and names this blob, and that its checksum table is intact.
///
/// # Errors
/// [`Error::Corrupt`], naming the damaged part.
pub(super) async fn check_header(id: BlobId, file: &Arc<File>, location: Location) -> Result<()> {
    let start = u64::try_from(location.offset).unwrap_or(u64::MAX);
    let corrupt = |what: &str| Error::Corrupt { id: id.to_string(), what: what.into() };
    let header = fill(file, vec![0; HEADER_BYTES], start).await.map_err(|e| failed(id, &e))?;
    match header.as_slice().try_into().ok().and_then(read_header) {
        None => return Err(corrupt("checksum of its header")),
        Some(found) if found != (id, location.length) => return Err(corrupt("another blob is in its place")),
        Some(_) => {}
    }
    let table = vec![0; usize::try_from(blocks(location.length) * 4).unwrap_or(0)];
    let table =
        fill(file, table, start + HEADER_BYTES as u64 + location.length).await.map_err(|e| failed(id, &e))?;
    if crc32c(&table).to_le_bytes() != header[32..36] {
        return Err(corrupt("checksum of its checksums"));
    }
    Ok(())
}

/// Checks that a record does not belong to another blob. A damaged header is ignored.
///
/// # Errors
/// [`Error::Corrupt`] if it does.
pub(super) async fn check_owner(id: BlobId, file: &Arc<File>, location: Location) -> Result<()> {
    let start = u64::try_from(location.offset).unwrap_or(u64::MAX);
    let header = fill(file, vec![0; HEADER_BYTES], start).await.map_err(|e| failed(id, &e))?;
    match header.as_slice().try_into().ok().and_then(read_header) {
        Some(found) if found != (id, location.length) => {
            Err(Error::Corrupt { id: id.to_string(), what: "another blob is in its place".into() })
        }
        _ => Ok(()),
    }
}

/// Reads a record's data and checksum table without verifying them.
pub(super) async fn raw(file: Arc<File>, location: Location) -> Result<(Vec<u8>, Vec<u8>)> {
    let length = usize::try_from(location.length).unwrap_or(0);
    let table = usize::try_from(blocks(location.length) * 4).unwrap_or(0);
    let start = u64::try_from(location.offset).unwrap_or(u64::MAX) + HEADER_BYTES as u64;
    let bytes =
        fill(&file, vec![0; length + table], start).await.map_err(|e| Error::io("reading a blob", &e))?;
    let (data, table) = bytes.split_at(length);
    Ok((data.to_vec(), table.to_vec()))
}

/// Fills `bytes` from the page cache without blocking and returns how many bytes were read.
fn cached(file: &File, bytes: &mut [u8], at: u64) -> usize {
    let mut slices = [IoSliceMut::new(bytes)];
    rustix::io::preadv2(file, &mut slices, at, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

async fn fill(file: &Arc<File>, mut bytes: Vec<u8>, at: u64) -> std::io::Result<Vec<u8>> {
    let done = cached(file, &mut bytes, at);
    if done == bytes.len() {
        return Ok(bytes);
    }
    let file = Arc::clone(file);
    blocking(move || file.read_exact_at(&mut bytes[done..], at + done as u64).map(|()| bytes)).await
}

async fn fill_buffer(file: &Arc<File>, length: usize, at: u64) -> std::io::Result<Buffer> {
    let mut buffer = Buffer::take();
    let done = cached(file, buffer.space(length), at);
    if done == length {
        return Ok(buffer);
    }
    let file = Arc::clone(file);
    blocking(move || file.read_exact_at(&mut buffer.space(length)[done..], at + done as u64).map(|()| buffer))
        .await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(std::io::Error::other(e)))
}
