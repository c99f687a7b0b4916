//! The same suite on every kind of host.

mod suite;

use std::path::PathBuf;

use hypervisor::simulated::{Settings, SimulatedHost};
use hypervisor::{Boot, Options, open};
use suite::{Image, SuiteConfig};

#[tokio::test(start_paused = true)]
async fn simulated_host() {
    let settings = Settings::parse("simulated:?delay=500").unwrap();
    let host = SimulatedHost::fleet(&settings, None).unwrap().remove(0);
    suite::run(&host, &SuiteConfig::simulated()).await;
}

/// Needs a libvirt daemon in its own network namespace, and the test guest.
#[tokio::test(flavor = "multi_thread")]
async fn libvirt_host() {
    let variable = |name: &str| {
        std::env::var(name)
            .unwrap_or_else(|_| panic!("{name} is not set: run the tests by `tests/hosts/hypervisor.sh`"))
    };
    let guest = PathBuf::from(variable("NEPHOS_TEST_GUEST"));
    let read = |name: &str| {
        let path = guest.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let command_line = String::from_utf8(read("cmdline")).unwrap().trim().to_owned();
    let config = SuiteConfig {
        image: Image { disk: read("guest.qcow2"), kernel: read("vmlinuz"), initrd: read("initrd.gz") },
        virtual_bytes: 128 << 20,
        boot: Boot::Kernel { command_line },
        runs_guests: true,
        namespace: std::env::var("NEPHOS_TEST_NAMESPACE").ok(),
    };
    let host = open(&variable("NEPHOS_TEST_LIBVIRT"), &Options::default()).unwrap().remove(0);
    suite::run(host.as_ref(), &config).await;
}
