//! The numbers of server-sent events, read from bytes as they come (WHATWG HTML, section 9.2.6).

/// Reads a stream of events; keeps what is not complete.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    /// The id of the event that has begun.
    id: Option<Vec<u8>>,
    /// Whether a field has come since the last blank line.
    begun: bool,
}

impl Events {
    /// Takes what has arrived; the ids of the events that it completes, in order. Events without an id are left out.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                self.begun = false;
                complete.extend(self.id.take());
            } else if !line.starts_with(b":") {
                self.begun = true;
                if let Some(id) = line.strip_prefix(b"id:") {
                    self.id = Some(id.strip_prefix(b" ").unwrap_or(id).to_vec());
                }
            }
        }
        complete
    }

    /// Whether nothing has begun that is not complete: an end here loses nothing.
    pub(crate) fn at_boundary(&self) -> bool {
        self.line.is_empty() && !self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wire: &str, expected: &[&str], at_boundary: bool) {
        for step in [1, 3, wire.len()] {
            let mut events = Events::default();
            let ids: Vec<_> = wire.as_bytes().chunks(step).flat_map(|piece| events.take(piece)).collect();
            let expected: Vec<_> = expected.iter().map(|id| id.as_bytes().to_vec()).collect();
            assert_eq!((ids, events.at_boundary()), (expected, at_boundary), "{wire:?} in steps of {step}");
        }
    }

    #[test]
    fn an_event_is_complete_with_its_blank_line() {
        check("id: 1\ndata: a\n\nid:2\r\ndata: b\r\n\r\n", &["1", "2"], true);
        check("id: 1\ndata: a\n\nid: 2\ndata: b\n", &["1"], false);
        check("id: 1\ndata: a\n\nid: 2\ndata: ", &["1"], false);
        check("id: 1\n\nda", &["1"], false);
    }

    #[test]
    fn a_comment_is_no_event_and_half_a_comment_is_no_boundary() {
        check(": hello\n\nid: 1\n\n: ping\n", &["1"], true);
        check("id: 1\n\n: pi", &["1"], false);
    }
}
