//! Opens the hosts of a URI.

use std::path::PathBuf;
use std::sync::Arc;

use crate::faulty::Faulty;
use crate::libvirt::LibvirtHost;
use crate::simulated::{Settings, SimulatedHost};
use crate::{Hypervisor, Result};

/// Options of the process that opens hosts.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A directory that survives restarts, for the results of accelerator probes and the state of simulated hosts.
    /// Without it neither is stored.
    pub state_dir: Option<PathBuf>,
    /// A directory of files by which tests stop calls ([`Faulty::with_stop_files`]).
    pub stops: Option<PathBuf>,
}

/// Returns the hosts of a URI: `simulated:?hosts=N&memory=MiB&vcpus=N&disk=GiB&delay=ms`, or any libvirt URI with
/// `accel=auto|kvm|tcg` and `pool=PATH` added to its query. Does not connect yet, so that an unreachable host does
/// not prevent the process from starting. [`crate::Error::BadUri`] if the URI is invalid.
pub fn open(uri: &str, options: &Options) -> Result<Vec<Arc<dyn Hypervisor>>> {
    if Settings::is_simulated(uri) {
        let directory = options.state_dir.as_ref().map(|directory| directory.join("simulated"));
        let hosts = SimulatedHost::fleet(&Settings::parse(uri)?, directory.as_deref())?;
        return Ok(hosts.into_iter().map(|host| shared(host, options)).collect());
    }
    Ok(vec![shared(LibvirtHost::new(uri, options.state_dir.as_deref())?, options)])
}

fn shared(host: impl Hypervisor, options: &Options) -> Arc<dyn Hypervisor> {
    match &options.stops {
        Some(stops) => Arc::new(Faulty::with_stop_files(host, stops)),
        None => Arc::new(host),
    }
}
