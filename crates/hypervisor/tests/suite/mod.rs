//! The conformance suite: behaviour required of every host.
#![allow(dead_code, unused_imports)] // each test program uses only a part

mod config;
mod console;
mod lifecycle;
mod storage;

pub use config::{Image, SuiteConfig, TestObjects};

use hypervisor::Hypervisor;

/// Creates networks, images and machines on the host, tests each call, and removes everything again.
pub async fn run(host: &dyn Hypervisor, config: &SuiteConfig) {
    let objects = TestObjects::new(config);
    config::networks(host, &objects).await;
    storage::images(host, config, &objects).await;
    lifecycle::build(host, config, &objects).await;
    lifecycle::first_boot(host, config, &objects).await;
    lifecycle::password_and_addresses(host, config, &objects).await;
    storage::snapshots(host, config, &objects).await;
    lifecycle::pause_and_reboot(host, config, &objects).await;
    storage::snapshot_of_machine_that_is_off(host, &objects).await;
    storage::disk_from_another_host(host, config, &objects).await;
    storage::resize_and_revert(host, config, &objects).await;
    storage::resize_and_confirm(host, config, &objects).await;
    storage::rebuild(host, config, &objects).await;
    lifecycle::delete(host, &objects).await;
}
