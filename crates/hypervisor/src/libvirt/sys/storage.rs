//! Storage pools, volumes, and the streams that write and read them.

use std::sync::Arc;

use super::*;

/// Flag that makes `allocation` the length of the file.
const GET_PHYSICAL: c_uint = 1;
/// Maximum size of a packet: some transports reject larger ones.
const PACKET: usize = 256 * 1024 - 64;

impl Pool {
    pub fn definition(&self) -> Outcome<String> {
        owned_text(call!(self, virStoragePoolGetXMLDesc(0)))
    }

    pub fn is_active(&self) -> bool {
        call!(self, virStoragePoolIsActive()) == 1
    }

    pub fn build(&self) -> Outcome<()> {
        done(call!(self, virStoragePoolBuild(0)))
    }

    pub fn start(&self) -> Outcome<()> {
        done(call!(self, virStoragePoolCreate(0)))
    }

    pub fn start_with_host(&self) -> Outcome<()> {
        done(call!(self, virStoragePoolSetAutostart(1)))
    }

    /// Returns the total and the free bytes of its file system.
    pub fn space(&self) -> Outcome<(u64, u64)> {
        let mut info = RawPoolInfo::default();
        done(call!(self, virStoragePoolGetInfo(&raw mut info)))?;
        Ok((info.capacity, info.available))
    }

    /// Reads the directory again.
    pub fn refresh(&self) -> Outcome<()> {
        done(call!(self, virStoragePoolRefresh(0)))
    }

    pub fn volumes(&self) -> Outcome<Vec<Volume>> {
        let mut items = null_mut();
        let count = call!(self, virStoragePoolListAllVolumes(&raw mut items, 0));
        list(count, items, Volume)
    }

    pub fn volume(&self, name: &str) -> Outcome<Volume> {
        let name = text(name)?;
        handle(call!(self, virStorageVolLookupByName(name.as_ptr()))).map(Volume)
    }

    pub fn create(&self, xml: &str) -> Outcome<Volume> {
        let xml = text(xml)?;
        handle(call!(self, virStorageVolCreateXML(xml.as_ptr(), 0))).map(Volume)
    }

    /// Creates a volume with the same content as another.
    pub fn create_from(&self, xml: &str, source: &Volume) -> Outcome<Volume> {
        let xml = text(xml)?;
        handle(call!(self, virStorageVolCreateXMLFrom(xml.as_ptr(), source.0.as_ptr(), 0))).map(Volume)
    }
}

impl Volume {
    pub fn name(&self) -> String {
        borrowed_text(call!(self, virStorageVolGetName()))
    }

    pub fn definition(&self) -> Outcome<String> {
        owned_text(call!(self, virStorageVolGetXMLDesc(0)))
    }

    /// Returns the virtual size and the length of the file, in bytes.
    pub fn sizes(&self) -> Outcome<(u64, u64)> {
        let mut info = RawVolumeInfo::default();
        done(call!(self, virStorageVolGetInfoFlags(&raw mut info, GET_PHYSICAL)))?;
        Ok((info.capacity, info.allocation))
    }

    pub fn delete(&self) -> Outcome<()> {
        done(call!(self, virStorageVolDelete(0)))
    }

    /// Returns a stream that writes the volume from its start.
    pub fn upload(&self, connection: &Arc<Connection>, length: u64) -> Outcome<Stream> {
        let stream = Stream::new(connection)?;
        done(call!(self, virStorageVolUpload(stream.raw.as_ptr(), 0, length, 0)))?;
        Ok(stream)
    }

    /// Returns a stream that reads `length` bytes of the volume from `offset`, or to its end if `length` is 0.
    pub fn download(&self, connection: &Arc<Connection>, offset: u64, length: u64) -> Outcome<Stream> {
        let stream = Stream::new(connection)?;
        done(call!(self, virStorageVolDownload(stream.raw.as_ptr(), offset, length, 0)))?;
        Ok(stream)
    }
}

/// A transfer. Dropping it aborts the transfer unless it was finished.
pub struct Stream {
    raw: NonNull<c_void>,
    open: bool,
    _connection: Arc<Connection>,
}

// SAFETY: a stream is locked by libvirt and may move between threads; it is not shared.
unsafe impl Send for Stream {}

impl Stream {
    fn new(connection: &Arc<Connection>) -> Outcome<Self> {
        Ok(Self { raw: connection.stream()?, open: true, _connection: Arc::clone(connection) })
    }

    /// Sends all the bytes.
    pub fn send(&mut self, mut bytes: &[u8]) -> Outcome<()> {
        while !bytes.is_empty() {
            let packet = &bytes[..bytes.len().min(PACKET)];
            // SAFETY: the stream is live and the packet outlives the call.
            let sent =
                unsafe { (library().virStreamSend)(self.raw.as_ptr(), packet.as_ptr().cast(), packet.len()) };
            done(sent)?;
            bytes = &bytes[sent as usize..];
        }
        Ok(())
    }

    /// Receives some bytes and returns their number; 0 at the end.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Outcome<usize> {
        let room = buffer.len().min(PACKET);
        // SAFETY: the stream is live and the buffer has that much room.
        let got = unsafe { (library().virStreamRecv)(self.raw.as_ptr(), buffer.as_mut_ptr().cast(), room) };
        done(got)?;
        Ok(got as usize)
    }

    /// Ends the transfer and checks that the daemon has completed it.
    pub fn finish(mut self) -> Outcome<()> {
        self.open = false;
        // SAFETY: the stream is live.
        done(unsafe { (library().virStreamFinish)(self.raw.as_ptr()) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is live until freed here.
        unsafe {
            if self.open {
                (library().virStreamAbort)(self.raw.as_ptr());
            }
            (library().virStreamFree)(self.raw.as_ptr());
        }
    }
}
