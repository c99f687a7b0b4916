//! Reading in blocks, from the page cache inline where the bytes are there, else on a thread that may wait.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::ReadWriteFlags;

use crate::buffers::{BUFFER_BYTES, Buffer};
use crate::checksum::{blocks, first_bad_block};
use crate::error::{Error, Result};
use crate::{BLOCK_BYTES, BlobId, Reader};

/// Blocks in one read.
const READ_BLOCKS: u64 = (BUFFER_BYTES / BLOCK_BYTES) as u64;
/// Checksums fetched at once: enough for 64 MiB of data.
const TABLE_BLOCKS: u64 = 1024;

pub(super) struct BlockReader {
    id: BlobId,
    file: Arc<File>,
    /// Where the data begins in the file; the table follows it.
    start: u64,
    length: u64,
    next: u64,
    end: u64,
    table: Vec<u8>,
    table_first_block: u64,
}

impl BlockReader {
    pub(super) fn new(id: BlobId, file: Arc<File>, start: u64, length: u64, range: Range<u64>) -> Self {
        let end = range.end.min(length);
        Self { id, file, start, length, next: range.start, end, table: Vec::new(), table_first_block: 0 }
    }

    /// A blob of one block: data and checksum lie side by side and come with one read.
    async fn read_single_block(&mut self) -> Result<Bytes> {
        let length = usize::try_from(self.length).unwrap_or(0);
        let mut bytes = vec![0; length + 4];
        bytes = fill(&self.file, bytes, self.start).await.map_err(|e| self.failed(&e))?;
        if first_bad_block(&bytes[..length], &bytes[length..]).is_some() {
            return Err(self.corrupt(0));
        }
        let part = usize::try_from(self.next).unwrap_or(0)..usize::try_from(self.end).unwrap_or(0);
        self.next = self.end;
        Ok(Bytes::from(bytes).slice(part))
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

    /// Makes the sums of blocks `first..last` available.
    async fn fetch_table(&mut self, first: u64, last: u64) -> Result<()> {
        let have = self.table_first_block..self.table_first_block + (self.table.len() / 4) as u64;
        if first >= have.start && last <= have.end {
            return Ok(());
        }
        let upto = blocks(self.length).min(first + TABLE_BLOCKS);
        let bytes = vec![0; usize::try_from((upto - first) * 4).unwrap_or(0)];
        let at = self.start + self.length + first * 4;
        self.table = fill(&self.file, bytes, at).await.map_err(|e| self.failed(&e))?;
        self.table_first_block = first;
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Error::Corrupt { id: self.id.to_string(), what: "it ends too early".into() };
        }
        Error::io("reading a blob", error)
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

/// Fills all of `bytes` from the page cache, and says how much was there without waiting.
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
