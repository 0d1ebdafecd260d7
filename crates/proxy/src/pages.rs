//! The user's own pages for what the proxy answers itself.
//!
//! Looked for in this order: `DIR/SERVICE/503.html`, `DIR/SERVICE/error.html`, `DIR/503.html`, `DIR/error.html`, with
//! `html`, `json` or `txt` by what the client asked for. A page may be changed at any time; it is read again a second
//! later.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a page is believed to be as it was read, or not to be there.
const FRESH: Duration = Duration::from_secs(1);
/// A larger file is no page.
const LARGEST: u64 = 256 * 1024;
/// Paths whose state is remembered.
const REMEMBERED: usize = 1024;

/// When a page was looked for, and what was found.
type Read = (Instant, Option<Rc<str>>);

/// The pages as one worker has read them.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    directory: Option<PathBuf>,
    read: RefCell<HashMap<PathBuf, Read>>,
}

impl Pages {
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, read: RefCell::default() }
    }

    /// The page for a status, if there is one.
    pub(crate) fn find(&self, service: Option<&str>, status: u16, ending: &str) -> Option<Rc<str>> {
        let directory = self.directory.as_ref()?;
        let places = service.map(|service| directory.join(service)).into_iter().chain([directory.clone()]);
        let names = [format!("{status}.{ending}"), format!("error.{ending}")];
        places.flat_map(|place| names.clone().map(|name| place.join(name))).find_map(|path| self.page(path))
    }

    fn page(&self, path: PathBuf) -> Option<Rc<str>> {
        let mut read = self.read.borrow_mut();
        if let Some((at, page)) = read.get(&path)
            && at.elapsed() < FRESH
        {
            return page.clone();
        }
        let is_page = std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
        let page = if is_page { std::fs::read_to_string(&path).ok().map(Rc::from) } else { None };
        if read.len() >= REMEMBERED {
            read.clear();
        }
        read.insert(path, (Instant::now(), page.clone()));
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_page_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        write("error.html");
        write("503.html");
        write("shop/error.html");
        write("shop/404.json");
        let pages = Pages::new(Some(directory.path().to_owned()));
        let check = |service, status, ending, expected: Option<&str>| {
            assert_eq!(pages.find(service, status, ending).as_deref(), expected);
        };
        check(None, 503, "html", Some("503.html"));
        check(None, 404, "html", Some("error.html"));
        check(Some("shop"), 503, "html", Some("shop/error.html"));
        check(Some("other"), 503, "html", Some("503.html"));
        check(Some("shop"), 404, "json", Some("shop/404.json"));
        check(None, 404, "txt", None);
        assert_eq!(Pages::default().find(None, 503, "html"), None);
    }
}
