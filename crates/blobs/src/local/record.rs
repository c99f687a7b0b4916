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

/// Encodes a blob's record.
pub(crate) fn encode(id: BlobId, data: &[u8]) -> Vec<u8> {
    let mut table = Table::default();
    table.update(data);
    join(id, data, &table.finish())
}

/// Encodes a blob's record with its existing checksum table; returns whether the data fails those checksums. A damaged blob
/// keeps its checksums, so that intact blocks can still be read and damaged ones are still rejected.
pub(crate) fn encode_with_table(id: BlobId, data: &[u8], table: &[u8]) -> (Vec<u8>, bool) {
    (join(id, data, table), first_bad_block(data, table).is_some())
}

fn join(id: BlobId, data: &[u8], table: &[u8]) -> Vec<u8> {
    let length = padded(HEADER_BYTES + data.len() + table.len());
    let mut record = Vec::with_capacity(length);
    record.extend_from_slice(MAGIC);
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&(data.len() as u64).to_le_bytes());
    record.extend_from_slice(&id.0);
    record.extend_from_slice(&crc32c(table).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    let sum = crc32c(&record[8..HEADER_BYTES]);
    record[4..8].copy_from_slice(&sum.to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(table);
    record.resize(length, 0);
    record
}

/// Returns the blob id and data length of a header, or `None` if its checksum is wrong.
pub(crate) fn read_header(header: &[u8; HEADER_BYTES]) -> Option<(BlobId, u64)> {
    if &header[..4] != MAGIC || crc32c(&header[8..]).to_le_bytes() != header[4..8] {
        return None;
    }
    let length = u64::from_le_bytes(header[8..16].try_into().ok()?);
    Some((BlobId::from_slice(&header[16..32])?, length))
}

/// Returns the length of the record of a blob of `length` bytes: header, data, checksums and padding.
#[must_use]
pub fn record_bytes(length: u64) -> u64 {
    (HEADER_BYTES as u64 + length + blocks(length) * 4).next_multiple_of(8)
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_any_bit_flipped_is_rejected() {
        let id = BlobId::new();
        let record = encode(id, &vec![7; 100_000]);
        let header: [u8; HEADER_BYTES] = record[..HEADER_BYTES].try_into().unwrap();
        assert_eq!(read_header(&header), Some((id, 100_000)));
        assert_eq!(record.len() as u64, record_bytes(100_000));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_header(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_damaged_blob_keeps_its_damage_when_it_is_relocated() {
        let id = BlobId::new();
        let data = vec![7; 200_000];
        let record = encode(id, &data);
        let table = &record[HEADER_BYTES + data.len()..HEADER_BYTES + data.len() + 16];
        assert_eq!(encode_with_table(id, &data, table), (record.clone(), false));
        let mut bad = data.clone();
        bad[70_000] ^= 1;
        let (moved, damaged) = encode_with_table(id, &bad, table);
        assert!(damaged);
        assert_eq!(first_bad_block(&moved[HEADER_BYTES..HEADER_BYTES + bad.len()], table), Some(1));
    }
}
