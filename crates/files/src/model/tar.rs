//! Parses tar archives as they arrive, in the common formats (ustar, GNU long names, pax).

use std::collections::BTreeMap;

/// Length of a block, in bytes.
const BLOCK: usize = 512;
/// Maximum length of a long name or a set of pax records, in bytes.
const EXTENSION_MAX: u64 = 1 << 20;

/// A file in an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: Vec<u8>,
    /// Its length, in bytes.
    pub size: u64,
    /// Its pax records.
    pub records: BTreeMap<String, Vec<u8>>,
}

/// What the reader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file begins.
    File(Entry),
    /// Bytes of the current file.
    Bytes(Vec<u8>),
    /// The current file is complete.
    End,
}

/// The archive is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

#[derive(Debug)]
enum State {
    /// Expects a header.
    Header,
    /// In a file: bytes left, and the padding after them.
    File { left: u64, padding: u64 },
    /// In bytes to skip.
    Skip { left: u64 },
    /// In a record that describes the next entry.
    Extension { kind: u8, left: u64, padding: u64, bytes: Vec<u8> },
    /// After the end of the archive.
    Done,
}

/// Reads an archive in pieces.
#[derive(Debug)]
pub struct Reader {
    state: State,
    pending: Vec<u8>,
    long_name: Option<Vec<u8>>,
    records: BTreeMap<String, Vec<u8>>,
    any: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Header,
            pending: Vec::new(),
            long_name: None,
            records: BTreeMap::new(),
            any: false,
        }
    }
}

impl Reader {
    /// Parses the next piece and returns the events that it completes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, Malformed> {
        self.pending.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut at = 0;
        loop {
            let rest = &self.pending[at..];
            match &mut self.state {
                State::Done => {
                    at = self.pending.len();
                    break;
                }
                State::Header => {
                    if rest.len() < BLOCK {
                        break;
                    }
                    let block: [u8; BLOCK] = rest[..BLOCK].try_into().unwrap_or([0; BLOCK]);
                    at += BLOCK;
                    self.header(&block, &mut events)?;
                }
                State::File { left, padding } => {
                    if *left > 0 && rest.is_empty() {
                        break;
                    }
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if taken > 0 {
                        events.push(Event::Bytes(rest[..taken].to_vec()));
                        *left -= taken as u64;
                        at += taken;
                    }
                    if *left == 0 {
                        events.push(Event::End);
                        self.state = State::Skip { left: *padding };
                    }
                }
                State::Skip { left } => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    at += taken;
                    if *left > 0 {
                        break;
                    }
                    self.state = State::Header;
                }
                State::Extension { kind, left, padding, bytes } => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    bytes.extend_from_slice(&rest[..taken]);
                    *left -= taken as u64;
                    at += taken;
                    if *left > 0 {
                        break;
                    }
                    let (kind, padding, bytes) = (*kind, *padding, std::mem::take(bytes));
                    self.state = State::Skip { left: padding };
                    match kind {
                        b'L' => self.long_name = Some(until_nul(&bytes).to_vec()),
                        b'x' => self.records = records(&bytes)?,
                        _ => {}
                    }
                }
            }
        }
        self.pending.drain(..at);
        Ok(events)
    }

    /// Checks that the archive may end here.
    ///
    /// # Errors
    /// [`Malformed`] in the middle of an entry, or if the archive had none.
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.state {
            State::Done => Ok(()),
            State::Header if self.pending.is_empty() && self.any => Ok(()),
            State::Skip { .. } if self.pending.is_empty() => Ok(()),
            State::Header if self.pending.is_empty() => Err(Malformed("empty file")),
            State::Header => Err(Malformed("truncated header")),
            _ => Err(Malformed("unexpected end of data")),
        }
    }

    fn header(&mut self, block: &[u8; BLOCK], events: &mut Vec<Event>) -> Result<(), Malformed> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::Done;
            return Ok(());
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) })
            .sum();
        if number(&block[148..156]) != Some(sum) {
            return Err(Malformed("bad checksum"));
        }
        self.any = true;
        let kind = block[156];
        let mut size = number(&block[124..136]).ok_or(Malformed("invalid header"))?;
        let is_extension = matches!(kind, b'L' | b'K' | b'x' | b'g');
        if is_extension {
            if size > EXTENSION_MAX {
                return Err(Malformed("an extension is too long"));
            }
            let padding = padding(size);
            self.state = State::Extension { kind, left: size, padding, bytes: Vec::new() };
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        let long_name = self.long_name.take();
        if let Some(text) = records.get("size").and_then(|text| std::str::from_utf8(text).ok()) {
            size = text.parse().map_err(|_| Malformed("invalid header"))?;
        }
        let path = records.get("path").cloned().or(long_name).unwrap_or_else(|| path_of(block));
        // In the oldest format, a directory is a file whose name ends in a slash.
        let is_file = matches!(kind, b'0' | b'7') || (kind == 0 && !path.ends_with(b"/"));
        if is_file {
            events.push(Event::File(Entry { path, size, records }));
            self.state = State::File { left: size, padding: padding(size) };
        } else {
            // Links, directories and devices have no data, whatever their size field says.
            let left = if matches!(kind, b'1'..=b'6') { 0 } else { size + padding(size) };
            self.state = State::Skip { left };
        }
        Ok(())
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn path_of(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix =
        if &block[257..262] == b"ustar" && block[262] == 0 { until_nul(&block[345..500]) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Parses a number in octal, or in base 256 if the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        let mut value: u64 = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return (value < 1 << 62).then_some(value);
    }
    let text = until_nul(field).trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)))?;
    u64::from_str_radix(text, 8).ok()
}

/// Parses pax records: `length key=value\n`.
fn records(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Malformed> {
    const BAD: Malformed = Malformed("invalid header");
    let (mut found, mut rest) = (BTreeMap::new(), bytes);
    while !rest.is_empty() && rest[0] != 0 {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
        let length: usize =
            std::str::from_utf8(&rest[..blank]).ok().and_then(|text| text.parse().ok()).ok_or(BAD)?;
        if length <= blank + 1 || length > rest.len() {
            return Err(BAD);
        }
        let record = &rest[blank + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
        let key = String::from_utf8(record[..equals].to_vec()).map_err(|_| BAD)?;
        found.insert(key, record[equals + 1..].to_vec());
        rest = &rest[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &[u8], size: usize, kind: u8) -> Vec<u8> {
        let mut block = vec![0u8; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn entry(name: &[u8], data: &[u8], kind: u8) -> Vec<u8> {
        let mut out = header(name, data.len(), kind);
        out.extend_from_slice(data);
        out.resize(out.len().div_ceil(BLOCK) * BLOCK, 0);
        out
    }

    fn read(archive: &[u8], piece: usize) -> Vec<(Entry, Vec<u8>)> {
        let mut reader = Reader::default();
        let mut files: Vec<(Entry, Vec<u8>)> = Vec::new();
        for piece in archive.chunks(piece) {
            for event in reader.feed(piece).unwrap() {
                match event {
                    Event::File(entry) => files.push((entry, Vec::new())),
                    Event::Bytes(bytes) => files.last_mut().unwrap().1.extend(bytes),
                    Event::End => {}
                }
            }
        }
        reader.finish().unwrap();
        files
    }

    #[test]
    fn files_are_found_whatever_the_piece_length() {
        let long = vec![b'n'; 150];
        let pax = b"30 SCHILY.xattr.user.meta.a=b\n";
        let archive = [
            entry(b"c/a", b"hello", b'0'),
            entry(b"c/dir/", b"", b'5'),
            entry(b"././@LongLink", &long, b'L'),
            entry(b"short", b"", b'0'),
            entry(b"pax", pax, b'x'),
            entry(b"c/b", &[7; 1000], b'0'),
            vec![0; 1024],
        ]
        .concat();
        for piece in [1, 7, 511, 512, 513, 100_000] {
            let files = read(&archive, piece);
            let names: Vec<_> = files.iter().map(|(entry, _)| entry.path.clone()).collect();
            assert_eq!(names, [b"c/a".to_vec(), long.clone(), b"c/b".to_vec()]);
            assert_eq!((files[0].1.as_slice(), files[2].1.len()), (&b"hello"[..], 1000));
            assert_eq!(files[2].0.records["SCHILY.xattr.user.meta.a"], b"b");
        }
    }

    #[test]
    fn malformed_archives_are_rejected() {
        let mut reader = Reader::default();
        assert_eq!(reader.feed(&[b'x'; 512]), Err(Malformed("bad checksum")));
        let mut cut = Reader::default();
        cut.feed(&entry(b"c/a", &[1; 600], b'0')[..700]).unwrap();
        assert_eq!(cut.finish(), Err(Malformed("unexpected end of data")));
        assert_eq!(Reader::default().finish(), Err(Malformed("empty file")));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000), fix: bool) {
            let mut bytes = bytes;
            if fix && bytes.len() >= BLOCK {
                bytes[148..156].fill(b' ');
                let sum: u64 = bytes[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
                bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
            let _ = Reader::default().feed(&bytes);
        }
    }
}
