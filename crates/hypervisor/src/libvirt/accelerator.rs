//! Which accelerator a host's guests run under. KVM is trusted only once a guest has really run under it, since some
//! hosts offer a KVM on which guests hang.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::link::{Session, pause};
use super::sys::Connection;
use super::trouble::Outcome;
use super::uri::Wish;
use super::xml::escape;
use super::{names, transfer};
use crate::Accelerator;

/// How long the probe guest may take; it needs some tenths of a second.
const PROBE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Processor counters and the clock disagree a little; a reboot moves the boot time by more than this share of the
/// time since, or by more than this many seconds.
const CLOCK_SLACK_SECONDS: u64 = 120;
const CLOCK_SLACK_SHARE: u64 = 200;

const SAYS: &[u8] = b"nephos-accelerator-works";
/// Waits for two ticks of the timer, so that halting and interrupts are tried too, then says so on the serial port.
const PROBE: [u8; 43] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c,
    0xfb, // stack and segments, interrupts on
    0x8b, 0x1e, 0x6c, 0x04, // bx = ticks
    0xf4, 0xa1, 0x6c, 0x04, 0x29, 0xd8, 0x83, 0xf8, 0x02, 0x72, 0xf5, // halt until two more
    0xbe, 0x2b, 0x7c, 0xba, 0xf8, 0x03, // si = text, dx = serial port
    0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // write until a zero
    0xf4, 0xeb, 0xfd, // halt for good
];

/// The result of a probe and what it holds for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    accelerator: Accelerator,
    booted_at: u64,
    qemu: u64,
}

pub fn find(session: &Session, memory: Option<&Path>) -> Outcome<Accelerator> {
    match session.address.accelerator {
        Wish::Kvm => return Ok(Accelerator::Kvm),
        Wish::Tcg => return Ok(Accelerator::Tcg),
        Wish::Auto => {}
    }
    if !session.connection.capabilities()?.contains("<domain type='kvm'") {
        return Ok(Accelerator::Tcg);
    }
    let (qemu, _) = session.connection.versions()?;
    let booted_at = boot_time(&session.connection)?;
    if let Some(found) = memory.and_then(recall).filter(|found| found.holds_for(booted_at, qemu)) {
        return Ok(found.accelerator);
    }
    let works = probe(session)?;
    let accelerator = if works { Accelerator::Kvm } else { Accelerator::Tcg };
    tracing::info!(host = session.address.uri, ?accelerator, "probed");
    if let Some(memory) = memory {
        remember(memory, &Remembered { accelerator, booted_at, qemu });
    }
    Ok(accelerator)
}

impl Remembered {
    fn holds_for(&self, booted_at: u64, qemu: u64) -> bool {
        let now = seconds(SystemTime::now());
        let slack = (now.saturating_sub(booted_at) / CLOCK_SLACK_SHARE).max(CLOCK_SLACK_SECONDS);
        self.qemu == qemu && self.booted_at.abs_diff(booted_at) <= slack
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// When the host booted, in seconds since 1970: libvirt tells no boot id, but what its processors have counted since.
fn boot_time(connection: &Connection) -> Outcome<u64> {
    let (_, processors) = connection.node()?;
    let up = connection.processor_time_ns()? / u64::from(processors.max(1)) / 1_000_000_000;
    Ok(seconds(SystemTime::now()).saturating_sub(up))
}

fn recall(memory: &Path) -> Option<Remembered> {
    serde_json::from_slice(&std::fs::read(memory).ok()?).ok()
}

fn remember(memory: &Path, found: &Remembered) {
    let beside = memory.with_extension("new");
    let written = serde_json::to_vec(found)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(&beside, bytes))
        .and_then(|()| std::fs::rename(&beside, memory));
    if let Err(error) = written {
        tracing::warn!(file = %memory.display(), %error, "the accelerator's probe is not remembered");
    }
}

/// The probe's disk: a boot sector.
fn boot_sector() -> Vec<u8> {
    let mut sector = PROBE.to_vec();
    sector.extend(SAYS);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Runs a guest under KVM and sees whether it gets anywhere.
fn probe(session: &Session) -> Outcome<bool> {
    let store = session.store()?;
    let unique = uuid::Uuid::new_v4();
    let (disk, log) = (format!("probe-{unique}.raw"), format!("probe-{unique}.log"));
    let sector = boot_sector();
    let mut stream = store.replace_raw(&disk, sector.len() as u64)?;
    stream.send(&sector)?;
    stream.finish()?;
    store.ensure_raw(&log, 0)?;
    let ran = run(session, &probe_xml(unique, &store.path(&disk), &store.path(&log)), &log);
    store.remove(&disk)?;
    store.remove(&log)?;
    match ran {
        Err(super::trouble::Trouble::Fault(fault)) if session.connection.is_alive() => {
            tracing::info!(
                host = session.address.uri,
                reason = fault.message,
                "KVM is offered and does not start"
            );
            Ok(false)
        }
        answer => answer,
    }
}

fn run(session: &Session, xml: &str, log: &str) -> Outcome<bool> {
    let store = session.store()?;
    let domain = session.connection.run_domain(xml)?;
    let begin = Instant::now();
    let mut spoke = false;
    while !spoke && begin.elapsed() < PROBE_WITHIN {
        pause(LOOK_EVERY);
        let Some(volume) = store.find(log)? else { break };
        let said = transfer::read_some(store.read(&volume, 0, 0)?, 4096)?;
        spoke = said.windows(SAYS.len()).any(|words| words == SAYS);
    }
    let _ = domain.destroy();
    Ok(spoke)
}

fn probe_xml(unique: uuid::Uuid, disk: &str, log: &str) -> String {
    let (pool, disk, log) = (names::POOL, escape(disk), escape(log));
    format!(
        "<domain type='kvm'><name>{pool}-probe-{unique}</name><uuid>{unique}</uuid><memory unit='MiB'>32</memory>\
         <vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>\
         <features><acpi/><apic/></features><cpu mode='host-model'/>\
         <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot>\
         <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>\
         <target dev='hda' bus='ide'/></disk><serial type='pty'><log file='{log}' append='on'/>\
         <target port='0'/></serial><memballoon model='none'/></devices></domain>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_boot_sector_that_finds_its_text() {
        let sector = boot_sector();
        assert_eq!((sector.len(), &sector[510..]), (512, &[0x55, 0xaa][..]));
        let text = usize::from(u16::from_le_bytes([sector[27], sector[28]])) - 0x7c00;
        assert_eq!(&sector[text..text + SAYS.len()], SAYS);
    }

    #[test]
    fn a_result_holds_for_one_boot_and_one_qemu() {
        let booted_at = seconds(SystemTime::now()) - 1000;
        let found = Remembered { accelerator: Accelerator::Kvm, booted_at, qemu: 7_002_022 };
        assert!(found.holds_for(booted_at + 30, 7_002_022));
        assert!(!found.holds_for(booted_at + 500, 7_002_022));
        assert!(!found.holds_for(booted_at, 8_000_000));
    }
}
