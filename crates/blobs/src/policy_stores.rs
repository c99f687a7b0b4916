//! The stores of all storage policies. The upper bits of a volume's number identify the store, so a location alone is enough
//! to find its bytes, whichever store new blobs go to.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{BlobId, Blobs, Error, Location, Reader, Relocated, Result, StoredBlob, Volume, Writer};

/// Low bits of a volume's number, which number it within its store.
const NUMBER_BITS: u32 = 40;
const NUMBER_MASK: i64 = (1 << NUMBER_BITS) - 1;

/// Returns whether a volume's number denotes a blob in a file of its own.
#[must_use]
pub fn is_single(volume: i64) -> bool {
    volume & NUMBER_MASK == 0
}

/// Returns the index of the store that a volume belongs to.
#[must_use]
pub fn store_of(volume: i64) -> usize {
    usize::try_from(volume >> NUMBER_BITS).unwrap_or(usize::MAX)
}

fn within(location: Location) -> Location {
    Location { volume: location.volume & NUMBER_MASK, ..location }
}

fn tagged(store: usize, volume: i64) -> i64 {
    i64::try_from(store).unwrap_or(0) << NUMBER_BITS | volume
}

/// Stores by index. The first one holds everything from before there were several.
pub struct PolicyStores(Vec<Arc<dyn Blobs>>);

impl PolicyStores {
    /// Creates the set. The order of the stores must never change.
    #[must_use]
    pub fn new(stores: Vec<Arc<dyn Blobs>>) -> Self {
        Self(stores)
    }

    /// Returns `wanted`, or the index of the first store if there is none at `wanted`.
    #[must_use]
    pub fn index(&self, wanted: usize) -> usize {
        if wanted < self.0.len() { wanted } else { 0 }
    }

    fn store(&self, index: usize) -> Result<&Arc<dyn Blobs>> {
        self.0.get(index).ok_or_else(|| Error::Missing { id: format!("of store {index}") })
    }

    /// As [`Blobs::put`], in the store at `index`.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, index: usize, id: BlobId, bytes: Bytes) -> Result<StoredBlob> {
        Ok(tag(index, self.store(index)?.put(id, bytes).await?))
    }

    /// As [`Blobs::create`], in the store at `index`.
    ///
    /// # Errors
    /// The store's.
    pub async fn create(&self, index: usize, id: BlobId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Tagging { index, inner: self.store(index)?.create(id).await? }))
    }

    /// As [`Blobs::read`].
    ///
    /// # Errors
    /// The store's, and [`Error::Missing`] if the location's store is not configured.
    pub async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>> {
        self.store(store_of(location.volume))?.read(id, within(location), range).await
    }

    /// As [`Blobs::verify`].
    ///
    /// # Errors
    /// The store's.
    pub async fn verify(&self, id: BlobId, location: Location) -> Result<()> {
        self.store(store_of(location.volume))?.verify(id, within(location)).await
    }

    /// As [`Blobs::delete`].
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, id: BlobId, location: Location) -> Result<()> {
        self.store(store_of(location.volume))?.delete(id, within(location)).await
    }

    /// Deletes a blob in a file of its own, whichever store it is in.
    ///
    /// # Errors
    /// The stores'.
    pub async fn delete_single(&self, id: BlobId) -> Result<()> {
        for store in &self.0 {
            store.delete(id, Location { volume: 0, offset: 0, length: 0 }).await?;
        }
        Ok(())
    }

    /// Returns the sealed volumes of all stores.
    #[must_use]
    pub fn volumes(&self) -> Vec<Volume> {
        let of = |(index, store): (usize, &Arc<dyn Blobs>)| {
            let tagged = move |volume: Volume| Volume { number: tagged(index, volume.number), ..volume };
            store.volumes().into_iter().map(tagged).collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(of).collect()
    }

    /// Returns the current volumes of all stores.
    #[must_use]
    pub fn current_volumes(&self) -> Vec<Volume> {
        let of = |(index, store): (usize, &Arc<dyn Blobs>)| {
            store.current_volume().map(|volume| Volume { number: tagged(index, volume.number), ..volume })
        };
        self.0.iter().enumerate().filter_map(of).collect()
    }

    /// As [`Blobs::has_volume`]; true if the volume's store is not configured, since nothing is known about it then.
    #[must_use]
    pub fn may_have_volume(&self, number: i64) -> bool {
        self.store(store_of(number)).is_ok_and(|store| store.has_volume(number & NUMBER_MASK))
            || store_of(number) >= self.0.len()
    }

    /// As [`Blobs::seal`].
    ///
    /// # Errors
    /// The store's.
    pub async fn seal(&self, number: i64) -> Result<()> {
        self.store(store_of(number))?.seal(number & NUMBER_MASK).await
    }

    /// As [`Blobs::relocate`]; the copy stays in the blob's store.
    ///
    /// # Errors
    /// The store's.
    pub async fn relocate(&self, id: BlobId, from: Location) -> Result<Relocated> {
        let index = store_of(from.volume);
        let relocated = self.store(index)?.relocate(id, within(from)).await?;
        Ok(Relocated { placed: tag(index, relocated.placed), ..relocated })
    }

    /// As [`Blobs::free`].
    ///
    /// # Errors
    /// The store's.
    pub async fn free(&self, volume: i64, parts: Vec<Range<u64>>) -> Result<bool> {
        self.store(store_of(volume))?.free(volume & NUMBER_MASK, parts).await
    }

    /// As [`Blobs::remove_volume`].
    ///
    /// # Errors
    /// The store's.
    pub async fn remove_volume(&self, number: i64) -> Result<bool> {
        self.store(store_of(number))?.remove_volume(number & NUMBER_MASK).await
    }

    /// Returns whether the volume's store is short of space ([`Blobs::is_short_of_space`]).
    #[must_use]
    pub fn is_short_of_space(&self, volume: i64) -> bool {
        self.store(store_of(volume)).is_ok_and(|store| store.is_short_of_space())
    }

    /// The stores, by index.
    #[must_use]
    pub fn stores(&self) -> &[Arc<dyn Blobs>] {
        &self.0
    }

    /// Returns the range of volume numbers that belong to the store at `index`, including those of single files.
    #[must_use]
    pub fn numbers(index: usize) -> Range<i64> {
        tagged(index, 0)..tagged(index + 1, 0)
    }
}

fn tag(index: usize, placed: StoredBlob) -> StoredBlob {
    let location = placed.location;
    StoredBlob { location: Location { volume: tagged(index, location.volume), ..location }, ..placed }
}

/// Adds the store's index to the location that the inner writer returns.
struct Tagging {
    index: usize,
    inner: Box<dyn Writer>,
}

#[async_trait]
impl Writer for Tagging {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Location> {
        let location = self.inner.finish().await?;
        Ok(Location { volume: tagged(self.index, location.volume), ..location })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Local;

    async fn whole(stores: &PolicyStores, id: BlobId, at: Location) -> Vec<u8> {
        let mut reader = stores.read(id, at, 0..at.length).await.unwrap();
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        all
    }

    #[tokio::test]
    async fn a_location_finds_its_store() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = |dir: &tempfile::TempDir| Arc::new(Local::open(dir.path()).unwrap()) as Arc<dyn Blobs>;
        let stores = PolicyStores::new(dirs.iter().map(open).collect());
        let (packed, single) = (BlobId::new(), BlobId::new());
        let at = stores.put(1, packed, Bytes::from_static(b"small")).await.unwrap().location;
        let mut writer = stores.create(1, single).await.unwrap();
        writer.write(Bytes::from_static(b"alone")).await.unwrap();
        let alone = writer.finish().await.unwrap();
        assert_eq!((store_of(at.volume), is_single(at.volume)), (1, false));
        assert_eq!((store_of(alone.volume), is_single(alone.volume)), (1, true));
        assert_eq!(whole(&stores, packed, at).await, b"small");
        assert_eq!(whole(&stores, single, alone).await, b"alone");
        let first = stores.put(0, packed, Bytes::from_static(b"other")).await.unwrap().location;
        assert_eq!(first.volume & NUMBER_MASK, first.volume);
        assert_eq!(whole(&stores, packed, first).await, b"other");
        stores.delete_single(single).await.unwrap();
        assert!(stores.read(single, alone, 0..5).await.is_err());
        let gone = Location { volume: tagged(2, 1), offset: 0, length: 1 };
        assert!(matches!(stores.read(packed, gone, 0..1).await, Err(Error::Missing { .. })));
        assert_eq!((stores.index(1), stores.index(7)), (1, 0));
    }
}
