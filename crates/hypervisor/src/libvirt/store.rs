//! Our storage pool on a host: a directory whose files libvirt calls volumes.

use std::sync::Arc;

use super::names;
use super::sys::{Connection, Pool, Volume, code};
use super::trouble::{Outcome, Trouble, found, gone};
use super::xml::{Element, escape};

/// A qcow2 volume to be made.
pub struct Layer<'a> {
    pub name: &'a str,
    pub bytes: u64,
    /// Path and format of what is below.
    pub below: Option<(&'a str, &'a str)>,
}

pub struct Store {
    pool: Pool,
    path: String,
    connection: Arc<Connection>,
}

impl Store {
    /// Finds the pool, or makes it. Refused if it exists elsewhere on the host.
    pub fn ensure(connection: &Arc<Connection>, path: &str) -> Outcome<Self> {
        let pool = match found(connection.pool(names::POOL))? {
            Some(pool) => pool,
            None => match Self::make(connection, path) {
                Ok(pool) => pool,
                Err(trouble) => found(connection.pool(names::POOL))?.ok_or(trouble)?,
            },
        };
        let definition = Element::parse(&pool.definition()?)?;
        let actual = definition.text_at(&["target", "path"]).unwrap_or_default();
        if actual != path {
            let name = names::POOL;
            return Trouble::refused(format!("the storage pool {name} lies in {actual}, not in {path}"));
        }
        if !pool.is_active() {
            // Another connection may start it at any moment, and libvirt then refuses either call.
            let started = pool.build().and_then(|()| pool.start());
            started.or_else(|fault| if pool.is_active() { Ok(()) } else { Err(fault) })?;
        }
        Ok(Self { pool, path: path.to_owned(), connection: Arc::clone(connection) })
    }

    fn make(connection: &Connection, path: &str) -> Outcome<Pool> {
        let (name, path) = (names::POOL, escape(path));
        let pool = connection.define_pool(&format!(
            "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
        ))?;
        pool.start_with_host()?;
        Ok(pool)
    }

    /// Where a volume lies on the host.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Bytes in all and free.
    pub fn space(&self) -> Outcome<(u64, u64)> {
        Ok(self.pool.space()?)
    }

    /// Has the files looked at again, unless the pool is busy with a volume.
    pub fn refresh(&self) {
        if let Err(fault) = self.pool.refresh() {
            tracing::debug!(reason = fault.message, "the storage pool was not refreshed");
        }
    }

    pub fn find(&self, name: &str) -> Outcome<Option<Volume>> {
        found(self.pool.volume(name))
    }

    pub fn has(&self, name: &str) -> Outcome<bool> {
        Ok(self.find(name)?.is_some())
    }

    pub fn names(&self) -> Outcome<Vec<String>> {
        Ok(self.pool.volumes()?.iter().map(Volume::name).collect())
    }

    /// Removes a volume; well if it is absent, or if its file is.
    pub fn remove(&self, name: &str) -> Outcome<()> {
        match self.find(name)? {
            Some(volume) => match gone(volume.delete()) {
                Err(Trouble::Fault(fault)) if fault.message.contains("No such file") => {
                    Ok(self.pool.refresh()?)
                }
                answer => answer,
            },
            None => Ok(()),
        }
    }

    /// Makes a raw volume of that length, without blocks; keeps one that is there.
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

    /// Makes a raw volume anew and begins to write all of it.
    pub fn replace_raw(&self, name: &str, bytes: u64) -> Outcome<super::sys::Stream> {
        self.remove(name)?;
        let volume = self.ensure_raw(name, bytes)?;
        Ok(volume.upload(&self.connection, bytes)?)
    }

    /// Writes a small volume anew.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let mut stream = self.replace_raw(name, bytes.len() as u64)?;
        stream.send(bytes)?;
        Ok(stream.finish()?)
    }

    pub fn make_layer(&self, layer: &Layer<'_>) -> Outcome<Volume> {
        Ok(self.pool.create(&layer_xml(layer))?)
    }

    /// Makes a qcow2 without anything below from what a guest sees of another volume.
    pub fn flatten(&self, name: &str, bytes: u64, source: &Volume) -> Outcome<Volume> {
        Ok(self.pool.create_from(&layer_xml(&Layer { name, bytes, below: None }), source)?)
    }

    /// Begins to read a volume.
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
