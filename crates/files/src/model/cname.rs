//! Builds and parses DNS messages that query a CNAME (RFC 1035).

use std::net::SocketAddr;

/// How customers' own host names are looked up (Swift, CNAME lookup).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The name server.
    pub resolver: SocketAddr,
    /// Maximum number of CNAMEs followed for one name.
    pub depth: usize,
    /// This cloud's own host names, which are never looked up.
    pub own: Vec<String>,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The name is an alias of this one; valid for so many seconds.
    Alias(String, u32),
    /// The name is not an alias or does not exist.
    Nothing,
}

const HEADER_BYTES: usize = 12;
const TYPE_CNAME: u16 = 5;
const CLASS_IN: u16 = 1;
const NO_SUCH_NAME: u8 = 3;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Builds the query for a name's CNAME; `None` if the name is invalid.
#[must_use]
pub fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    message.extend_from_slice(&id.to_be_bytes());
    // Recursion desired, one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&TYPE_CNAME.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(message)
}

/// Parses the response to [`question`]; `None` if it is invalid or reports a server failure.
#[must_use]
pub fn answer(id: u16, name: &str, message: &[u8]) -> Option<Said> {
    let mut reader = Reader { message, at: 0 };
    let is_answer = reader.word()? == id && {
        let flags = reader.word()?;
        match flags.to_be_bytes() {
            // A complete response to a standard query.
            [high, low] if high & 0b1111_1010 == 0b1000_0000 => match low & 0xf {
                0 => true,
                NO_SUCH_NAME => return Some(Said::Nothing),
                _ => false,
            },
            _ => false,
        }
    };
    let (questions, answers) = (reader.word()?, reader.word()?);
    reader.at = HEADER_BYTES;
    if !is_answer || questions != 1 || !reader.name()?.eq_ignore_ascii_case(name) {
        return None;
    }
    if (reader.word()?, reader.word()?) != (TYPE_CNAME, CLASS_IN) {
        return None;
    }
    for _ in 0..answers {
        let owner = reader.name()?;
        let (kind, class) = (reader.word()?, reader.word()?);
        let seconds = u32::from(reader.word()?) << 16 | u32::from(reader.word()?);
        let length = usize::from(reader.word()?);
        let next = reader.at + length;
        if kind == TYPE_CNAME && class == CLASS_IN && owner.eq_ignore_ascii_case(name) {
            return Some(Said::Alias(reader.name()?.to_ascii_lowercase(), seconds));
        }
        reader.at = next;
    }
    Some(Said::Nothing)
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn word(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Reads a name, the end of which may be a pointer to an earlier part of the message.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut at, mut behind, mut bound) = (String::new(), self.at, None, self.at);
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    self.at = behind.unwrap_or(at + 1);
                    return Some(name);
                }
                1..=LABEL_BYTES_MAX => {
                    let label = self.message.get(at + 1..at + 1 + length)?;
                    if !label.iter().all(u8::is_ascii_graphic) || name.len() + length > NAME_BYTES_MAX {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|byte| char::from(*byte)));
                    at += 1 + length;
                }
                0xc0.. => {
                    let low = usize::from(*self.message.get(at + 1)?);
                    behind.get_or_insert(at + 2);
                    at = (length & 0x3f) << 8 | low;
                    // Pointers must go backwards, so that no message causes a loop.
                    if at >= bound {
                        return None;
                    }
                    bound = at;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(name: &str, rest: &[u8], answers: u8) -> Vec<u8> {
        let mut message = question(7, name).unwrap();
        message[2] = 0x81;
        message[3] = 0x80;
        message[7] = answers;
        message.extend_from_slice(rest);
        message
    }

    #[test]
    fn an_alias_is_read_with_its_ttl() {
        // c00c: the question's name; c010: its end, "example.com".
        let rdata = b"\x01c\x06AUTH_1\xc0\x10";
        let mut record = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x01\x2c\x00\x0a".to_vec();
        record.extend_from_slice(rdata);
        let message = reply("www.example.com", &record, 1);
        let said = answer(7, "WWW.example.com", &message);
        assert_eq!(said, Some(Said::Alias("c.auth_1.example.com".into(), 300)));
        assert_eq!(answer(8, "www.example.com", &message), None, "another question's");
        assert_eq!(answer(7, "other.example.com", &message), None);
        assert_eq!(answer(7, "www.example.com", &reply("www.example.com", b"", 0)), Some(Said::Nothing));
        let mut missing = reply("www.example.com", b"", 0);
        missing[3] |= NO_SUCH_NAME;
        assert_eq!(answer(7, "www.example.com", &missing), Some(Said::Nothing));
        missing[3] = 0x82;
        assert_eq!(answer(7, "www.example.com", &missing), None, "the server failed");
        let circle = reply("www.example.com", b"\xc0\x21\x00\x05\x00\x01\x00\x00\x00\x00\x00\x00", 1);
        assert_eq!(answer(7, "www.example.com", &circle), None);
    }

    #[test]
    fn no_query_is_built_for_an_invalid_name() {
        for bad in ["", "a..b", &"x".repeat(64), &"a.".repeat(130)] {
            assert_eq!(question(1, bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_message_causes_a_panic(tail in proptest::collection::vec(any::<u8>(), 0..80), count in 0..4u8) {
            let _ = answer(7, "a.b", &reply("a.b", &tail, count));
            let _ = answer(7, "a.b", &tail);
        }
    }
}
