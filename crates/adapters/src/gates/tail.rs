//! The last lines that a program has written, however much that was.
//!
//! Lines are put together for each of its two streams by itself: what one says in the middle of a line of the other must
//! not cut a secret in two, which nobody would find then.

use std::collections::VecDeque;

use cutover_controller::ports::Written;

/// Kept of all lines together, and of one, in bytes.
const KEPT: usize = 64 * 1024;
/// Told of them.
const LINES: usize = 40;
/// Left out where a line was cut: the beginning of a secret could be the end of what is left.
const UNSURE: usize = 4096;

/// The end of what was written.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<Vec<u8>>,
    size: usize,
    out: Line,
    err: Line,
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    is_cut: bool,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        let room = KEPT - self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.is_cut |= bytes.len() > room;
    }

    fn take(&mut self) -> Vec<u8> {
        let Self { mut text, is_cut } = std::mem::take(self);
        if is_cut {
            text.truncate(text.len().saturating_sub(UNSURE));
            text.extend("…".as_bytes());
        }
        text
    }
}

impl Tail {
    pub(super) fn push(&mut self, written: &Written) {
        let (bytes, line) = match written {
            Written::Out(bytes) => (bytes, &mut self.out),
            Written::Err(bytes) => (bytes, &mut self.err),
        };
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        // There is always one, and each further one is behind the end of a line.
        line.push(pieces.next().unwrap_or_default());
        for piece in pieces {
            let whole = line.take();
            line.push(piece);
            keep(&mut self.lines, &mut self.size, whole);
        }
    }

    /// The last lines, oldest first.
    pub(super) fn lines(mut self) -> Vec<String> {
        for mut line in [self.out, self.err] {
            keep(&mut self.lines, &mut self.size, line.take());
        }
        let surplus = self.lines.len().saturating_sub(LINES);
        self.lines.drain(surplus..).map(|line| plain(&String::from_utf8_lossy(&line))).collect()
    }
}

/// What a terminal would show at last: without colours, and of a line that is written again and again the last time.
/// So nothing stands in the middle of a secret, which has to be found to be hidden.
fn plain(line: &str) -> String {
    let last = line.rsplit('\r').find(|piece| !piece.is_empty()).unwrap_or_default();
    let mut text = String::with_capacity(last.len());
    let mut characters = last.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            text.extend(Some(character).filter(|character| !character.is_control() || *character == '\t'));
            continue;
        }
        // A control sequence ends with a byte from `@` to `~` (ECMA-48, 5.4), another escape with its next one.
        if characters.next() == Some('[') {
            characters.by_ref().find(|character| ('@'..='~').contains(character));
        }
    }
    text
}

fn keep(lines: &mut VecDeque<Vec<u8>>, size: &mut usize, mut line: Vec<u8>) {
    line.truncate(line.trim_ascii_end().len());
    if line.is_empty() {
        return;
    }
    *size += line.len();
    lines.push_back(line);
    while *size > KEPT && lines.len() > 1 {
        *size -= lines.pop_front().map_or(0, |line| line.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> Written {
        Written::Out(text.as_bytes().to_vec())
    }

    fn err(text: &str) -> Written {
        Written::Err(text.as_bytes().to_vec())
    }

    #[test]
    fn colours_and_what_was_written_over_do_not_stand_in_the_middle_of_a_word() {
        let mut tail = Tail::default();
        tail.push(&out("\u{1b}[31mse\u{1b}[0mcret\u{1b}[K\n1 %\r50 %\r100 %\r\nbe\u{7}ll\ttab\n"));
        assert_eq!(tail.lines(), ["secret", "100 %", "bell\ttab"]);
    }

    #[test]
    fn of_megabytes_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for number in 0..1_000_000 {
            tail.push(&out(&format!("line {number}\n")));
        }
        assert!(tail.size <= KEPT && tail.lines.iter().map(Vec::len).sum::<usize>() == tail.size);
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "line 999960"));
    }

    #[test]
    fn of_a_line_without_end_the_beginning_is_kept_and_not_half_a_secret() {
        let mut tail = Tail::default();
        for _ in 0..160 {
            tail.push(&out(&"a".repeat(64 * 1024)));
        }
        assert!(tail.out.text.len() <= KEPT);
        tail.push(&out("\nnext\n"));
        assert_eq!(tail.lines(), ["a".repeat(KEPT - UNSURE) + "…", "next".to_owned()]);
    }

    #[test]
    fn what_one_stream_says_in_a_line_of_the_other_does_not_cut_it() {
        let mut tail = Tail::default();
        for written in [out("the key is sec"), err("warn"), out("ret\n\n"), err("ing\n"), out("end \u{fffd}")]
        {
            tail.push(&written);
        }
        assert_eq!(tail.lines(), ["the key is secret", "warning", "end \u{fffd}"]);
    }
}
