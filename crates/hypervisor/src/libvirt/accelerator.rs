//! Determines a host's accelerator. KVM is used only after a probe guest has run under it, because some hosts offer a
//! KVM on which guests hang.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::Outcome;
use super::link::{Session, pause};
use super::sys::Connection;
use super::uri::AcceleratorChoice;
use super::xml::escape;
use super::{names, transfer};
use crate::Accelerator;

/// Time limit of the probe guest, which needs some tenths of a second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Tolerance of the computed boot time, because processor counters and the clock differ a little: this many seconds,
/// or this share of the uptime. A larger difference means that the host was rebooted.
const CLOCK_SLACK_SECONDS: u64 = 120;
const CLOCK_SLACK_SHARE: u64 = 200;

const PROBE_TEXT: &[u8] = b"nephos-accelerator-works";
/// Waits for two ticks of the timer, which also tests halting and interrupts, then writes the text to the serial port.
const PROBE: [u8; 43] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c,
    0xfb, // stack and segments, interrupts on
    0x8b, 0x1e, 0x6c, 0x04, // bx = ticks
    0xf4, 0xa1, 0x6c, 0x04, 0x29, 0xd8, 0x83, 0xf8, 0x02, 0x72, 0xf5, // halt until two more
    0xbe, 0x2b, 0x7c, 0xba, 0xf8, 0x03, // si = text, dx = serial port
    0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // write until a zero
    0xf4, 0xeb, 0xfd, // halt forever
];

/// The result of a probe, and the boot and QEMU version that it is valid for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ProbeResult {
    accelerator: Accelerator,
    booted_at: u64,
    qemu: u64,
}

pub fn find(session: &Session, probe_file: Option<&Path>) -> Outcome<Accelerator> {
    match session.address.accelerator {
        AcceleratorChoice::Kvm => return Ok(Accelerator::Kvm),
        AcceleratorChoice::Tcg => return Ok(Accelerator::Tcg),
        AcceleratorChoice::Auto => {}
    }
    if !session.connection.capabilities()?.contains("<domain type='kvm'") {
        return Ok(Accelerator::Tcg);
    }
    let (qemu, _) = session.connection.versions()?;
    let booted_at = boot_time(&session.connection)?;
    if let Some(found) = probe_file.and_then(load).filter(|found| found.is_valid_for(booted_at, qemu)) {
        return Ok(found.accelerator);
    }
    let works = probe(session)?;
    let accelerator = if works { Accelerator::Kvm } else { Accelerator::Tcg };
    tracing::info!(host = session.address.uri, ?accelerator, "probed the accelerator");
    if let Some(file) = probe_file {
        save(file, &ProbeResult { accelerator, booted_at, qemu });
    }
    Ok(accelerator)
}

impl ProbeResult {
    fn is_valid_for(&self, booted_at: u64, qemu: u64) -> bool {
        let now = seconds(SystemTime::now());
        let slack = (now.saturating_sub(booted_at) / CLOCK_SLACK_SHARE).max(CLOCK_SLACK_SECONDS);
        self.qemu == qemu && self.booted_at.abs_diff(booted_at) <= slack
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns when the host booted, in seconds since 1970. libvirt has no boot id, so this is computed from the
/// processor time since the boot.
fn boot_time(connection: &Connection) -> Outcome<u64> {
    let (_, processors) = connection.node()?;
    let up = connection.processor_time_ns()? / u64::from(processors.max(1)) / 1_000_000_000;
    Ok(seconds(SystemTime::now()).saturating_sub(up))
}

fn load(file: &Path) -> Option<ProbeResult> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn save(file: &Path, found: &ProbeResult) {
    let temporary = file.with_extension("new");
    let written = serde_json::to_vec(found)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(&temporary, bytes))
        .and_then(|()| std::fs::rename(&temporary, file));
    if let Err(error) = written {
        tracing::warn!(file = %file.display(), %error, "cannot store the result of the accelerator's probe; the next start probes again");
    }
}

/// Returns the probe's disk: a boot sector.
fn boot_sector() -> Vec<u8> {
    let mut sector = PROBE.to_vec();
    sector.extend(PROBE_TEXT);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Runs the probe guest under KVM and returns whether it worked.
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
        Err(super::error::LibvirtError::Fault(fault)) if session.connection.is_alive() => {
            tracing::info!(
                host = session.address.uri,
                reason = fault.message,
                "the host offers KVM but cannot start a guest with it; using TCG"
            );
            Ok(false)
        }
        result => result,
    }
}

fn run(session: &Session, xml: &str, log: &str) -> Outcome<bool> {
    let store = session.store()?;
    let domain = session.connection.run_domain(xml)?;
    let begin = Instant::now();
    let mut works = false;
    while !works && begin.elapsed() < PROBE_TIMEOUT {
        pause(POLL_INTERVAL);
        let Some(volume) = store.find(log)? else { break };
        let output = transfer::read_some(store.read(&volume, 0, 0)?, 4096)?;
        works = output.windows(PROBE_TEXT.len()).any(|bytes| bytes == PROBE_TEXT);
    }
    let _ = domain.destroy();
    Ok(works)
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
    fn the_probe_is_a_boot_sector_that_points_to_its_text() {
        let sector = boot_sector();
        assert_eq!((sector.len(), &sector[510..]), (512, &[0x55, 0xaa][..]));
        let text = usize::from(u16::from_le_bytes([sector[27], sector[28]])) - 0x7c00;
        assert_eq!(&sector[text..text + PROBE_TEXT.len()], PROBE_TEXT);
    }

    #[test]
    fn a_result_is_valid_for_one_boot_and_one_qemu_version() {
        let booted_at = seconds(SystemTime::now()) - 1000;
        let found = ProbeResult { accelerator: Accelerator::Kvm, booted_at, qemu: 7_002_022 };
        assert!(found.is_valid_for(booted_at + 30, 7_002_022));
        assert!(!found.is_valid_for(booted_at + 500, 7_002_022));
        assert!(!found.is_valid_for(booted_at, 8_000_000));
    }
}
