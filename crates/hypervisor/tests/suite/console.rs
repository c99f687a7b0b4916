//! Reads guests' console logs.

use hypervisor::{Hypervisor, Power};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::config::eventually;

/// Reads the part of the log after `bytes`, in small pieces.
async fn read_on(host: &dyn Hypervisor, machine: Uuid, bytes: &mut Vec<u8>) {
    loop {
        let chunk = host.console(machine, bytes.len() as u64, 1000).await.unwrap();
        assert_eq!(chunk.offset, bytes.len() as u64);
        assert!(chunk.bytes.len() <= 1000 && chunk.end >= chunk.offset + chunk.bytes.len() as u64);
        if chunk.bytes.is_empty() {
            return;
        }
        bytes.extend(chunk.bytes);
    }
}

/// Returns the whole log.
pub async fn whole(host: &dyn Hypervisor, machine: Uuid) -> String {
    let mut bytes = Vec::new();
    read_on(host, machine, &mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until the guest has reported `boots` complete boots, and returns the report of the last one.
pub async fn wait_for_boot(host: &dyn Hypervisor, machine: Uuid, boots: usize) -> String {
    let log = Mutex::new(Vec::new());
    eventually("the guest's report", || async {
        let state = host.state(machine).await.unwrap();
        let mut log = log.lock().await;
        read_on(host, machine, &mut log).await;
        let log = String::from_utf8_lossy(&log);
        assert!(matches!(state.power, Power::Running | Power::Paused), "{state:?}\n{log}");
        let reports: Vec<_> = log.split("NEPHOS-GUEST ready").collect();
        (reports.len() > boots).then(|| reports[boots - 1].to_owned())
    })
    .await
}
