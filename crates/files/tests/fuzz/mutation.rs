//! Generates input by cutting, joining, repeating and flipping samples and inserting tokens that parsers mishandle.

/// Tokens that parsers often mishandle.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"%",
    b"%00",
    b"%ff",
    b"%2F",
    b"/",
    b"//",
    b"..",
    b"\"",
    b"\\",
    b",",
    b"=",
    b"-",
    b"0",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e999",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"{",
    b"[",
];

/// Maximum length, in bytes.
const LONGEST: usize = 8192;

/// Generates input; the same seed and name generate the same input.
pub struct Mutator {
    random: fastrand::Rng,
    samples: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, name: &str, samples: &[&[u8]]) -> Self {
        let seed = name.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Self {
            random: fastrand::Rng::with_seed(seed),
            samples: samples.iter().map(|sample| sample.to_vec()).collect(),
        }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.sample();
        for _ in 0..self.random.usize(1..6) {
            bytes = self.changed(bytes);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn sample(&mut self) -> Vec<u8> {
        let index = self.random.usize(..self.samples.len());
        self.samples[index].clone()
    }

    fn changed(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let at = self.random.usize(..=bytes.len());
        match self.random.u8(..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.random.u8(..8),
            1 if at < bytes.len() => bytes[at] = self.random.u8(..),
            2 => {
                let token = TOKENS[self.random.usize(..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            3 => bytes.truncate(at),
            4 => {
                bytes.drain(..at);
            }
            5 => {
                let other = self.sample();
                let from = self.random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let until = self.random.usize(at..=bytes.len());
                let piece = bytes[at..until].to_vec();
                for _ in 0..self.random.usize(1..4) {
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}
