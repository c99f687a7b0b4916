//! Flavors: the sizes of servers.

/// A flavor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// Its id in v1.0 and in the database.
    pub number: i64,
    /// Its name.
    pub name: &'static str,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Disk, in GiB.
    pub disk_gib: u32,
    /// Number of virtual processors.
    pub vcpus: u32,
    /// CPU weight relative to other machines on the host.
    pub cpu_shares: u32,
}

const fn first_generation(number: i64, name: &'static str, memory_mib: u32, disk_gib: u32) -> Flavor {
    // CPU weight is proportional to memory (guide, Flavor: "priority for CPU time").
    Flavor {
        number,
        name,
        memory_mib,
        disk_gib,
        vcpus: if memory_mib < 2048 { 1 } else { 2 },
        cpu_shares: memory_mib / 2,
    }
}

/// All flavors in list order.
pub const FLAVORS: [Flavor; 7] = [
    first_generation(1, "256 MB Server", 256, 10),
    first_generation(2, "512 MB Server", 512, 20),
    first_generation(3, "1 GB Server", 1024, 40),
    first_generation(4, "2 GB Server", 2048, 80),
    first_generation(5, "4 GB Server", 4096, 160),
    first_generation(6, "8 GB Server", 8192, 320),
    first_generation(7, "15.5 GB Server", 15872, 620),
];

impl Flavor {
    /// Returns the flavor with this v1.0 id.
    #[must_use]
    pub fn by_number(number: i64) -> Option<&'static Self> {
        FLAVORS.iter().find(|flavor| flavor.number == number)
    }

    /// Its disk in bytes.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        u64::from(self.disk_gib) << 30
    }
}
