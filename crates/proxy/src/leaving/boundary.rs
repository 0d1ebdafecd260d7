//! Where a body of each kind can be ended without tearing anything: between two frames, events, messages.

/// How far a body is, by what passed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Frames of a WebSocket (RFC 6455, section 5.2).
    Frames(Units),
    /// Messages of gRPC: a flag and four bytes of length before each.
    Messages(Units),
    /// Events, each ended by an empty line (HTML, section 9.2.6).
    Events(Tail),
    /// Nowhere: nobody here understands it.
    Nowhere,
}

impl Boundary {
    pub(crate) fn frames() -> Self {
        Self::Frames(Units::default())
    }

    pub(crate) fn messages() -> Self {
        Self::Messages(Units::default())
    }

    pub(crate) fn events() -> Self {
        Self::Events(Tail::default())
    }

    /// Notes what passes.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        match self {
            Self::Frames(units) => units.note(bytes, frame_head),
            Self::Messages(units) => units.note(bytes, message_head),
            Self::Events(tail) => tail.note(bytes),
            Self::Nowhere => {}
        }
    }

    /// Whether it can be ended here. A WebSocket that has said goodbye itself is not asked any more.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Frames(units) => units.is_between() && !units.last_is_close,
            Self::Messages(units) => units.is_between(),
            Self::Events(tail) => tail.is_between(),
            Self::Nowhere => false,
        }
    }
}

/// The longest head of a unit.
const LONGEST_HEAD: usize = 14;

/// Units with their lengths before them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Units {
    /// What came of a head that is not whole.
    head: [u8; LONGEST_HEAD],
    known: usize,
    /// Bytes of the unit that are still to come.
    left: u64,
    last_is_close: bool,
}

/// What a head says, once it is whole.
struct Head {
    /// Its own length.
    length: usize,
    /// Bytes that follow it.
    rest: u64,
    is_close: bool,
}

impl Units {
    fn note(&mut self, mut bytes: &[u8], read: fn(&[u8]) -> Option<Head>) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passes = self.left.min(bytes.len() as u64);
                self.left -= passes;
                bytes = &bytes[usize::try_from(passes).unwrap_or(bytes.len())..];
                continue;
            }
            // No head is longer, so there is room for one more.
            self.head[self.known] = bytes[0];
            self.known += 1;
            bytes = &bytes[1..];
            if let Some(head) = read(&self.head[..self.known]) {
                debug_assert_eq!(head.length, self.known);
                self.known = 0;
                self.left = head.rest;
                self.last_is_close |= head.is_close;
            }
        }
    }

    fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }
}

/// FIN and opcode, mask and length, the length again in two or eight bytes, four bytes of mask.
fn frame_head(bytes: &[u8]) -> Option<Head> {
    let [first, second, ..] = *bytes else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let length = 2 + extended + mask;
    if bytes.len() < length {
        return None;
    }
    let said = bytes[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let rest = if extended == 0 { u64::from(second & 0x7f) } else { said };
    Some(Head { length, rest, is_close: first & 0x0f == 8 })
}

fn message_head(bytes: &[u8]) -> Option<Head> {
    let [_, a, b, c, d] = *bytes else { return None };
    Some(Head { length: 5, rest: u64::from(u32::from_be_bytes([a, b, c, d])), is_close: false })
}

/// The end of what passed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    last: [u8; 4],
    has_begun: bool,
}

impl Tail {
    fn note(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.last.rotate_left(1);
            self.last[3] = *byte;
            self.has_begun = true;
        }
    }

    fn is_between(&self) -> bool {
        let ends = [&b"\n\n"[..], b"\r\r", b"\n\r\n", b"\n\r"];
        // A line may end with CR, LF or both; one that ends with CR may still get its LF.
        !self.has_begun || ends.iter().any(|end| self.last.ends_with(end))
    }
}

/// A close frame that says: the service restarts, come again (code 1012, in the registry of RFC 6455, section 7.4).
pub(crate) const CLOSE_FOR_RESTART: &[u8] = b"\x88\x11\x03\xf4service restart";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize, mask: bool, opcode: u8) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let bit = if mask { 0x80 } else { 0 };
        match payload {
            0..=125 => frame.push(bit | payload as u8),
            126..=65_535 => {
                frame.push(bit | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + if mask { 4 } else { 0 } + payload, 0x88);
        frame
    }

    fn message(payload: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend((payload as u32).to_be_bytes());
        message.resize(5 + payload, 7);
        message
    }

    /// Where a body that comes in pieces of this length can be ended.
    fn boundaries(mut boundary: Boundary, bytes: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        for (index, byte) in bytes.iter().enumerate() {
            boundary.note(&[*byte]);
            if boundary.is_here() {
                found.push(index + 1);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn a_body_can_be_ended_between_its_units_and_nowhere_else(
            lengths in prop::collection::vec(prop_oneof![0usize..300, Just(125), Just(126), Just(65_535), Just(65_536)], 1..6),
            mask: bool,
        ) {
            for (boundary, unit) in [
                (Boundary::frames(), Box::new(move |length| frame(length, mask, 2)) as Box<dyn Fn(usize) -> Vec<u8>>),
                (Boundary::messages(), Box::new(message)),
            ] {
                let units: Vec<_> = lengths.iter().map(|length| unit(*length)).collect();
                let mut ends = Vec::new();
                let mut whole = Vec::new();
                for unit in units {
                    whole.extend(unit);
                    ends.push(whole.len());
                }
                prop_assert_eq!(boundaries(boundary.clone(), &whole), ends);
                // However it is cut.
                let mut cut = boundary;
                for piece in whole.chunks(7) {
                    cut.note(piece);
                }
                prop_assert!(cut.is_here());
            }
        }
    }

    #[test]
    fn whoever_said_goodbye_is_not_asked_any_more() {
        let mut boundary = Boundary::frames();
        assert!(boundary.is_here());
        boundary.note(&frame(2, false, 8));
        assert!(!boundary.is_here());
    }

    #[test]
    fn our_own_goodbye_is_one_frame_with_its_code() {
        let head = frame_head(&CLOSE_FOR_RESTART[..2]).unwrap();
        assert!(head.is_close);
        assert_eq!(head.rest as usize + head.length, CLOSE_FOR_RESTART.len());
        assert_eq!(u16::from_be_bytes([CLOSE_FOR_RESTART[2], CLOSE_FOR_RESTART[3]]), 1012);
    }

    #[test]
    fn an_event_is_whole_with_an_empty_line() {
        for (text, expected) in [
            ("", true),
            ("data: 1\n", false),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r", true),
            ("data: 1\r\n", false),
            ("data: 1\n\ndata", false),
        ] {
            let mut boundary = Boundary::events();
            text.bytes().for_each(|byte| boundary.note(&[byte]));
            assert_eq!(boundary.is_here(), expected, "{text:?}");
        }
    }
}
