//! Bindings to libvirt. `libvirt.so.0` is loaded at the first call, so that the program starts without libvirt. All
//! unsafe code of the crate is in this module; its types are safe and free themselves.

use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_uint, c_ulong, c_ulonglong, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::{Mutex, OnceLock};

const LIBRARY_NAME: &str = "libvirt.so.0";

type Raw = *mut c_void;
type Text = *const c_char;
type LifecycleCallback = unsafe extern "C" fn(Raw, Raw, c_int, c_int, Raw) -> c_int;
type FreeCallback = unsafe extern "C" fn(Raw);

/// The error of a failed call to libvirt.
#[derive(Debug, Clone)]
pub struct Fault {
    /// A `virErrorNumber`.
    pub code: i32,
    pub message: String,
}

pub type Outcome<T> = Result<T, Fault>;

/// The values of `virErrorNumber` that are handled.
pub mod code {
    pub const LIBRARY_MISSING: i32 = -1;
    pub const OPERATION_FAILED: i32 = 9;
    pub const NO_DOMAIN: i32 = 42;
    pub const NO_NETWORK: i32 = 43;
    pub const NO_STORAGE_POOL: i32 = 49;
    pub const NO_STORAGE_VOL: i32 = 50;
    pub const OPERATION_INVALID: i32 = 55;
    pub const NO_NWFILTER: i32 = 62;
    pub const CONFIG_UNSUPPORTED: i32 = 67;
    pub const ARGUMENT_UNSUPPORTED: i32 = 74;
    pub const AGENT_UNRESPONSIVE: i32 = 86;
    pub const STORAGE_VOL_EXIST: i32 = 90;
    pub const AGENT_UNSYNCED: i32 = 97;
}

#[repr(C)]
struct RawError {
    code: c_int,
    domain: c_int,
    message: *mut c_char,
}

#[repr(C)]
struct RawNodeInfo {
    model: [c_char; 32],
    memory_kib: c_ulong,
    cpus: c_uint,
    rest: [c_uint; 5],
}

#[repr(C)]
#[derive(Default)]
struct RawPoolInfo {
    state: c_int,
    capacity: c_ulonglong,
    allocation: c_ulonglong,
    available: c_ulonglong,
}

#[repr(C)]
#[derive(Default)]
struct RawVolumeInfo {
    kind: c_int,
    capacity: c_ulonglong,
    allocation: c_ulonglong,
}

#[repr(C)]
#[derive(Default)]
struct RawBlockJob {
    kind: c_int,
    bandwidth: c_ulong,
    done: c_ulonglong,
    end: c_ulonglong,
}

#[repr(C)]
#[derive(Default)]
struct RawJob {
    kind: c_int,
    times: [c_ulonglong; 2],
    data: [c_ulonglong; 3],
    memory: [c_ulonglong; 3],
    file: [c_ulonglong; 3],
}

#[repr(C)]
#[derive(Default)]
struct RawDomainInfo {
    state: u8,
    max_memory: c_ulong,
    memory: c_ulong,
    vcpus: u16,
    cpu_ns: c_ulonglong,
}

#[repr(C)]
struct RawCpuStat {
    field: [c_char; 80],
    value: c_ulonglong,
}

macro_rules! library {
    ($($name:ident($($argument:ty),*) -> $answer:ty;)*) => {
        #[allow(non_snake_case)]
        struct Library {
            $($name: unsafe extern "C" fn($($argument),*) -> $answer,)*
        }

        impl Library {
            fn load() -> Result<Self, libloading::Error> {
                // SAFETY: libvirt's initialisers and finalisers are sound to run at any time, each symbol is declared
                // below with the prototype of libvirt's headers, and the library is never unloaded.
                unsafe {
                    let library = Box::leak(Box::new(libloading::Library::new(LIBRARY_NAME)?));
                    Ok(Self { $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)* })
                }
            }
        }
    };
}

library! {
    virInitialize() -> c_int;
    virEventRegisterDefaultImpl() -> c_int;
    virEventRunDefaultImpl() -> c_int;
    virSetErrorFunc(Raw, Option<unsafe extern "C" fn(Raw, *const RawError)>) -> ();
    virGetLastError() -> *const RawError;
    virConnectOpen(Text) -> Raw;
    virConnectClose(Raw) -> c_int;
    virConnectIsAlive(Raw) -> c_int;
    virConnectSetKeepAlive(Raw, c_int, c_uint) -> c_int;
    virConnectGetVersion(Raw, *mut c_ulong) -> c_int;
    virConnectGetLibVersion(Raw, *mut c_ulong) -> c_int;
    virConnectGetCapabilities(Raw) -> *mut c_char;
    virConnectDomainEventRegisterAny(Raw, Raw, c_int, LifecycleCallback, Raw, FreeCallback) -> c_int;
    virConnectDomainEventDeregisterAny(Raw, c_int) -> c_int;
    virConnectListAllDomains(Raw, *mut *mut Raw, c_uint) -> c_int;
    virConnectListAllNWFilters(Raw, *mut *mut Raw, c_uint) -> c_int;
    virNodeGetInfo(Raw, *mut RawNodeInfo) -> c_int;
    virNodeGetCPUStats(Raw, c_int, *mut RawCpuStat, *mut c_int, c_uint) -> c_int;
    virDomainLookupByUUID(Raw, *const u8) -> Raw;
    virDomainDefineXML(Raw, Text) -> Raw;
    virDomainCreateXML(Raw, Text, c_uint) -> Raw;
    virDomainFree(Raw) -> c_int;
    virDomainGetName(Raw) -> Text;
    virDomainGetXMLDesc(Raw, c_uint) -> *mut c_char;
    virDomainGetState(Raw, *mut c_int, *mut c_int, c_uint) -> c_int;
    virDomainGetInfo(Raw, *mut RawDomainInfo) -> c_int;
    virDomainCreateWithFlags(Raw, c_uint) -> c_int;
    virDomainDestroy(Raw) -> c_int;
    virDomainUndefineFlags(Raw, c_uint) -> c_int;
    virDomainShutdown(Raw) -> c_int;
    virDomainReboot(Raw, c_uint) -> c_int;
    virDomainUpdateDeviceFlags(Raw, Text, c_uint) -> c_int;
    virDomainSuspend(Raw) -> c_int;
    virDomainResume(Raw) -> c_int;
    virDomainSetUserPassword(Raw, Text, Text, c_uint) -> c_int;
    virDomainAgentSetResponseTimeout(Raw, c_int, c_uint) -> c_int;
    virDomainFSFreeze(Raw, *const Text, c_uint, c_uint) -> c_int;
    virDomainFSThaw(Raw, *const Text, c_uint, c_uint) -> c_int;
    virDomainBackupBegin(Raw, Text, Text, c_uint) -> c_int;
    virDomainGetJobInfo(Raw, *mut RawJob) -> c_int;
    virDomainGetJobStats(Raw, *mut c_int, *mut Raw, *mut c_int, c_uint) -> c_int;
    virTypedParamsFree(Raw, c_int) -> ();
    virDomainAbortJob(Raw) -> c_int;
    virDomainBlockCommit(Raw, Text, Text, Text, c_ulong, c_uint) -> c_int;
    virDomainBlockJobAbort(Raw, Text, c_uint) -> c_int;
    virDomainGetBlockJobInfo(Raw, Text, *mut RawBlockJob, c_uint) -> c_int;
    virDomainInterfaceStats(Raw, Text, *mut c_longlong, usize) -> c_int;
    virNetworkLookupByName(Raw, Text) -> Raw;
    virNetworkDefineXML(Raw, Text) -> Raw;
    virNetworkFree(Raw) -> c_int;
    virNetworkGetXMLDesc(Raw, c_uint) -> *mut c_char;
    virNetworkIsActive(Raw) -> c_int;
    virNetworkCreate(Raw) -> c_int;
    virNetworkDestroy(Raw) -> c_int;
    virNetworkUndefine(Raw) -> c_int;
    virNetworkSetAutostart(Raw, c_int) -> c_int;
    virNetworkUpdate(Raw, c_uint, c_uint, c_int, Text, c_uint) -> c_int;
    virNWFilterLookupByName(Raw, Text) -> Raw;
    virNWFilterDefineXML(Raw, Text) -> Raw;
    virNWFilterFree(Raw) -> c_int;
    virNWFilterGetName(Raw) -> Text;
    virNWFilterGetXMLDesc(Raw, c_uint) -> *mut c_char;
    virNWFilterUndefine(Raw) -> c_int;
    virStoragePoolLookupByName(Raw, Text) -> Raw;
    virStoragePoolDefineXML(Raw, Text, c_uint) -> Raw;
    virStoragePoolFree(Raw) -> c_int;
    virStoragePoolIsActive(Raw) -> c_int;
    virStoragePoolBuild(Raw, c_uint) -> c_int;
    virStoragePoolCreate(Raw, c_uint) -> c_int;
    virStoragePoolSetAutostart(Raw, c_int) -> c_int;
    virStoragePoolGetXMLDesc(Raw, c_uint) -> *mut c_char;
    virStoragePoolGetInfo(Raw, *mut RawPoolInfo) -> c_int;
    virStoragePoolRefresh(Raw, c_uint) -> c_int;
    virStoragePoolListAllVolumes(Raw, *mut *mut Raw, c_uint) -> c_int;
    virStorageVolLookupByName(Raw, Text) -> Raw;
    virStorageVolCreateXML(Raw, Text, c_uint) -> Raw;
    virStorageVolCreateXMLFrom(Raw, Text, Raw, c_uint) -> Raw;
    virStorageVolFree(Raw) -> c_int;
    virStorageVolGetName(Raw) -> Text;
    virStorageVolGetXMLDesc(Raw, c_uint) -> *mut c_char;
    virStorageVolGetInfoFlags(Raw, *mut RawVolumeInfo, c_uint) -> c_int;
    virStorageVolDelete(Raw, c_uint) -> c_int;
    virStorageVolUpload(Raw, Raw, c_ulonglong, c_ulonglong, c_uint) -> c_int;
    virStorageVolDownload(Raw, Raw, c_ulonglong, c_ulonglong, c_uint) -> c_int;
    virStreamNew(Raw, c_uint) -> Raw;
    virStreamSend(Raw, *const c_char, usize) -> c_int;
    virStreamRecv(Raw, *mut c_char, usize) -> c_int;
    virStreamFinish(Raw) -> c_int;
    virStreamAbort(Raw) -> c_int;
    virStreamFree(Raw) -> c_int;
}

static LIBRARY: OnceLock<Library> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads libvirt and starts its event loop on its own thread, once per process. A failure is retried at the next call.
fn load() -> Outcome<()> {
    let _guard = LOADING.lock().unwrap();
    if LIBRARY.get().is_some() {
        return Ok(());
    }
    let loaded =
        Library::load().map_err(|error| Fault { code: code::LIBRARY_MISSING, message: error.to_string() })?;
    // SAFETY: initialisation, the silent error handler and the event implementation take no pointers of ours and are
    // set before any other call, under the lock.
    unsafe {
        (loaded.virInitialize)();
        (loaded.virSetErrorFunc)(null_mut(), Some(keep_silent));
        (loaded.virEventRegisterDefaultImpl)();
    }
    let _ = LIBRARY.set(loaded);
    let run_events = || {
        // SAFETY: the event implementation was registered above, and only this thread runs it.
        while unsafe { (library().virEventRunDefaultImpl)() } == 0 {}
        tracing::error!("the event loop of libvirt ended");
    };
    let thread = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(run_events);
    thread.map(drop).map_err(|error| Fault { code: code::OPERATION_FAILED, message: error.to_string() })
}

fn library() -> &'static Library {
    LIBRARY.get().expect("a handle exists, so the library was loaded")
}

/// Suppresses libvirt's default handler, which prints every error to standard error.
unsafe extern "C" fn keep_silent(_: Raw, _: *const RawError) {}

fn last_fault() -> Fault {
    // SAFETY: the error belongs to this thread and lives until its next call into libvirt; it is copied at once.
    unsafe {
        let error = (library().virGetLastError)();
        if error.is_null() || (*error).message.is_null() {
            return Fault { code: 0, message: "libvirt gives no reason".to_owned() };
        }
        let message = CStr::from_ptr((*error).message).to_string_lossy().into_owned();
        Fault { code: (*error).code, message }
    }
}

fn text(value: &str) -> Outcome<CString> {
    let reason = "a zero byte in a text for libvirt";
    CString::new(value).map_err(|_| Fault { code: code::OPERATION_FAILED, message: reason.to_owned() })
}

fn done(answer: c_int) -> Outcome<()> {
    if answer < 0 { Err(last_fault()) } else { Ok(()) }
}

fn handle(raw: Raw) -> Outcome<NonNull<c_void>> {
    NonNull::new(raw).ok_or_else(last_fault)
}

fn owned_text(raw: *mut c_char) -> Outcome<String> {
    let raw = NonNull::new(raw).ok_or_else(last_fault)?;
    // SAFETY: libvirt hands over a terminated string from malloc, which nobody else frees.
    unsafe {
        let copy = CStr::from_ptr(raw.as_ptr()).to_string_lossy().into_owned();
        libc::free(raw.as_ptr().cast());
        Ok(copy)
    }
}

fn borrowed_text(raw: Text) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: names of libvirt's objects are terminated and live as long as the object, which the caller holds.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}

/// Takes ownership of the result of a `virConnectListAll…` call.
fn list<T>(count: c_int, items: *mut Raw, wrap: impl Fn(NonNull<c_void>) -> T) -> Outcome<Vec<T>> {
    done(count)?;
    // SAFETY: on success `items` is an array from malloc of `count` handles, each ours to free.
    unsafe {
        let handles =
            (0..count as usize).filter_map(|index| NonNull::new(*items.add(index))).map(wrap).collect();
        libc::free(items.cast());
        Ok(handles)
    }
}

/// `call!(self, virX(a, b))` calls with this object's handle as first argument. Handles are used only here.
macro_rules! call {
    ($handle:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        // SAFETY: the handle is live until it is dropped, every pointer argument outlives the call, and libvirt locks
        // its objects itself.
        unsafe { (library().$function)($handle.0.as_ptr() $(, $argument)*) }
    };
}

macro_rules! handles {
    ($($(#[$documentation:meta])* $name:ident freed by $free:ident;)*) => {
        $(
            $(#[$documentation])*
            pub struct $name(NonNull<c_void>);

            // SAFETY: libvirt's objects are reference-counted and locked, usable from any thread.
            unsafe impl Send for $name {}
            // SAFETY: as above.
            unsafe impl Sync for $name {}

            impl Drop for $name {
                fn drop(&mut self) {
                    call!(self, $free());
                }
            }
        )*
    };
}

handles! {
    /// A connection to a daemon, with no events registered.
    Wire freed by virConnectClose;
    /// A domain: what libvirt calls a machine.
    Domain freed by virDomainFree;
    Network freed by virNetworkFree;
    /// A packet filter.
    Filter freed by virNWFilterFree;
    Pool freed by virStoragePoolFree;
    Volume freed by virStorageVolFree;
}

mod connection;
mod domain;
mod network;
mod storage;

pub use connection::{Connection, Lifecycle};
pub use network::Change;
pub use storage::Stream;
