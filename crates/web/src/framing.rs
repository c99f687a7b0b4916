//! Finds where the messages of an HTTP/1 connection begin and end, in one direction. Counts body bytes without parsing them.

/// How the body after a head is delimited (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// By a length, in bytes.
    Length(u64),
    /// By chunked transfer coding.
    Chunked,
    /// By the end of the connection.
    ToClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next byte begins a head.
    Head,
    /// The rest of a head of known length.
    HeadRest { left: usize, body: Framing },
    /// A body, or a chunk with the line break after it.
    Counted { left: u64, is_chunk: bool },
    /// A chunk's size, which ends at the first non-digit, and the rest of its line.
    Size { value: u64, has_ended: bool },
    /// The lines after the last chunk; whether the current one is empty so far.
    Trailer { is_empty: bool },
    /// Everything that follows is one body.
    ToClose,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages(State);

impl Messages {
    /// Creates the state at the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self(State::Head)
    }

    /// Returns whether the next byte begins a head.
    #[cfg(test)]
    pub(crate) fn is_at_head(&self) -> bool {
        self.0 == State::Head
    }

    /// Begins a message with a head of this length followed by `body`. Call it when [`Messages::is_at_head`].
    pub(crate) fn begin(&mut self, head: usize, body: Framing) {
        self.0 = if head > 0 { State::HeadRest { left: head, body } } else { state_of(body) };
    }

    /// Consumes bytes up to the next head and returns how many those were.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.0 {
                State::Head => break,
                State::ToClose => return bytes.len(),
                State::HeadRest { left, body } => {
                    let taken = rest.len().min(*left);
                    at += taken;
                    *left -= taken;
                    if *left == 0 {
                        self.0 = state_of(*body);
                    }
                }
                State::Counted { left, is_chunk } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    at += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.0 = if *is_chunk { SIZE } else { State::Head };
                    }
                }
                State::Size { value, has_ended } => {
                    at += 1;
                    match char::from(rest[0]).to_digit(16).filter(|_| !*has_ended) {
                        Some(digit) => *value = value.saturating_mul(16).saturating_add(u64::from(digit)),
                        None if rest[0] != b'\n' => *has_ended = true,
                        None if *value == 0 => self.0 = State::Trailer { is_empty: true },
                        // A line break follows the chunk's data.
                        None => {
                            self.0 = State::Counted { left: value.saturating_add(2), is_chunk: true };
                        }
                    }
                }
                State::Trailer { is_empty } => {
                    at += 1;
                    match rest[0] {
                        b'\n' if *is_empty => self.0 = State::Head,
                        b'\n' => *is_empty = true,
                        b'\r' => {}
                        _ => *is_empty = false,
                    }
                }
            }
        }
        at
    }
}

const SIZE: State = State::Size { value: 0, has_ended: false };

fn state_of(body: Framing) -> State {
    match body {
        Framing::Empty | Framing::Length(0) => State::Head,
        Framing::Length(left) => State::Counted { left, is_chunk: false },
        Framing::Chunked => SIZE,
        Framing::ToClose => State::ToClose,
    }
}

/// Returns the length of the head at the start of `bytes`, including its empty line; `None` if it is incomplete.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let next = from + at + 1;
        match &bytes[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

/// Returns the values of a header in a head.
pub(crate) fn values<'h>(head: &'h [u8], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(move |line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
    })
}

/// Returns how a head declares its body's length, if it does.
pub(crate) fn declared(head: &[u8]) -> Option<Framing> {
    let codings = values(head, "transfer-encoding").last();
    if codings.is_some_and(|codings| codings.to_ascii_lowercase().ends_with(b"chunked")) {
        return Some(Framing::Chunked);
    }
    let length = values(head, "content-length").next()?;
    std::str::from_utf8(length).ok()?.parse().ok().map(Framing::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_for_all_framings_and_piece_lengths() {
        let looks_like_a_head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let mut chunked = format!("{:x};a=b\r\n", looks_like_a_head.len()).into_bytes();
        chunked.extend_from_slice(looks_like_a_head);
        chunked.extend_from_slice(b"\r\n1\r\n\n\r\n0\r\nTrailer: x\r\n\r\n");
        let bodies = [
            (Framing::Empty, Vec::new()),
            (Framing::Length(looks_like_a_head.len() as u64), looks_like_a_head.to_vec()),
            (Framing::Chunked, chunked),
            (Framing::Chunked, b"0\r\n\r\n".to_vec()),
        ];
        for step in 1..40 {
            let mut messages = Messages::new();
            for (framing, body) in &bodies {
                assert!(messages.is_at_head(), "{framing:?} in steps of {step}");
                let message = [b"head", body.as_slice()].concat();
                messages.begin(4, *framing);
                let mut passed = 0;
                for piece in message.chunks(step) {
                    passed += messages.pass(piece);
                }
                assert_eq!(passed, message.len(), "{framing:?} in steps of {step}");
            }
            assert!(messages.is_at_head());
            assert_eq!(messages.pass(b"next"), 0, "the next head is not consumed");
            messages.begin(0, Framing::ToClose);
            assert_eq!(messages.pass(looks_like_a_head), looks_like_a_head.len());
            assert!(!messages.is_at_head());
        }
    }

    #[test]
    fn a_heads_length_and_declared_framing_are_read() {
        let head = b"HTTP/1.1 200 OK\r\nCONTENT-length:  12 \r\n\r\nbody";
        assert_eq!(head_length(head), Some(head.len() - 4));
        assert_eq!(declared(head), Some(Framing::Length(12)));
        assert_eq!(head_length(b"GET / HTTP/1.1\nHost: x\n\nrest"), Some(24));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(declared(b"x\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"), Some(Framing::Chunked));
        assert_eq!(declared(b"x\r\nContent-Length: y\r\n\r\n"), None);
    }
}
