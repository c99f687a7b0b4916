//! Nephos' storage pool on a host: a directory whose files are libvirt volumes.

use std::sync::Arc;

use super::error::{LibvirtError, Outcome, ignore_absent, optional};
use super::names;
use super::sys::{Connection, Pool, Volume, code};
use super::xml::{Element, escape};

/// A qcow2 volume to be created.
pub struct Layer<'a> {
    pub name: &'a str,
    pub bytes: u64,
    /// Path and format of the backing file.
    pub below: Option<(&'a str, &'a str)>,
}

pub struct Store {
    pool: Pool,
    path: String,
    connection: Arc<Connection>,
}

impl Store {
    /// Returns the pool; creates and starts it if need be. Refused if it has another directory.
    pub fn ensure(connection: &Arc<Connection>, path: &str) -> Outcome<Self> {
        let pool = match optional(connection.pool(names::POOL))? {
            Some(pool) => pool,
            None => match Self::create(connection, path) {
                Ok(pool) => pool,
                Err(error) => optional(connection.pool(names::POOL))?.ok_or(error)?,
            },
        };
        let definition = Element::parse(&pool.definition()?)?;
        let actual = definition.text_at(&["target", "path"]).unwrap_or_default();
        if actual != path {
            let name = names::POOL;
            return LibvirtError::refused(format!("the storage pool {name} is in {actual}, not in {path}"));
        }
        if !pool.is_active() {
            // Another connection may start it at the same time; then either call fails.
            let started = pool.build().and_then(|()| pool.start());
            started.or_else(|fault| if pool.is_active() { Ok(()) } else { Err(fault) })?;
        }
        Ok(Self { pool, path: path.to_owned(), connection: Arc::clone(connection) })
    }

    fn create(connection: &Connection, path: &str) -> Outcome<Pool> {
        let (name, path) = (names::POOL, escape(path));
        let pool = connection.define_pool(&format!(
            "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
        ))?;
        pool.start_with_host()?;
        Ok(pool)
    }

    /// Returns a volume's path on the host.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Returns the total and the free space, in bytes.
    pub fn space(&self) -> Outcome<(u64, u64)> {
        Ok(self.pool.space()?)
    }

    /// Lets libvirt read the directory again. Has no effect while the pool is busy with a volume.
    pub fn refresh(&self) {
        if let Err(fault) = self.pool.refresh() {
            tracing::debug!(reason = fault.message, "the storage pool was not refreshed");
        }
    }

    pub fn find(&self, name: &str) -> Outcome<Option<Volume>> {
        optional(self.pool.volume(name))
    }

    pub fn has(&self, name: &str) -> Outcome<bool> {
        Ok(self.find(name)?.is_some())
    }

    pub fn names(&self) -> Outcome<Vec<String>> {
        Ok(self.pool.volumes()?.iter().map(Volume::name).collect())
    }

    /// Removes a volume. Succeeds if it or its file is absent.
    pub fn remove(&self, name: &str) -> Outcome<()> {
        match self.find(name)? {
            Some(volume) => match ignore_absent(volume.delete()) {
                Err(LibvirtError::Fault(fault)) if fault.message.contains("No such file") => {
                    Ok(self.pool.refresh()?)
                }
                answer => answer,
            },
            None => Ok(()),
        }
    }

    /// Creates a sparse raw volume of this length; keeps an existing one.
    pub fn ensure_raw(&self, name: &str, bytes: u64) -> Outcome<Volume> {
        if let Some(volume) = self.find(name)? {
            return Ok(volume);
        }
        let name_xml = escape(name);
        let created = self.pool.create(&format!(
            "<volume><name>{name_xml}</name><capacity unit='bytes'>{bytes}</capacity>\
             <allocation unit='bytes'>0</allocation><target><format type='raw'/></target></volume>"
        ));
        match created {
            Err(fault) if fault.code == code::STORAGE_VOL_EXIST || fault.message.contains("File exists") => {
                self.pool.refresh()?;
                Ok(self.pool.volume(name)?)
            }
            answer => Ok(answer?),
        }
    }

    /// Replaces a raw volume and returns the stream that writes it.
    pub fn replace_raw(&self, name: &str, bytes: u64) -> Outcome<super::sys::Stream> {
        self.remove(name)?;
        let volume = self.ensure_raw(name, bytes)?;
        Ok(volume.upload(&self.connection, bytes)?)
    }

    /// Replaces a small volume with these bytes.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let mut stream = self.replace_raw(name, bytes.len() as u64)?;
        stream.send(bytes)?;
        Ok(stream.finish()?)
    }

    pub fn create_layer(&self, layer: &Layer<'_>) -> Outcome<Volume> {
        Ok(self.pool.create(&layer_xml(layer))?)
    }

    /// Creates a qcow2 without a backing file that has the same content as another volume.
    pub fn flatten(&self, name: &str, bytes: u64, source: &Volume) -> Outcome<Volume> {
        Ok(self.pool.create_from(&layer_xml(&Layer { name, bytes, below: None }), source)?)
    }

    /// Returns a stream that reads a volume; a `length` of 0 reads to the end.
    pub fn read(&self, volume: &Volume, offset: u64, length: u64) -> Outcome<super::sys::Stream> {
        Ok(volume.download(&self.connection, offset, length)?)
    }
}

fn layer_xml(layer: &Layer<'_>) -> String {
    let below = layer.below.map_or(String::new(), |(path, format)| {
        let path = escape(path);
        format!("<backingStore><path>{path}</path><format type='{format}'/></backingStore>")
    });
    let (name, bytes) = (escape(layer.name), layer.bytes);
    format!(
        "<volume><name>{name}</name><capacity unit='bytes'>{bytes}</capacity>\
         <allocation unit='bytes'>0</allocation><target><format type='qcow2'/><compat>1.1</compat></target>\
         {below}</volume>"
    )
}
