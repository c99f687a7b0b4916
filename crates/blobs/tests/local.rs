//! Local blobs: stored, reopened, read by range, torn and swept.

use std::ops::Range;
use std::os::unix::fs::FileExt;

use blobs::{BlobId, Blobs, Error, Local, Location, PACKED_BYTES_MAX};
use bytes::Bytes;

fn pattern(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

async fn read(store: &Local, id: BlobId, location: Location, range: Range<u64>) -> Result<Vec<u8>, Error> {
    let mut reader = store.read(id, location, range).await?;
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

async fn store_large(store: &Local, id: BlobId, data: &Bytes) -> Location {
    let mut writer = store.create(id).await.unwrap();
    for piece in data.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_blobs_survive_reopening_and_are_read_by_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let mut stored = Vec::new();
    for length in [0, 1, 4096, 65_535, 65_536, 65_537, 300_000, PACKED_BYTES_MAX] {
        let (id, data) = (BlobId::new(), pattern(length));
        let location = store.put(id, data.clone()).await.unwrap();
        assert_eq!(location.length, length as u64);
        stored.push((id, location, data));
    }
    drop(store);
    let store = Local::open(dir.path()).unwrap();
    for (id, location, data) in &stored {
        let length = location.length;
        assert_eq!(read(&store, *id, *location, 0..length).await.unwrap(), *data);
        let (from, to) = (length / 3, length - length / 5);
        let part = &data[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
        assert_eq!(read(&store, *id, *location, from..to).await.unwrap(), part);
    }
    // Appending goes on behind what was there.
    let (id, data) = (BlobId::new(), pattern(99));
    let location = store.put(id, data.clone()).await.unwrap();
    assert_eq!(read(&store, id, location, 0..99).await.unwrap(), data);
    let (first, location, data) = &stored[2];
    assert_eq!(read(&store, *first, *location, 0..4096).await.unwrap(), *data);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_survive_reopening_and_are_read_by_range() {
    let dir = tempfile::tempdir().unwrap();
    let (id, data) = (BlobId::new(), pattern(5_000_000));
    let location = store_large(&Local::open(dir.path()).unwrap(), id, &data).await;
    let store = Local::open(dir.path()).unwrap();
    for range in [0..5_000_000, 0..1, 4_999_999..5_000_000, 65_535..65_537, 1_000_000..3_333_333] {
        let part = &data[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert_eq!(read(&store, id, location, range).await.unwrap(), part);
    }
    store.delete(id, location).await.unwrap();
    assert!(matches!(read(&store, id, location, 0..1).await, Err(Error::Missing { .. })));
    store.delete(id, location).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let small = BlobId::new();
    let at = store.put(small, pattern(200_000)).await.unwrap();
    let volume = std::fs::File::options().write(true).open(dir.path().join("volumes/00000001.vol")).unwrap();
    volume.write_all_at(b"\xee", u64::try_from(at.offset).unwrap() + 40 + 70_000).unwrap();
    assert!(matches!(read(&store, small, at, 0..200_000).await, Err(Error::Corrupt { .. })));
    assert_eq!(read(&store, small, at, 0..65_536).await.unwrap(), pattern(65_536), "other blocks are sound");

    let large = BlobId::new();
    let at = store_large(&store, large, &pattern(3_000_000)).await;
    let path = dir.path().join(format!("single/{:02x}/{large}", large.0[15]));
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(b"\xee", 2_000_000).unwrap();
    assert!(matches!(read(&store, large, at, 0..3_000_000).await, Err(Error::Corrupt { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_off_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let id = BlobId::new();
    let at = Local::open(dir.path()).unwrap().put(id, pattern(5000)).await.unwrap();
    let volume = std::fs::File::options().write(true).open(dir.path().join("volumes/00000001.vol")).unwrap();
    volume.write_all_at(b"NBLB and then the power went", u64::try_from(at.offset).unwrap() + 5048).unwrap();
    let store = Local::open(dir.path()).unwrap();
    let next = BlobId::new();
    let next_at = store.put(next, pattern(6000)).await.unwrap();
    assert_eq!(next_at.offset, at.offset + 5048);
    assert_eq!(read(&store, id, at, 0..5000).await.unwrap(), pattern(5000));
    assert_eq!(read(&store, next, next_at, 0..6000).await.unwrap(), pattern(6000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_upload_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let id = BlobId::new();
    let mut writer = store.create(id).await.unwrap();
    writer.write(pattern(100_000)).await.unwrap();
    let path = dir.path().join(format!("single/{:02x}/{id}", id.0[15]));
    while !path.exists() {
        tokio::task::yield_now().await;
    }
    drop(writer);
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_sees_only_what_is_older_than_this_life() {
    let dir = tempfile::tempdir().unwrap();
    let old = BlobId::new();
    store_large(&Local::open(dir.path()).unwrap(), old, &pattern(10)).await;
    let store = Local::open(dir.path()).unwrap();
    store_large(&store, BlobId::new(), &pattern(10)).await;
    assert_eq!(store.older_singles(None, 10).await.unwrap(), vec![old]);
    assert_eq!(store.older_singles(Some(old), 10).await.unwrap(), vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volumes_records_are_walked_in_parts_and_a_sealed_one_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let mut stored = Vec::new();
    for length in [10, 70_000, 3, 4096] {
        let id = BlobId::new();
        stored.push((id, store.put(id, pattern(length)).await.unwrap()));
    }
    let first = store.records(1, 0, 3).await.unwrap();
    assert_eq!(first.blobs, stored[..3]);
    let second = store.records(1, first.next.unwrap(), 3).await.unwrap();
    assert_eq!((second.blobs.as_slice(), second.next), (&stored[3..], None));
    assert_eq!(store.sealed_volumes(), vec![], "the one that is written is not sealed");
    store.remove_volume(1).await.unwrap();
    let (id, location) = stored[0];
    assert_eq!(read(&store, id, location, 0..10).await.unwrap(), pattern(10), "nor can it be removed");
}
