//! The file of results, of which a program replaces its own part.

use std::path::Path;
use std::{fs, io};

/// The lines between which a part lies are comments, which no reader of the rendered page sees.
fn marks(name: &str) -> [String; 2] {
    [format!("<!-- {name}: begin, written by a program -->"), format!("<!-- {name}: end -->")]
}

/// Puts `text` in place of what lies between the marks of `name`, or at the end if there are none.
///
/// # Errors
///
/// If the file cannot be read or written.
pub fn replace_part(file: &Path, name: &str, text: &str) -> io::Result<()> {
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    fs::write(file, replaced(&before, name, text))
}

fn replaced(before: &str, name: &str, text: &str) -> String {
    let [begin, end] = marks(name);
    let part = format!("{begin}\n\n{}\n\n{end}\n", text.trim());
    let found = before.split_once(&begin).and_then(|(above, rest)| Some((above, rest.split_once(&end)?.1)));
    match found {
        Some((above, below)) => format!("{above}{part}{}", below.strip_prefix('\n').unwrap_or(below)),
        None if before.is_empty() => part,
        None => format!("{}\n\n{part}", before.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let first = replaced("# Results\n\nabove\n", "x", "old\n");
        assert_eq!(
            first,
            "# Results\n\nabove\n\n<!-- x: begin, written by a program -->\n\nold\n\n<!-- x: end -->\n"
        );
        let with_more = format!("{first}\nbelow\n");
        assert_eq!(replaced(&with_more, "x", "new"), with_more.replace("old", "new"));
        assert_eq!(replaced(&with_more, "x", "old"), with_more, "twice the same changes nothing");
    }
}
