//! Writes a config drive as an ISO 9660 image, with Rock Ridge names and modes for Unix and Joliet names for other systems.

use std::collections::{BTreeMap, VecDeque};

use crate::ConfigDrive;

const SECTOR: usize = 2048;
const FIRST_DESCRIPTOR: usize = 16;
const AFTER_DESCRIPTORS: u32 = 19;
/// Sectors after the files: programs that probe for file systems fail if a device is too short.
const PADDING_SECTORS: u32 = 150;
/// Joliet's maximum length of a name, in UTF-16 units.
const LONGEST_NAME: usize = 64;
const DIRECTORY_MODE: u32 = 0o040_755;
const FILE_MODE: u32 = 0o100_400;

/// A path that is not valid on a config drive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path for a config drive: {reason}")]
pub struct BadPath {
    pub path: String,
    pub reason: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    RockRidge,
    Joliet,
}

struct Directory<'a> {
    name: &'a str,
    parent: usize,
    children: BTreeMap<&'a str, Child>,
}

#[derive(Clone, Copy)]
enum Child {
    Directory(usize),
    File(usize),
}

/// The position of a directory or file.
#[derive(Clone, Copy, Default)]
struct Extent {
    sector: u32,
    bytes: u32,
}

impl Extent {
    fn end(self) -> u32 {
        self.sector + sectors(self.bytes as usize)
    }
}

/// Returns the image of a drive with this label (at most 16 ASCII characters) and these files.
pub fn image(label: &str, files: &ConfigDrive) -> Result<Vec<u8>, BadPath> {
    let tree = in_path_table_order(&tree(files)?);
    let tables =
        [Naming::RockRidge, Naming::Joliet].map(|naming| path_table(&tree, naming, &[], false).len());
    let mut next = AFTER_DESCRIPTORS;
    let mut place = |bytes: usize| {
        let extent = Extent { sector: next, bytes: bytes as u32 };
        next = extent.end();
        extent
    };
    let table_extents = tables.map(|bytes| [place(bytes), place(bytes)]);
    let directory_extents = [Naming::RockRidge, Naming::Joliet].map(|naming| {
        let unplaced = (vec![Extent::default(); tree.len()], vec![Extent::default(); files.len()]);
        let sizes =
            (0..tree.len()).map(|index| directory(&tree, index, naming, &unplaced.0, &unplaced.1).len());
        sizes.map(&mut place).collect::<Vec<_>>()
    });
    let file_extents: Vec<_> = files.iter().map(|(_, bytes)| place(bytes.len())).collect();
    let end = next + PADDING_SECTORS;

    let mut image = vec![0; end as usize * SECTOR];
    let mut write = |sector: u32, bytes: &[u8]| {
        let at = sector as usize * SECTOR;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    for (number, naming) in [Naming::RockRidge, Naming::Joliet].into_iter().enumerate() {
        let (extents, [little, big]) = (&directory_extents[number], table_extents[number]);
        let descriptor = descriptor(label, naming, end, extents[0], little, big);
        write((FIRST_DESCRIPTOR + number) as u32, &descriptor);
        write(little.sector, &path_table(&tree, naming, extents, false));
        write(big.sector, &path_table(&tree, naming, extents, true));
        for (index, extent) in extents.iter().enumerate() {
            write(extent.sector, &directory(&tree, index, naming, extents, &file_extents));
        }
    }
    write(FIRST_DESCRIPTOR as u32 + 2, b"\xffCD001\x01");
    for ((_, bytes), extent) in files.iter().zip(&file_extents) {
        write(extent.sector, bytes);
    }
    Ok(image)
}

fn sectors(bytes: usize) -> u32 {
    bytes.div_ceil(SECTOR) as u32
}

fn tree(files: &ConfigDrive) -> Result<Vec<Directory<'_>>, BadPath> {
    let mut tree = vec![Directory { name: "", parent: 0, children: BTreeMap::new() }];
    for (number, (path, _)) in files.iter().enumerate() {
        let bad = |reason| BadPath { path: path.clone(), reason };
        let mut parts: Vec<&str> = path.split('/').collect();
        for part in &parts {
            check_name(part).map_err(bad)?;
        }
        let name = parts.pop().ok_or_else(|| bad("it is empty"))?;
        let mut at = 0;
        for part in parts {
            at = match tree[at].children.get(part) {
                Some(Child::Directory(index)) => *index,
                Some(Child::File(_)) => return Err(bad("it leads through a file")),
                None => {
                    tree.push(Directory { name: part, parent: at, children: BTreeMap::new() });
                    let index = tree.len() - 1;
                    tree[at].children.insert(part, Child::Directory(index));
                    index
                }
            };
        }
        if tree[at].children.insert(name, Child::File(number)).is_some() {
            return Err(bad("it occurs twice"));
        }
    }
    Ok(tree)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Err("a part of it is empty, `.` or `..`");
    }
    if name.encode_utf16().count() > LONGEST_NAME || name.len() > 2 * LONGEST_NAME {
        return Err("a part of it is longer than 64 characters");
    }
    if name.chars().any(|c| c.is_control() || "*:;?\\".contains(c)) {
        return Err("it has a character that Joliet forbids");
    }
    Ok(())
}

/// Returns the directories sorted by depth, then by parent, then by name.
fn in_path_table_order<'a>(tree: &[Directory<'a>]) -> Vec<Directory<'a>> {
    let mut ordered = Vec::with_capacity(tree.len());
    let mut waiting = VecDeque::from([(0, 0)]);
    while let Some((index, parent)) = waiting.pop_front() {
        let place = ordered.len();
        let mut children = tree[index].children.clone();
        for child in children.values_mut() {
            if let Child::Directory(below) = child {
                waiting.push_back((*below, place));
                *below = place + waiting.len();
            }
        }
        ordered.push(Directory { name: tree[index].name, parent, children });
    }
    ordered
}

/// Returns a name that ISO 9660 allows, unique by its number.
fn plain_name(number: usize, is_directory: bool) -> Vec<u8> {
    if is_directory { format!("D{number:07}").into_bytes() } else { format!("F{number:07}.;1").into_bytes() }
}

fn joliet_name(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn path_table(tree: &[Directory<'_>], naming: Naming, extents: &[Extent], big: bool) -> Vec<u8> {
    let mut table = Vec::new();
    for (index, directory) in tree.iter().enumerate() {
        let name = match naming {
            _ if index == 0 => vec![0],
            Naming::RockRidge => plain_name(index, true),
            Naming::Joliet => joliet_name(directory.name),
        };
        let sector = extents.get(index).copied().unwrap_or_default().sector;
        let parent = directory.parent as u16 + 1;
        table.extend([name.len() as u8, 0]);
        if big {
            table.extend(sector.to_be_bytes());
            table.extend(parent.to_be_bytes());
        } else {
            table.extend(sector.to_le_bytes());
            table.extend(parent.to_le_bytes());
        }
        table.extend(&name);
        table.resize(table.len().next_multiple_of(2), 0);
    }
    table
}

/// Returns a directory's records, padded to whole sectors. No record crosses the end of a sector.
fn directory(
    tree: &[Directory<'_>],
    index: usize,
    naming: Naming,
    directories: &[Extent],
    files: &[Extent],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut append = |record: Vec<u8>| {
        let left = SECTOR - bytes.len() % SECTOR;
        if record.len() > left {
            bytes.resize(bytes.len() + left, 0);
        }
        bytes.extend(record);
    };
    let rock = naming == Naming::RockRidge;
    let mode = |mode| if rock { posix(mode) } else { Vec::new() };
    let mut own = if rock && index == 0 { b"SP\x07\x01\xbe\xef\x00".to_vec() } else { Vec::new() };
    own.extend(mode(DIRECTORY_MODE));
    if rock && index == 0 {
        own.extend(b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A");
    }
    append(record(&[0], directories[index], true, &own));
    append(record(&[1], directories[tree[index].parent], true, &mode(DIRECTORY_MODE)));
    for (name, child) in &tree[index].children {
        let (extent, number, is_directory) = match *child {
            Child::Directory(below) => (directories[below], below, true),
            Child::File(number) => (files[number], number, false),
        };
        if rock {
            let mut system = posix(if is_directory { DIRECTORY_MODE } else { FILE_MODE });
            system.extend([b'N', b'M', 5 + name.len() as u8, 1, 0]);
            system.extend(name.as_bytes());
            append(record(&plain_name(number, is_directory), extent, is_directory, &system));
        } else {
            append(record(&joliet_name(name), extent, is_directory, &[]));
        }
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

/// 1 January 2000: a constant, so that equal files give equal images.
const DATE: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];

fn record(identifier: &[u8], extent: Extent, is_directory: bool, system: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both32(extent.sector));
    record.extend(both32(extent.bytes));
    record.extend(DATE);
    record.extend([u8::from(is_directory) << 1, 0, 0]);
    record.extend(both16(1));
    record.push(identifier.len() as u8);
    record.extend(identifier);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).expect("names are bounded so that records fit");
    record
}

/// Returns Rock Ridge's entry for mode, links, owner and group.
fn posix(mode: u32) -> Vec<u8> {
    let mut entry = b"PX\x24\x01".to_vec();
    for value in [mode, 1, 0, 0] {
        entry.extend(both32(value));
    }
    entry
}

fn descriptor(
    label: &str,
    naming: Naming,
    sectors: u32,
    root: Extent,
    little: Extent,
    big: Extent,
) -> Vec<u8> {
    let joliet = naming == Naming::Joliet;
    let padded = |text: &str, length: usize| {
        let mut field = if joliet { joliet_name(text) } else { text.as_bytes().to_vec() };
        while field.len() + 1 < length {
            field.extend_from_slice(if joliet { &[0, b' '] } else { b" " });
        }
        field.resize(length, if joliet { 0 } else { b' ' });
        field
    };
    let mut bytes = vec![if joliet { 2 } else { 1 }];
    bytes.extend(b"CD001\x01\x00");
    bytes.extend(padded("", 32));
    bytes.extend(padded(label, 32));
    bytes.extend([0; 8]);
    bytes.extend(both32(sectors));
    let mut escapes = [0; 32];
    if joliet {
        escapes[..3].copy_from_slice(b"%/E");
    }
    bytes.extend(escapes);
    bytes.extend(both16(1));
    bytes.extend(both16(1));
    bytes.extend(both16(SECTOR as u16));
    bytes.extend(both32(little.bytes));
    bytes.extend(little.sector.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(big.sector.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], root, true, &[]));
    for length in [128, 128, 128, 128, 37, 37, 37] {
        bytes.extend(padded("", length));
    }
    for _ in 0..4 {
        bytes.extend(b"0000000000000000\0");
    }
    bytes.extend([1, 0]);
    bytes.resize(SECTOR, 0);
    bytes
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

fn both32(value: u32) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn example() -> ConfigDrive {
        let mut files = vec![
            ("openstack/latest/meta_data.json".to_owned(), b"{}".to_vec()),
            ("openstack/latest/network_data.json".to_owned(), vec![b'n'; 5000]),
            ("openstack/2012-08-10/meta_data.json".to_owned(), b"{ }".to_vec()),
            ("empty".to_owned(), Vec::new()),
        ];
        files
            .extend((0..60).map(|n| (format!("openstack/content/{n:04}"), format!("file {n}").into_bytes())));
        files
    }

    fn written() -> PathBuf {
        let unique = format!("iso-{}-{:?}.iso", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(unique);
        std::fs::write(&path, image("config-2", &example()).unwrap()).unwrap();
        path
    }

    #[test]
    fn another_reader_finds_every_file_byte_for_byte() {
        let path = written();
        let target = path.with_extension("out");
        std::fs::create_dir_all(&target).unwrap();
        let extracted = Command::new("bsdtar").arg("-xf").arg(&path).arg("-C").arg(&target).output();
        let extracted = extracted.expect("bsdtar, of the package libarchive-tools");
        assert!(extracted.status.success(), "{}", String::from_utf8_lossy(&extracted.stderr));
        for (name, bytes) in example() {
            assert_eq!(std::fs::read(target.join(&name)).unwrap(), bytes, "{name}");
        }
        std::fs::remove_dir_all(target).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_image_has_the_label_and_both_kinds_of_names() {
        let path = written();
        let info = |arguments: &[&str]| {
            let output = Command::new("isoinfo").args(arguments).arg("-i").arg(&path).output();
            let output = output.expect("isoinfo, of the package genisoimage");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let descriptor = info(&["-d"]);
        assert!(descriptor.contains("Volume id: config-2"), "{descriptor}");
        assert!(descriptor.contains("Joliet with UCS level 3"), "{descriptor}");
        for naming in ["-R", "-J"] {
            let listing = info(&["-f", naming]);
            for (name, _) in example() {
                assert!(listing.contains(&format!("/{name}\n")), "{naming} {name}: {listing}");
            }
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn invalid_paths_are_rejected() {
        let long = "x".repeat(65);
        for path in ["", "/etc/passwd", "a/../b", "a//b", "a\nb", long.as_str()] {
            let files = vec![(path.to_owned(), Vec::new())];
            assert_eq!(image("config-2", &files).unwrap_err().path, path);
        }
        let through = vec![("a".to_owned(), Vec::new()), ("a/b".to_owned(), Vec::new())];
        assert!(image("config-2", &through).is_err());
    }
}
