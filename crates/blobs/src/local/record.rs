//! A blob's record in a volume: header, data, checksum table, padding.
//!
//! ```text
//! 0   magic "NBLB"          8   length of the data, u64
//! 4   CRC32C of 8..40       16  blob id           32  CRC32C of the table   36  reserved
//! 40  data · table (a CRC32C per 64 KiB block) · zeros to a multiple of 8
//! ```

use crate::BlobId;
use crate::checksum::{Table, blocks, crc32c, first_bad_block};

pub(crate) const HEADER_BYTES: usize = 40;
const MAGIC: &[u8; 4] = b"NBLB";

/// The record of a blob.
pub(crate) fn encode(id: BlobId, data: &[u8]) -> Vec<u8> {
    let mut table = Table::default();
    table.update(data);
    let table = table.finish();
    let length = padded(HEADER_BYTES + data.len() + table.len());
    let mut record = Vec::with_capacity(length);
    record.extend_from_slice(MAGIC);
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&(data.len() as u64).to_le_bytes());
    record.extend_from_slice(&id.0);
    record.extend_from_slice(&crc32c(&table).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    let sum = crc32c(&record[8..HEADER_BYTES]);
    record[4..8].copy_from_slice(&sum.to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&table);
    record.resize(length, 0);
    record
}

/// The whole length of the record at the front of `bytes`, if one is there, complete and sound.
pub(crate) fn check(bytes: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let length = usize::try_from(read_header(header)?.1).ok()?;
    let table_bytes = usize::try_from(blocks(length as u64)).ok()? * 4;
    let data = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(length)?)?;
    let table = bytes.get(HEADER_BYTES + length..HEADER_BYTES + length + table_bytes)?;
    if crc32c(table).to_le_bytes() != header[32..36] || first_bad_block(data, table).is_some() {
        return None;
    }
    Some(padded(HEADER_BYTES + length + table_bytes))
}

/// The blob and data length that a sound header names.
pub(crate) fn read_header(header: &[u8; HEADER_BYTES]) -> Option<(BlobId, u64)> {
    if &header[..4] != MAGIC || crc32c(&header[8..]).to_le_bytes() != header[4..8] {
        return None;
    }
    let length = u64::from_le_bytes(header[8..16].try_into().ok()?);
    Some((BlobId::from_slice(&header[16..32])?, length))
}

/// The length of a whole record with that much data.
pub(crate) fn record_bytes(length: u64) -> u64 {
    (HEADER_BYTES as u64 + length + blocks(length) * 4).next_multiple_of(8)
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_no_record() {
        let record = encode(BlobId::new(), &vec![7; 100_000]);
        assert_eq!(check(&record), Some(record.len()));
        assert!(record.len().is_multiple_of(8));
        for cut in [0, 10, HEADER_BYTES, 50_000, record.len() - 9] {
            assert_eq!(check(&record[..cut]), None, "cut at {cut}");
        }
        for flip in [0, 5, 9, 20, 33, HEADER_BYTES, 70_000, HEADER_BYTES + 100_001] {
            let mut torn = record.clone();
            torn[flip] ^= 1;
            assert_eq!(check(&torn), None, "flipped at {flip}");
        }
    }
}
