//! The smallest qcow2 that all tools accept: the content of every snapshot of a simulated disk.

const CLUSTER: usize = 65_536;
const SECTOR: u64 = 512;
/// A cluster of L1 entries maps 8192 times 512 MiB.
pub const LARGEST_BYTES: u64 = 4 << 40;

/// Returns an empty qcow2 (version 2) of this virtual size, at most [`LARGEST_BYTES`].
pub fn qcow2(virtual_bytes: u64) -> Vec<u8> {
    let virtual_bytes = virtual_bytes.clamp(SECTOR, LARGEST_BYTES);
    let mapped_by_entry = 512 << 20;
    let l1_entries = virtual_bytes.div_ceil(mapped_by_entry) as u32;
    let mut file = vec![0; 4 * CLUSTER];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"QFI\xfb");
    put(&2u32.to_be_bytes());
    put(&0u64.to_be_bytes()); // backing file: none
    put(&0u32.to_be_bytes());
    put(&16u32.to_be_bytes()); // cluster bits
    put(&virtual_bytes.to_be_bytes());
    put(&0u32.to_be_bytes()); // encryption: none
    put(&l1_entries.to_be_bytes());
    put(&(3 * CLUSTER as u64).to_be_bytes()); // L1 table
    put(&(CLUSTER as u64).to_be_bytes()); // refcount table
    put(&1u32.to_be_bytes());
    file[CLUSTER..CLUSTER + 8].copy_from_slice(&(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        let entry = 2 * CLUSTER + 2 * cluster;
        file[entry..entry + 2].copy_from_slice(&1u16.to_be_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn qemu_img_finds_no_errors() {
        let path = std::env::temp_dir().join(format!("blank-{}.qcow2", std::process::id()));
        for gib in [1, 10, 620] {
            std::fs::write(&path, super::qcow2(gib << 30)).unwrap();
            let check = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&path).output().unwrap();
            assert!(check.status.success(), "{gib} GiB: {}", String::from_utf8_lossy(&check.stderr));
        }
        std::fs::remove_file(&path).unwrap();
    }
}
