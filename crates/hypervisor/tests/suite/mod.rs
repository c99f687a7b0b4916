//! What every host must do, whatever it is made of.
#![allow(dead_code, unused_imports)] // each test program uses a part

mod console;
mod life;
mod setting;
mod storage;

pub use setting::{Cast, Image, Setting};

use hypervisor::Hypervisor;

/// Builds a cloud's worth of things on the host, tries each call, and leaves the host as it was.
pub async fn run(host: &dyn Hypervisor, setting: &Setting) {
    let cast = Cast::new(setting);
    setting::networks(host, &cast).await;
    storage::images(host, setting, &cast).await;
    life::build(host, setting, &cast).await;
    life::first_boot(host, setting, &cast).await;
    life::password_and_addresses(host, setting, &cast).await;
    storage::snapshots(host, setting, &cast).await;
    life::pause_and_reboot(host, setting, &cast).await;
    storage::snapshot_of_machine_that_is_off(host, &cast).await;
    storage::disk_from_another_host(host, setting, &cast).await;
    storage::resize_and_revert(host, setting, &cast).await;
    storage::resize_and_confirm(host, setting, &cast).await;
    storage::rebuild(host, setting, &cast).await;
    life::delete(host, &cast).await;
}
