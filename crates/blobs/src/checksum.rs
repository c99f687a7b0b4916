//! CRC32C checksums per block, stored as a table after the data.

use crc_fast::{CrcAlgorithm, checksum};

use crate::BLOCK_BYTES;

/// Returns the CRC32C (iSCSI) of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or_default()
}

/// Returns the number of blocks in `length` bytes.
pub(crate) fn blocks(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES as u64)
}

/// Computes a checksum table from bytes that arrive in pieces of any length.
#[derive(Default)]
pub(crate) struct Table {
    sums: Vec<u8>,
    pending: Vec<u8>,
}

impl Table {
    /// Adds the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if !self.pending.is_empty() {
            let take = (BLOCK_BYTES - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.pending.len() < BLOCK_BYTES {
                return;
            }
            self.sums.extend_from_slice(&crc32c(&self.pending).to_le_bytes());
            self.pending.clear();
        }
        let mut whole = bytes.chunks_exact(BLOCK_BYTES);
        for block in &mut whole {
            self.sums.extend_from_slice(&crc32c(block).to_le_bytes());
        }
        self.pending.extend_from_slice(whole.remainder());
    }

    /// Returns the table: four bytes per block.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if !self.pending.is_empty() {
            self.sums.extend_from_slice(&crc32c(&self.pending).to_le_bytes());
        }
        self.sums
    }
}

/// Returns the index of the first block of `data` whose checksum is not the one in `table`. `data` must begin at a block
/// boundary.
pub(crate) fn first_bad_block(data: &[u8], table: &[u8]) -> Option<usize> {
    data.chunks(BLOCK_BYTES)
        .zip(table.chunks_exact(4))
        .position(|(block, sum)| crc32c(block).to_le_bytes() != *sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc32c_matches_the_standard_test_vector() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_table_does_not_depend_on_piece_length(len in 0usize..300_000, piece in 1usize..100_000) {
            let data: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let mut whole = Table::default();
            whole.update(&data);
            let mut pieces = Table::default();
            data.chunks(piece).for_each(|p| pieces.update(p));
            let table = whole.finish();
            prop_assert_eq!(&table, &pieces.finish());
            prop_assert_eq!(table.len() as u64, blocks(len as u64) * 4);
            prop_assert_eq!(first_bad_block(&data, &table), None);
            if len > 0 {
                let mut torn = data.clone();
                torn[len / 2] ^= 1;
                prop_assert_eq!(first_bad_block(&torn, &table), Some(len / 2 / BLOCK_BYTES));
            }
        }
    }
}
