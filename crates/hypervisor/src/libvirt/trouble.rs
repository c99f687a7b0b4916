//! From libvirt's faults to the errors of a host.

use uuid::Uuid;

use super::sys::{Fault, code};
use crate::Error;

/// Why a step failed, before it is known which operation it belongs to.
#[derive(Debug)]
pub enum Trouble {
    Fault(Fault),
    NoMachine(Uuid),
    NotFound(String),
    NoCapacity(String),
    Refused(String),
    GuestSilent(Uuid),
    Failed(String),
}

pub type Outcome<T> = Result<T, Trouble>;

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What QEMU, libvirt and the kernel say when there is no more memory or disk.
const EXHAUSTED: [&str; 4] = [
    "No space left on device",
    "cannot set up guest memory",
    "Cannot allocate memory",
    "Disk quota exceeded",
];

impl Trouble {
    pub fn refused<T>(reason: impl Into<String>) -> Outcome<T> {
        Err(Self::Refused(reason.into()))
    }

    pub fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Fault(fault) if EXHAUSTED.iter().any(|words| fault.message.contains(words)) => {
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

/// Turns "there is no such object" into `None`.
pub fn found<T>(answer: Result<T, Fault>) -> Outcome<Option<T>> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(fault) if is_absent(&fault) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// Takes "there is no such object" for success.
pub fn gone(answer: Result<(), Fault>) -> Outcome<()> {
    found(answer).map(|_| ())
}

fn is_absent(fault: &Fault) -> bool {
    matches!(
        fault.code,
        code::NO_DOMAIN | code::NO_NETWORK | code::NO_NWFILTER | code::NO_STORAGE_POOL | code::NO_STORAGE_VOL
    )
}

/// What to do about a host that does not answer.
pub fn hint(fault: &Fault) -> &'static str {
    if fault.code == code::LIBRARY_MISSING {
        "install libvirt: `apt-get install libvirt-daemon-system qemu-system-x86 dnsmasq-base`, or use \
         `--hypervisor simulated:`"
    } else {
        "is libvirtd running there, and may this user reach it?"
    }
}
