//! Connections, their events, and properties of the host.

use super::*;

const EVENT_LIFECYCLE: c_int = 0;
const KEEP_ALIVE_SECONDS: c_int = 5;
const KEEP_ALIVE_MISSES: c_uint = 4;
const PERSISTENT_DOMAINS: c_uint = 4;
const ALL_CPUS: c_int = -1;

/// A domain's lifecycle event with libvirt's numbers.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    pub domain: String,
    pub event: i32,
    pub detail: i32,
}

type Listener = Box<dyn Fn(Lifecycle) + Send + Sync>;

/// A connection to a daemon.
pub struct Connection {
    wire: Wire,
    /// Id of the registration for lifecycle events, if any.
    callback: Option<c_int>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(callback) = self.callback {
            call!(self.wire, virConnectDomainEventDeregisterAny(callback));
        }
    }
}

unsafe extern "C" fn report(_: Raw, domain: Raw, event: c_int, detail: c_int, listener: Raw) -> c_int {
    // SAFETY: libvirt passes a live domain, and the listener given at registration, which `forget` alone frees.
    let (name, listener) = unsafe { ((library().virDomainGetName)(domain), &*listener.cast::<Listener>()) };
    listener(Lifecycle { domain: borrowed_text(name), event, detail });
    0
}

unsafe extern "C" fn forget(listener: Raw) {
    // SAFETY: the pointer came from `Box::into_raw` at registration, and libvirt calls this once.
    drop(unsafe { Box::from_raw(listener.cast::<Listener>()) });
}

impl Connection {
    /// Connects with keep-alive messages enabled.
    pub fn open(uri: &str) -> Outcome<Self> {
        load()?;
        let uri = text(uri)?;
        // SAFETY: the library is loaded and the text outlives the call.
        let wire = Wire(handle(unsafe { (library().virConnectOpen)(uri.as_ptr()) })?);
        call!(wire, virConnectSetKeepAlive(KEEP_ALIVE_SECONDS, KEEP_ALIVE_MISSES));
        Ok(Self { wire, callback: None })
    }

    /// Connects and subscribes to the lifecycle events of all domains.
    pub fn listen(uri: &str, listener: impl Fn(Lifecycle) + Send + Sync + 'static) -> Outcome<Self> {
        let mut connection = Self::open(uri)?;
        let listener: Box<Listener> = Box::new(Box::new(listener));
        let listener = Box::into_raw(listener).cast();
        let callback = call!(
            connection.wire,
            virConnectDomainEventRegisterAny(null_mut(), EVENT_LIFECYCLE, report, listener, forget)
        );
        if callback < 0 {
            let fault = last_fault();
            // SAFETY: a failed registration leaves the listener with us.
            unsafe { forget(listener) };
            return Err(fault);
        }
        connection.callback = Some(callback);
        Ok(connection)
    }

    /// Returns whether the connection is alive, as far as is known without a call to the daemon.
    pub fn is_alive(&self) -> bool {
        call!(self.wire, virConnectIsAlive()) == 1
    }

    /// Returns the versions of QEMU and of libvirt, as a million times the major and a thousand times the minor number.
    pub fn versions(&self) -> Outcome<(u64, u64)> {
        let (mut qemu, mut libvirt) = (0, 0);
        done(call!(self.wire, virConnectGetVersion(&raw mut qemu)))?;
        done(call!(self.wire, virConnectGetLibVersion(&raw mut libvirt)))?;
        Ok((qemu, libvirt))
    }

    pub fn capabilities(&self) -> Outcome<String> {
        owned_text(call!(self.wire, virConnectGetCapabilities()))
    }

    /// Returns memory in KiB and number of processors.
    pub fn node(&self) -> Outcome<(u64, u32)> {
        let mut info = RawNodeInfo { model: [0; 32], memory_kib: 0, cpus: 0, rest: [0; 5] };
        done(call!(self.wire, virNodeGetInfo(&raw mut info)))?;
        Ok((info.memory_kib, info.cpus))
    }

    /// Returns the total time of all processors since the host booted, idle time included, in nanoseconds.
    pub fn processor_time_ns(&self) -> Outcome<u64> {
        let mut count = 0;
        done(call!(self.wire, virNodeGetCPUStats(ALL_CPUS, null_mut(), &raw mut count, 0)))?;
        let mut stats = Vec::new();
        stats.resize_with(count as usize, || RawCpuStat { field: [0; 80], value: 0 });
        done(call!(self.wire, virNodeGetCPUStats(ALL_CPUS, stats.as_mut_ptr(), &raw mut count, 0)))?;
        Ok(stats.iter().map(|stat| stat.value).sum())
    }

    pub fn domains(&self) -> Outcome<Vec<Domain>> {
        let mut items = null_mut();
        let count = call!(self.wire, virConnectListAllDomains(&raw mut items, PERSISTENT_DOMAINS));
        list(count, items, Domain)
    }

    pub fn domain(&self, id: &[u8; 16]) -> Outcome<Domain> {
        handle(call!(self.wire, virDomainLookupByUUID(id.as_ptr()))).map(Domain)
    }

    /// Creates or updates the definition of a domain.
    pub fn define_domain(&self, xml: &str) -> Outcome<Domain> {
        let xml = text(xml)?;
        handle(call!(self.wire, virDomainDefineXML(xml.as_ptr()))).map(Domain)
    }

    /// Runs a transient domain.
    pub fn run_domain(&self, xml: &str) -> Outcome<Domain> {
        let xml = text(xml)?;
        handle(call!(self.wire, virDomainCreateXML(xml.as_ptr(), 0))).map(Domain)
    }

    pub fn network(&self, name: &str) -> Outcome<Network> {
        let name = text(name)?;
        handle(call!(self.wire, virNetworkLookupByName(name.as_ptr()))).map(Network)
    }

    pub fn define_network(&self, xml: &str) -> Outcome<Network> {
        let xml = text(xml)?;
        handle(call!(self.wire, virNetworkDefineXML(xml.as_ptr()))).map(Network)
    }

    pub fn filter(&self, name: &str) -> Outcome<Filter> {
        let name = text(name)?;
        handle(call!(self.wire, virNWFilterLookupByName(name.as_ptr()))).map(Filter)
    }

    pub fn filters(&self) -> Outcome<Vec<Filter>> {
        let mut items = null_mut();
        let count = call!(self.wire, virConnectListAllNWFilters(&raw mut items, 0));
        list(count, items, Filter)
    }

    /// Creates or updates a filter. A change applies at once to every running domain that uses it.
    pub fn define_filter(&self, xml: &str) -> Outcome<Filter> {
        let xml = text(xml)?;
        handle(call!(self.wire, virNWFilterDefineXML(xml.as_ptr()))).map(Filter)
    }

    pub fn pool(&self, name: &str) -> Outcome<Pool> {
        let name = text(name)?;
        handle(call!(self.wire, virStoragePoolLookupByName(name.as_ptr()))).map(Pool)
    }

    pub fn define_pool(&self, xml: &str) -> Outcome<Pool> {
        let xml = text(xml)?;
        handle(call!(self.wire, virStoragePoolDefineXML(xml.as_ptr(), 0))).map(Pool)
    }

    /// Returns a new stream for one upload or download.
    pub(super) fn stream(&self) -> Outcome<NonNull<c_void>> {
        handle(call!(self.wire, virStreamNew(0)))
    }
}
