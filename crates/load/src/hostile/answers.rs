//! The answers among the bytes that a client received.

use super::recorder::NUMBER;

/// What has arrived so far, read as answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Those that are not interim, each whole.
    pub(crate) last: Vec<Answer>,
    /// The statuses of the interim ones (1xx).
    pub(crate) interim: Vec<u16>,
    /// Why the bytes are no answer, or what follows the last one.
    pub(crate) malformed: Option<String>,
    /// Whether the bytes end within an answer.
    pub(crate) cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The number under which the recorder has the request.
    pub(crate) recorded: Option<usize>,
}

impl Answers {
    /// `head_only` says of each final answer whether it belongs to a HEAD; beyond its end none does. `ended`
    /// says that no more bytes come: an answer without a length is whole then.
    pub(crate) fn read(bytes: &[u8], head_only: &[bool], ended: bool) -> Self {
        let mut answers = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let head_only = head_only.get(answers.last.len()).copied().unwrap_or(false);
            match read_one(rest, head_only, ended) {
                Ok(Some((answer, used))) => {
                    rest = &rest[used..];
                    match answer.status {
                        100..=199 => answers.interim.push(answer.status),
                        _ => answers.last.push(answer),
                    }
                }
                Ok(None) => {
                    answers.cut = true;
                    return answers;
                }
                Err(why) => {
                    let beginning = rest[..rest.len().min(80)].escape_ascii();
                    answers.malformed = Some(format!("{why}: \"{beginning}\""));
                    return answers;
                }
            }
        }
        answers
    }

    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.last.iter().map(|answer| answer.status).collect()
    }

    pub(crate) fn has(&self, status: u16) -> bool {
        self.interim.contains(&status) || self.last.iter().any(|answer| answer.status == status)
    }
}

fn read_one(bytes: &[u8], head_only: bool, ended: bool) -> Result<Option<(Answer, usize)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let head_length = match head.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let value = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let status = head.code.unwrap_or_default();
    let answer = Answer { status, recorded: value(NUMBER).and_then(|number| number.parse().ok()) };
    let body = &bytes[head_length..];
    // RFC 9112 section 6.3, from the client's side.
    let body_length = if head_only || matches!(status, 100..=199 | 204 | 304) {
        Some(0)
    } else if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunked_length(body)?
    } else if let Some(length) = value("content-length") {
        let length = length.parse().map_err(|_| format!("a content-length of `{length}`"))?;
        (body.len() >= length).then_some(length)
    } else {
        ended.then_some(body.len())
    };
    Ok(body_length.map(|length| (answer, head_length + length)))
}

/// How many bytes the chunks take with their framing.
fn chunked_length(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(&body[at..]) {
            Ok(httparse::Status::Complete((line, 0))) => {
                let end = body[at + line..].windows(2).position(|pair| pair == b"\r\n");
                return Ok(end.map(|end| at + line + end + 2));
            }
            Ok(httparse::Status::Complete((line, size))) => {
                let size = usize::try_from(size).map_err(|_| "a chunk that is too long")?;
                at = at.saturating_add(line).saturating_add(size).saturating_add(2);
                if at > body.len() {
                    return Ok(None);
                }
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a chunk size that cannot be read".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wire: &str, head_only: &[bool], ended: bool, statuses: &[u16], cut: bool) {
        let answers = Answers::read(wire.as_bytes(), head_only, ended);
        assert_eq!((answers.statuses().as_slice(), answers.cut), (statuses, cut), "{wire:?}: {answers:?}");
    }

    #[test]
    fn answers_are_told_apart_by_their_framing() {
        let ok = "HTTP/1.1 200 OK\r\nx-recorded: 7\r\ncontent-length: 2\r\n\r\nok";
        check(&format!("{ok}{ok}"), &[], false, &[200, 200], false);
        check(&ok[..ok.len() - 1], &[], false, &[], true);
        check(&format!("HTTP/1.1 100 Continue\r\n\r\n{ok}"), &[], false, &[200], false);
        check(&format!("{}{ok}", ok.trim_end_matches("ok")), &[true], false, &[200, 200], false);
        check("HTTP/1.1 400 Bad\r\n\r\nwords", &[], false, &[], true);
        check("HTTP/1.1 400 Bad\r\n\r\nwords", &[], true, &[400], false);
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            &[],
            false,
            &[200],
            false,
        );
        assert_eq!(Answers::read(ok.as_bytes(), &[], false).last[0].recorded, Some(7));
        assert!(Answers::read(b"<html>", &[], true).malformed.is_some());
    }
}
