//! The last that a program has written, however much that was.

use std::collections::VecDeque;

/// Kept of it, in bytes.
const KEPT: usize = 64 * 1024;
/// Told of it.
const LINES: usize = 40;
/// Of a line that has lost its beginning: the end of a secret could be what is left of it.
const UNSURE: usize = 4096;

/// The end of what was written.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: VecDeque<u8>,
    /// Whether something before it was thrown away.
    is_cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(KEPT)..];
        let surplus = (self.kept.len() + new.len()).saturating_sub(KEPT);
        self.is_cut |= surplus > 0 || new.len() < bytes.len();
        self.kept.drain(..surplus);
        self.kept.extend(new);
    }

    /// The last whole lines, oldest first.
    pub(super) fn lines(mut self) -> Vec<String> {
        let mut text: &[u8] = self.kept.make_contiguous();
        if self.is_cut {
            let line = text.iter().position(|&byte| byte == b'\n').filter(|end| end + 1 < text.len());
            text = &text[line.map_or(UNSURE.min(text.len()), |end| end + 1)..];
        }
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|&line| line.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_megabytes_the_last_whole_lines_are_kept() {
        let mut tail = Tail::default();
        for number in 0..1_000_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        assert!(tail.kept.len() <= KEPT);
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], "line 999960");
        let mut tail = Tail::default();
        tail.push(&vec![b'a'; 10 << 20]);
        assert_eq!(tail.lines(), ["a".repeat(KEPT - UNSURE)]);
    }

    #[test]
    fn a_line_that_lost_its_beginning_is_not_told() {
        let mut tail = Tail::default();
        tail.push(b"secret");
        tail.push(&vec![b'b'; KEPT - 3]);
        tail.push(b"\nwhole\n");
        assert_eq!(tail.lines(), ["whole"]);
        let mut tail = Tail::default();
        tail.push(b"one\n\ntwo \xff");
        assert_eq!(tail.lines(), ["one", "two \u{fffd}"]);
    }
}
