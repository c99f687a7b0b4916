//! Errors of the steps on a libvirt host, and their conversion to [`Error`].

use uuid::Uuid;

use super::sys::{Fault, code};
use crate::Error;

/// Why a step failed, before it is known which operation it belongs to.
#[derive(Debug)]
pub enum LibvirtError {
    Fault(Fault),
    NoMachine(Uuid),
    NotFound(String),
    NoCapacity(String),
    Refused(String),
    GuestSilent(Uuid),
    Failed(String),
}

pub type Outcome<T> = Result<T, LibvirtError>;

impl From<Fault> for LibvirtError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Messages of QEMU, libvirt and the kernel for exhausted memory or disk.
const EXHAUSTED_MESSAGES: [&str; 4] = [
    "No space left on device",
    "cannot set up guest memory",
    "Cannot allocate memory",
    "Disk quota exceeded",
];

impl LibvirtError {
    pub fn refused<T>(reason: impl Into<String>) -> Outcome<T> {
        Err(Self::Refused(reason.into()))
    }

    pub fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Fault(fault) if EXHAUSTED_MESSAGES.iter().any(|text| fault.message.contains(text)) => {
                Error::NoCapacity { operation, reason: fault.message }
            }
            Self::Fault(fault) => Error::Failed { operation, reason: fault.message },
            Self::NoMachine(machine) => Error::NoMachine { operation, machine },
            Self::NotFound(what) => Error::NotFound { operation, what },
            Self::NoCapacity(reason) => Error::NoCapacity { operation, reason },
            Self::Refused(reason) => Error::Refused { operation, reason },
            Self::GuestSilent(machine) => Error::GuestSilent { operation, machine },
            Self::Failed(reason) => Error::Failed { operation, reason },
        }
    }
}

/// Turns "no such object" into `None`.
pub fn optional<T>(result: Result<T, Fault>) -> Outcome<Option<T>> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(fault) if is_absent(&fault) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// Turns "no such object" into success.
pub fn ignore_absent(result: Result<(), Fault>) -> Outcome<()> {
    optional(result).map(|_| ())
}

fn is_absent(fault: &Fault) -> bool {
    matches!(
        fault.code,
        code::NO_DOMAIN | code::NO_NETWORK | code::NO_NWFILTER | code::NO_STORAGE_POOL | code::NO_STORAGE_VOL
    )
}

/// Returns what the operator can do about an unreachable host.
pub fn hint(fault: &Fault) -> &'static str {
    if fault.code == code::LIBRARY_MISSING {
        "install libvirt: `apt-get install libvirt-daemon-system qemu-system-x86 dnsmasq-base`, or use \
         `--hypervisor simulated:`"
    } else {
        "check that libvirtd is running there and that this user may connect to it"
    }
}
