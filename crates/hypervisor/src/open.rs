//! From a URI to hosts.

use std::path::PathBuf;
use std::sync::Arc;

use crate::faulty::Faulty;
use crate::libvirt::LibvirtHost;
use crate::simulated::{Settings, SimulatedHost};
use crate::{Hypervisor, Result};

/// What a host needs from the process that uses it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A directory of our own that survives restarts: results of accelerator probes, and what simulated hosts
    /// remember. Without it nothing is remembered.
    pub state_dir: Option<PathBuf>,
    /// A directory in which tests ask calls to stop ([`Faulty::stopping`]).
    pub stops: Option<PathBuf>,
}

/// The hosts behind a URI: `simulated:?hosts=N&memory=MiB&vcpus=N&disk=GiB&delay=ms`, or anything that libvirt takes
/// with `accel=auto|kvm|tcg` and `pool=PATH` added to its query. Nothing is connected to yet, so that a host which is
/// away does not keep the process from starting. [`crate::Error::BadUri`] names what is wrong.
pub fn open(uri: &str, options: &Options) -> Result<Vec<Arc<dyn Hypervisor>>> {
    if Settings::claims(uri) {
        let directory = options.state_dir.as_ref().map(|directory| directory.join("simulated"));
        let hosts = SimulatedHost::fleet(&Settings::parse(uri)?, directory.as_deref())?;
        return Ok(hosts.into_iter().map(|host| shared(host, options)).collect());
    }
    Ok(vec![shared(LibvirtHost::new(uri, options.state_dir.as_deref())?, options)])
}

fn shared(host: impl Hypervisor, options: &Options) -> Arc<dyn Hypervisor> {
    match &options.stops {
        Some(stops) => Arc::new(Faulty::stopping(host, stops)),
        None => Arc::new(host),
    }
}
