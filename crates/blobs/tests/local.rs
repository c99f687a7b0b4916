//! Local blobs: storing, reopening, reading ranges, damage, relocation and orphans.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use blobs::{BlobId, Blobs, Error, Local, Location, PACKED_BYTES_MAX, record_bytes};
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

async fn put(store: &Local, id: BlobId, data: Bytes) -> Location {
    store.put(id, data).await.unwrap().location
}

fn volume_file(dir: &std::path::Path, number: i64) -> std::fs::File {
    let path = dir.join(format!("volumes/{number:08}.vol"));
    std::fs::File::options().read(true).write(true).open(path).unwrap()
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
        let location = put(&store, id, data.clone()).await;
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
    // New blobs go to a new volume; the existing one is never appended to.
    let (id, data) = (BlobId::new(), pattern(99));
    let location = put(&store, id, data.clone()).await;
    assert_eq!((location.volume, location.offset), (2, 0));
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
async fn a_block_with_a_flipped_bit_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let small = BlobId::new();
    let at = put(&store, small, pattern(200_000)).await;
    let volume = volume_file(dir.path(), 1);
    volume.write_all_at(b"\xee", u64::try_from(at.offset).unwrap() + 40 + 70_000).unwrap();
    assert!(matches!(read(&store, small, at, 0..200_000).await, Err(Error::Corrupt { .. })));
    assert_eq!(read(&store, small, at, 0..65_536).await.unwrap(), pattern(65_536), "other blocks are intact");

    let large = BlobId::new();
    let at = store_large(&store, large, &pattern(3_000_000)).await;
    let path = dir.path().join(format!("single/{:02x}/{large}", large.0[15]));
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(b"\xee", 2_000_000).unwrap();
    assert!(matches!(read(&store, large, at, 0..3_000_000).await, Err(Error::Corrupt { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_damages_only_its_own_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let mut stored = Vec::new();
    for length in [100, 5000, 70_000] {
        let (id, data) = (BlobId::new(), pattern(length));
        stored.push((id, put(&store, id, data.clone()).await, data));
    }
    drop(store);
    let mut store = Local::open(dir.path()).unwrap();
    let end: u64 = stored.iter().map(|(_, at, _)| record_bytes(at.length)).sum();
    let volume = volume_file(dir.path(), 1);
    // Every byte of all headers and tables, and one of 97 data bytes.
    let frame = |byte: u64| {
        stored.iter().any(|(_, at, _)| {
            let start = u64::try_from(at.offset).unwrap();
            (start..start + 40).contains(&byte)
                || (start + 40 + at.length..start + record_bytes(at.length)).contains(&byte)
        })
    };
    for byte in (0..end).filter(|byte| frame(*byte) || byte.is_multiple_of(97)) {
        let mut original = [0];
        volume.read_exact_at(&mut original, byte).unwrap();
        volume.write_all_at(&[original[0] ^ 1 << (byte % 8)], byte).unwrap();
        // Reopening a damaged volume must not change anything either.
        if byte.is_multiple_of(41) {
            store = Local::open(dir.path()).unwrap();
        }
        for (id, at, data) in &stored {
            let start = u64::try_from(at.offset).unwrap();
            let hit = (start..start + record_bytes(at.length)).contains(&byte);
            let found = read(&store, *id, *at, 0..at.length).await;
            match found {
                Ok(found) => assert!(found == *data, "byte {byte}: wrong bytes were served"),
                Err(Error::Corrupt { .. }) => assert!(hit, "byte {byte} damaged another blob"),
                Err(other) => panic!("byte {byte}: {other}"),
            }
            let padding = byte >= start + 40 + at.length + at.length.div_ceil(65_536) * 4;
            assert_eq!(
                store.verify(*id, *at).await.is_ok(),
                !hit || padding,
                "byte {byte}: result of the scrub"
            );
        }
        volume.write_all_at(&original, byte).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_changes_no_stored_file() {
    let dir = tempfile::tempdir().unwrap();
    let id = BlobId::new();
    let at = put(&Local::open(dir.path()).unwrap(), id, pattern(5000)).await;
    volume_file(dir.path(), 1).write_all_at(b"NBLB and then the power went", 5048).unwrap();
    let before = std::fs::read(dir.path().join("volumes/00000001.vol")).unwrap();
    let store = Local::open(dir.path()).unwrap();
    let next = BlobId::new();
    let next_at = put(&store, next, pattern(6000)).await;
    assert_eq!((next_at.volume, next_at.offset), (2, 0));
    assert_eq!(read(&store, id, at, 0..5000).await.unwrap(), pattern(5000));
    assert_eq!(read(&store, next, next_at, 0..6000).await.unwrap(), pattern(6000));
    assert!(std::fs::read(dir.path().join("volumes/00000001.vol")).unwrap() == before);
    drop(store);
    // Starts without writes create no volumes.
    for _ in 0..3 {
        drop(Local::open(dir.path()).unwrap());
    }
    let names = std::fs::read_dir(dir.path().join("volumes")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(names.filter(|path| path.extension().is_some_and(|end| end == "vol")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_blob_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    for length in [100, 100_000] {
        let at = put(&store, BlobId::new(), pattern(length)).await;
        let found = read(&store, BlobId::new(), at, 0..at.length).await;
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
        let moved = store.relocate(BlobId::new(), at).await;
        assert!(matches!(moved, Err(Error::Corrupt { .. })), "compaction must not relocate another blob");
    }
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
    .expect("the abandoned file is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orphan_check_lists_only_blobs_older_than_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let old = BlobId::new();
    store_large(&Local::open(dir.path()).unwrap(), old, &pattern(10)).await;
    let store = Local::open(dir.path()).unwrap();
    store_large(&store, BlobId::new(), &pattern(10)).await;
    assert_eq!(singles_of_earlier_processes(&store).await, vec![old]);
}

/// What all pages hold together.
async fn singles_of_earlier_processes(store: &Local) -> Vec<BlobId> {
    let (mut all, mut page) = (Vec::new(), 0);
    while let Some(found) = store.singles_of_earlier_processes(page).await.unwrap() {
        all.extend(found);
        page += 1;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_of_old_blobs_is_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let mut stored: Vec<_> = (0..40).map(|_| BlobId::new()).collect();
    for id in &stored {
        store_large(&store, *id, &pattern(10)).await;
    }
    let store = Local::open(dir.path()).unwrap();
    // Another page's directory is not read for this one.
    let hidden = dir.path().join("single/00");
    std::fs::remove_dir_all(&hidden).unwrap();
    stored.retain(|id| id.0[15] != 0);
    assert!(store.singles_of_earlier_processes(0).await.is_err());
    let mut found = Vec::new();
    for page in 1..=255 {
        let on_page = store.singles_of_earlier_processes(page).await.unwrap().unwrap();
        assert!(on_page.iter().all(|id| usize::from(id.0[15]) == page), "{page}: {on_page:?}");
        found.extend(on_page);
    }
    found.sort_unstable();
    stored.sort_unstable();
    assert_eq!((found, store.singles_of_earlier_processes(256).await.unwrap()), (stored, None));
}

#[test]
fn uploads_that_stall_hold_no_thread() {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(2).max_blocking_threads(2).enable_all().build().unwrap();
    let work = async {
        let dir = tempfile::tempdir().unwrap();
        let store = Local::open(dir.path()).unwrap();
        let mut uploads = Vec::new();
        for n in 0..8usize {
            let (id, data) = (BlobId::new(), pattern(2_000_000 + n));
            let mut writer = store.create(id).await.unwrap();
            for piece in data[..1_500_000].chunks(50_000) {
                writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            uploads.push((id, data, writer));
        }
        // All eight stall now, and two threads may wait: others are stored and read all the same.
        let (other, data) = (BlobId::new(), pattern(3_000_000));
        let at = store_large(&store, other, &data).await;
        assert_eq!(read(&store, other, at, 0..3_000_000).await.unwrap(), data);
        for (id, data, mut writer) in uploads {
            writer.write(data.slice(1_500_000..)).await.unwrap();
            let at = writer.finish().await.unwrap();
            assert_eq!(read(&store, id, at, 0..at.length).await.unwrap(), data);
        }
    };
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing waits for a thread");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_removed_volume_is_not_used_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for expected in 1..4 {
        let store = Local::open(dir.path()).unwrap();
        assert_eq!(put(&store, BlobId::new(), pattern(10)).await.volume, expected);
        store.seal(expected).await.unwrap();
        assert!(store.has_volume(expected));
        assert!(store.remove_volume(expected).await.unwrap());
        assert!(!store.has_volume(expected));
    }
    // A file that cannot be read must not lead to a number that was used.
    std::fs::write(dir.path().join("volumes/highest"), "?").unwrap();
    let store = Local::open(dir.path()).unwrap();
    assert!(put(&store, BlobId::new(), pattern(10)).await.volume > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_volume_is_as_long_as_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    assert_eq!(store.current_volume(), None);
    let mut expected = 0;
    for length in [100, 70_000, PACKED_BYTES_MAX] {
        put(&store, BlobId::new(), pattern(length)).await;
        expected += record_bytes(length as u64);
        let current = store.current_volume().unwrap();
        assert_eq!((current.number, current.bytes), (1, expected), "what is reserved does not count");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_set_aside_and_moved_back_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (id, data) = (BlobId::new(), pattern(2_000_000));
    let at = store_large(&Local::open(dir.path()).unwrap(), id, &data).await;
    let store = Local::open(dir.path()).unwrap();
    store.set_aside(id).await.unwrap();
    assert_eq!(singles_of_earlier_processes(&store).await, vec![]);
    assert_eq!(store.orphans_older_than(Duration::from_secs(86_400)).await.unwrap(), vec![]);
    assert_eq!(read(&store, id, at, 0..at.length).await.unwrap(), data);
    assert_eq!(store.orphans_older_than(Duration::ZERO).await.unwrap(), vec![]);
    store.set_aside(id).await.unwrap();
    assert_eq!(store.orphans_older_than(Duration::ZERO).await.unwrap(), vec![id]);
    store.delete_orphan(id).await.unwrap();
    assert!(matches!(read(&store, id, at, 0..1).await, Err(Error::Missing { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_volume_is_not_removed_and_numbers_are_not_reused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::with_volumes_of(dir.path(), 1000).unwrap();
    let id = BlobId::new();
    let placed = store.put(id, pattern(2000)).await.unwrap();
    assert_eq!(placed.location.volume, 1);
    // The volume is full, so it is sealed before the next blob is stored.
    let next = store.put(BlobId::new(), pattern(10)).await.unwrap();
    assert_eq!(next.location.volume, 2);
    let claimed: Vec<_> = store.volumes().iter().map(|volume| (volume.number, volume.claimed)).collect();
    assert_eq!(claimed, [(1, true)]);
    assert!(!store.remove_volume(1).await.unwrap(), "a row may still be committed");
    assert!(!store.remove_volume(2).await.unwrap(), "it is the current volume");
    let location = placed.location;
    drop(placed.claim);
    store.seal(2).await.unwrap();
    next.claim.keep();
    assert!(store.remove_volume(1).await.unwrap());
    assert!(!store.remove_volume(2).await.unwrap(), "the claim was kept");
    assert!(matches!(read(&store, id, location, 0..1).await, Err(Error::Missing { .. })));
    assert_eq!(put(&store, BlobId::new(), pattern(10)).await.volume, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_is_relocated_with_its_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let (sound, bad) = (BlobId::new(), BlobId::new());
    let sound_at = put(&store, sound, pattern(3000)).await;
    let bad_at = put(&store, bad, pattern(200_000)).await;
    let hit = u64::try_from(bad_at.offset).unwrap() + 40 + 70_000;
    volume_file(dir.path(), 1).write_all_at(b"\xee", hit).unwrap();
    store.seal(1).await.unwrap();
    let moved = store.relocate(sound, sound_at).await.unwrap();
    let moved_bad = store.relocate(bad, bad_at).await.unwrap();
    assert_eq!((moved.damaged, moved_bad.damaged), (false, true));
    assert!(store.remove_volume(1).await.unwrap());
    assert_eq!(read(&store, sound, moved.placed.location, 0..3000).await.unwrap(), pattern(3000));
    let at = moved_bad.placed.location;
    assert_eq!(
        read(&store, bad, at, 0..65_536).await.unwrap(),
        pattern(65_536),
        "an intact block is still served"
    );
    assert!(matches!(read(&store, bad, at, 0..200_000).await, Err(Error::Corrupt { .. })));
    assert!(matches!(store.verify(bad, at).await, Err(Error::Corrupt { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn space_in_a_volume_is_freed_unless_it_is_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    let mut blobs = Vec::new();
    for _ in 0..20 {
        let id = BlobId::new();
        blobs.push((id, put(&store, id, pattern(500_000)).await));
    }
    store.seal(1).await.unwrap();
    let bytes = || store.volumes()[0].bytes;
    let full = bytes();
    let (first, at) = blobs[0];
    let mut reader = store.read(first, at, 0..at.length).await.unwrap();
    let begun = reader.next().await.unwrap().unwrap();
    let freed: Vec<Range<u64>> = blobs[..19].iter().map(|(_, at)| at.record()).collect();
    assert!(!store.free(1, freed.clone()).await.unwrap());
    assert_eq!(bytes(), full, "a reader has it open");
    let mut all = begun.to_vec();
    while let Some(piece) = reader.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    assert_eq!(all, pattern(500_000));
    drop(reader);
    assert!(store.free(1, freed.clone()).await.unwrap());
    assert!(bytes() < full / 10, "{} of {full}", bytes());
    let (last, at) = blobs[19];
    assert_eq!(read(&store, last, at, 0..at.length).await.unwrap(), pattern(500_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_records_its_cloud() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::open(dir.path()).unwrap();
    assert_eq!((store.cloud().unwrap(), store.is_empty()), (None, true));
    store.set_cloud("one").unwrap();
    store_large(&store, BlobId::new(), &pattern(10)).await;
    drop(store);
    let store = Local::open(dir.path()).unwrap();
    assert_eq!((store.cloud().unwrap().as_deref(), store.is_empty()), (Some("one"), false));
}
