//! Keeps secrets out of what is told.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cutover_core::gates::{Check, Finding};

use crate::template::percent_encoded;

/// What stands in place of a secret.
const HIDDEN: &str = "***";
/// A line of a secret, or a piece of its base64 form, that is shorter is no secret for itself.
const SHORTEST_PIECE: usize = 6;

/// Replaces secrets in texts, as they are and in the forms that they take in JSON, in addresses, in HTML and in base64.
#[derive(Debug, Clone)]
pub struct Mask {
    /// None if there is no secret.
    searcher: Option<AhoCorasick>,
    forms: Vec<String>,
}

impl Mask {
    /// A mask for secrets; empty ones are ignored.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut forms: Vec<String> = secrets.into_iter().flat_map(|secret| forms(&secret)).collect();
        // The longest first, so that none shows the rest of another that begins with it.
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        let searcher = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&forms);
        let searcher = searcher.ok().filter(|_| !forms.is_empty());
        Self { searcher, forms }
    }

    /// The text with every secret replaced. Cut a text only afterwards: half a secret is not found.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let Some(searcher) = &self.searcher else {
            // So many that no searcher can be built: slower, but never not at all.
            return self.forms.iter().fold(text.to_owned(), |text, form| text.replace(form, HIDDEN));
        };
        let mut hidden = String::with_capacity(text.len());
        let mut shown = 0;
        for (start, end) in
            together(searcher.find_overlapping_iter(text).map(|found| (found.start(), found.end())))
        {
            hidden.push_str(&text[shown..start]);
            hidden.push_str(HIDDEN);
            shown = end;
        }
        hidden.push_str(&text[shown..]);
        hidden
    }

    /// The same for a text that was cut at its end already: a secret that was cut with it is found by its beginning.
    #[must_use]
    pub fn hide_cut(&self, text: &str) -> String {
        let begins = |form: &String| {
            let pieces = form.char_indices().map(|(at, _)| at).filter(|at| *at >= SHORTEST_PIECE);
            pieces.filter(|at| text.ends_with(&form[..*at])).max()
        };
        match self.forms.iter().filter_map(begins).max() {
            Some(length) => self.hide(&text[..text.len() - length]) + HIDDEN,
            None => self.hide(text),
        }
    }

    /// A finding with every secret in any of its texts replaced.
    #[must_use]
    pub fn hide_in(&self, finding: Finding) -> Finding {
        if self.forms.is_empty() {
            return finding;
        }
        let Finding { verdict, reason, checks } = finding;
        Finding {
            verdict,
            reason: self.hide(&reason),
            checks: checks.into_iter().map(|check| self.hide_in_check(check)).collect(),
        }
    }

    fn hide_in_check(&self, check: Check) -> Check {
        // Named one by one, so that a new field is not forgotten here.
        let Check { suite, name, verdict, took_ms, reason, request, answer, mut assertions, output } = check;
        for assertion in &mut assertions {
            assertion.text = self.hide(&assertion.text);
            assertion.found = self.hide(&assertion.found);
        }
        Check {
            suite: self.hide(&suite),
            name: self.hide(&name),
            verdict,
            took_ms,
            reason: self.hide(&reason),
            request: request.map(|text| self.hide(&text)),
            answer: answer.map(|text| self.hide(&text)),
            assertions,
            output: output.iter().map(|line| self.hide(line)).collect(),
        }
    }
}

/// Stretches in the order of their ends, those that overlap made one, in the order of the text.
fn together(found: impl Iterator<Item = (usize, usize)>) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (mut start, end) in found {
        while let Some(&(before, until)) = all.last()
            && until > start
        {
            start = start.min(before);
            all.pop();
        }
        all.push((start, end));
    }
    all
}

/// The forms in which a secret may be met.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    // Programs print a secret of several lines line by line, and a file ends with an end of line that is not used.
    forms.push(secret.trim().to_owned());
    forms.extend(
        secret.lines().map(|line| line.trim().to_owned()).filter(|line| line.len() >= SHORTEST_PIECE),
    );
    let mut other: Vec<String> = Vec::new();
    for form in &forms {
        let json = serde_json::Value::from(form.as_str()).to_string();
        let json = json.trim_matches('"').to_owned();
        other.push(json.replace('/', "\\/"));
        other.push(ascii_json(form));
        // A line of a log in JSON that holds what was JSON already.
        other.push(serde_json::Value::from(json.as_str()).to_string().trim_matches('"').to_owned());
        other.push(json);
        for upper in [true, false] {
            let encoded = percent_encoded(form, "-_.~", upper);
            other.push(encoded.replace("%20", "+"));
            other.push(encoded);
            // As `encodeURI` leaves them, and as a path may hold them.
            other.push(percent_encoded(form, "-_.~!*'();:@&=+$,/?#", upper));
            other.push(percent_encoded(form, "-_.~!*'()", upper));
        }
        other.push(
            form.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
        );
        other.extend(base64_pieces(form));
    }
    forms.append(&mut other);
    forms.retain(|form| !form.is_empty());
    forms
}

/// As JSON in ASCII alone writes it.
fn ascii_json(text: &str) -> String {
    let plain = serde_json::Value::from(text).to_string();
    let mut escaped = String::new();
    for c in plain.trim_matches('"').chars() {
        match c {
            c if c.is_ascii() => escaped.push(c),
            c => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    escaped
}

/// What is left of a text in base64 whatever stands before and after it: three bytes become four letters, so there
/// are three ways to begin, and letters that hold bits of the neighbours are left out.
fn base64_pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // Alone it is a secret however short, and its last letter is known.
        pieces.push(engine.encode(text));
        for before in 0..3 {
            let padded = [&[0; 2][..before.min(2)], text.as_bytes()].concat();
            let letters = engine.encode(&padded);
            let (first, whole) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
            let piece = letters.get(first..whole).unwrap_or_default();
            pieces.extend((piece.len() >= SHORTEST_PIECE).then(|| piece.to_owned()));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use cutover_core::gates::{Assertion, Verdict};
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        Mask::new(secrets.iter().map(|secret| (*secret).to_owned()))
    }

    #[test]
    fn secrets_are_replaced_in_every_form_they_take() {
        let mask = mask(&["pa\"ss/wörd 1&", ""]);
        let check = |text: &str, expected: &str| assert_eq!(mask.hide(text), expected, "{text}");
        check("nothing here", "nothing here");
        check("a pa\"ss/wörd 1& b", "a *** b");
        check(r#"{"p":"pa\"ss/wörd 1&"}"#, r#"{"p":"***"}"#);
        check(r#"{"p":"pa\"ss\/wörd 1&"}"#, r#"{"p":"***"}"#);
        check(r#"{"p":"pa\"ss/w\u00f6rd 1&"}"#, r#"{"p":"***"}"#);
        check(r#"{"log":"{\"p\":\"pa\\\"ss/wörd 1&\"}"}"#, r#"{"log":"{\"p\":\"***\"}"}"#);
        check("?p=pa%22ss%2Fw%C3%B6rd%201%26&q=1", "?p=***&q=1");
        check("?p=pa%22ss%2fw%c3%b6rd+1%26&q=1", "?p=***&q=1");
        check("<p>pa&quot;ss/wörd 1&amp;</p>", "<p>***</p>");
        for user in ["", "a", "ab", "abc", "abcd"] {
            let basic = STANDARD.encode(format!("{user}pa\"ss/wörd 1&{user}"));
            let hidden = mask.hide(&basic);
            assert!(hidden.contains("***") && hidden.len() <= 18, "{basic} became {hidden}");
        }
    }

    #[test]
    fn of_secrets_that_overlap_nothing_is_left() {
        let mask = mask(&["abcd", "abcdefgh", "ghij"]);
        assert_eq!(mask.hide("xabcdx xabcdefghx xabcdefghijx"), "x***x x***x x***x");
        assert_eq!(mask.hide("abcdabcd"), "******");
    }

    #[test]
    fn a_secret_of_several_lines_is_hidden_line_by_line() {
        let mask = mask(&["-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"]);
        assert_eq!(mask.hide("line: MIIEvQIBADANBg"), "line: ***");
        assert_eq!(mask.hide("-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"), "***");
    }

    #[test]
    fn a_secret_that_was_cut_with_its_text_is_hidden_too() {
        let mask = mask(&["correct horse battery"]);
        assert_eq!(mask.hide_cut("token: correct hor"), "token: ***");
        assert_eq!(mask.hide_cut("token: correct horse battery"), "token: ***");
        assert_eq!(mask.hide_cut("a correct horse battery, it is cor"), "a ***, it is cor");
    }

    #[test]
    fn without_secrets_a_text_stays_as_it_is() {
        assert_eq!(mask(&["", ""]).hide("text"), "text");
    }

    #[test]
    fn no_text_of_a_finding_keeps_a_secret() {
        let secret = "s3cret-value";
        let text = || format!("has {secret} in it");
        let check = Check {
            suite: text(),
            name: text(),
            reason: text(),
            request: Some(text()),
            answer: Some(text()),
            assertions: vec![Assertion { text: text(), found: text(), holds: false }],
            output: vec![text()],
            ..Check::new("", "", Verdict::Fail)
        };
        let finding = Finding { reason: text(), checks: vec![check], verdict: Verdict::Fail };
        let hidden = mask(&[secret]).hide_in(finding);
        let shown = format!("{hidden:?}");
        assert!(!shown.contains(secret), "{shown}");
        assert_eq!(shown.matches("has *** in it").count(), 9);
    }

    proptest! {
        #[test]
        fn no_secret_is_left_in_any_text(
            secrets in proptest::collection::vec("[a-c\"/ é]{1,6}", 1..4),
            pieces in proptest::collection::vec("[a-c\"/ é]{0,8}", 1..6),
        ) {
            let mask = Mask::new(secrets.clone());
            let hidden = mask.hide(&pieces.concat());
            for secret in &secrets {
                prop_assert!(!hidden.contains(secret.as_str()), "{hidden} has {secret}");
            }
        }
    }
}
