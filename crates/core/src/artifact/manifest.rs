//! The files of an artifact by path and content, without their bytes.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Checksum;

/// Bytes that a path in a release may have, so that it still is one below the state directory (`PATH_MAX` is 4096).
pub const PATH_LIMIT: usize = 3072;
/// Bytes that a name in a path may have: what file systems take.
const NAME_LIMIT: usize = 255;
/// Links that are followed one after another, as many as Linux follows.
const LINK_LIMIT: usize = 40;

/// Everything in an artifact, sorted by path, so that a directory stands before what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// One for each directory, file and symbolic link.
    pub entries: Vec<Entry>,
}

/// One path of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the artifact, without `.` and `..`.
    pub path: PathBuf,
    /// What is there.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// What a path of an artifact is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether anybody may execute it: all that is kept of its mode.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
        /// In bytes.
        size: u64,
        /// Its content.
        sha256: Checksum,
        /// When it was changed last, in milliseconds since 1970; no part of the identity.
        #[serde(default)]
        modified: u64,
    },
    /// A symbolic link.
    Link {
        /// As it is written.
        target: PathBuf,
    },
}

/// Why a path cannot be part of a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongPath {
    /// It begins with `/`.
    #[error("`{0}` is an absolute path")]
    Absolute(String),
    /// It has a `..`.
    #[error("`{0}` has a `..`, which could lead outside")]
    Climbs(String),
    /// No file system knows such a name.
    #[error("the path `{0}` has a NUL in it")]
    Nul(String),
    /// No file system would take it.
    #[error("the path `{shown}` has {length} characters, and more than {limit} cannot be unpacked")]
    TooLong {
        /// The path, shortened.
        shown: String,
        /// Its bytes.
        length: usize,
        /// How many are possible.
        limit: usize,
    },
    /// A link ends outside.
    #[error("the symbolic link `{link}` leads outside, to `{target}`")]
    LeadsOut {
        /// The link.
        link: String,
        /// Where it points.
        target: String,
    },
    /// What should be a directory is none.
    #[error("`{path}` lies in `{parent}`, which is not a directory")]
    NoParent {
        /// The path.
        path: String,
        /// What it lies in.
        parent: String,
    },
    /// It is there twice, or out of order.
    #[error("`{0}` is named twice or out of order")]
    Unsorted(String),
}

/// A path as people are shown it: what is very long is cut in the middle.
#[must_use]
pub fn shown(path: &Path) -> String {
    let text = path.display().to_string().replace('\0', "\\0");
    let count = text.chars().count();
    if count <= 200 {
        return text;
    }
    let first: String = text.chars().take(80).collect();
    let last: String = text.chars().skip(count - 40).collect();
    format!("{first}…{last}")
}

/// The path of a member of an archive as it would be in a release: without `.`; `None` for the artifact itself.
///
/// # Errors
/// [`WrongPath`] for what could lead outside or is too long to be a path. A `..` is refused also where it would
/// stay inside: nobody packs one without intent.
pub fn member_path(raw: &Path) -> Result<Option<PathBuf>, WrongPath> {
    let length = raw.as_os_str().len();
    if length > PATH_LIMIT {
        return Err(WrongPath::TooLong { shown: shown(raw), length, limit: PATH_LIMIT });
    }
    if has_nul(raw) {
        return Err(WrongPath::Nul(shown(raw)));
    }
    let mut path = PathBuf::new();
    for component in raw.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) if name.len() > NAME_LIMIT => {
                return Err(WrongPath::TooLong { shown: shown(raw), length: name.len(), limit: NAME_LIMIT });
            }
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return Err(WrongPath::Climbs(shown(raw))),
            Component::RootDir | Component::Prefix(_) => return Err(WrongPath::Absolute(shown(raw))),
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

fn has_nul(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&0)
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|(size, _)| size).fold(0, u64::saturating_add)
    }

    /// Size and content of each file.
    pub fn files(&self) -> impl Iterator<Item = (u64, &Checksum)> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::File { size, sha256, .. } => Some((*size, sha256)),
            EntryKind::Directory | EntryKind::Link { .. } => None,
        })
    }

    /// The one directory in which everything lies, as archives of sources have it.
    #[must_use]
    pub fn single_top(&self) -> Option<&Path> {
        let mut tops = self.entries.iter().filter(|entry| entry.path.components().count() == 1);
        let top = tops.next()?;
        (tops.next().is_none() && top.kind == EntryKind::Directory).then_some(top.path.as_path())
    }

    /// Whether it could be made below any directory without touching anything outside.
    ///
    /// # Errors
    /// The first [`WrongPath`].
    pub fn check(&self) -> Result<(), WrongPath> {
        let mut known: BTreeMap<&Path, &EntryKind> = BTreeMap::new();
        let mut last: Option<&Path> = None;
        for Entry { path, kind } in &self.entries {
            if member_path(path)?.as_deref().map(Path::as_os_str) != Some(path.as_os_str())
                || last.is_some_and(|last| last >= path.as_path())
            {
                return Err(WrongPath::Unsorted(shown(path)));
            }
            let parent = path.parent().unwrap_or(Path::new(""));
            if !parent.as_os_str().is_empty() && known.get(parent) != Some(&&EntryKind::Directory) {
                return Err(WrongPath::NoParent { path: shown(path), parent: shown(parent) });
            }
            last = Some(path);
            known.insert(path, kind);
        }
        for Entry { path, kind } in &self.entries {
            if let EntryKind::Link { target } = kind
                && (has_nul(target)
                    || target.as_os_str().len() > PATH_LIMIT
                    || !stays_inside(path, target)
                    || leads_out(&known, path, target))
            {
                return Err(WrongPath::LeadsOut { link: shown(path), target: shown(target) });
            }
        }
        Ok(())
    }
}

/// Whether a link's target, read as text, stays inside.
#[must_use]
pub fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Whether a link leads outside by way of other links, which its text does not show.
fn leads_out(known: &BTreeMap<&Path, &EntryKind>, link: &Path, target: &Path) -> bool {
    let mut here = link.parent().map(Path::to_path_buf).unwrap_or_default();
    // What is still to be walked, the next at the end.
    let mut ahead: Vec<Component<'_>> = target.components().rev().collect();
    let mut followed = 0;
    while let Some(component) = ahead.pop() {
        match component {
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
            Component::ParentDir => {
                if !here.pop() {
                    return true;
                }
            }
            Component::Normal(name) => {
                let next = here.join(name);
                match known.get(next.as_path()) {
                    Some(EntryKind::Link { target }) => {
                        followed += 1;
                        // Nobody can follow it any further.
                        if followed > LINK_LIMIT {
                            return false;
                        }
                        ahead.extend(target.components().rev());
                    }
                    _ => here = next,
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(path: &str, target: &str) -> Entry {
        Entry { path: path.into(), kind: EntryKind::Link { target: target.into() } }
    }

    fn directory(path: &str) -> Entry {
        Entry { path: path.into(), kind: EntryKind::Directory }
    }

    fn check(entries: Vec<Entry>, expected: Result<(), &str>) {
        let manifest = Manifest { entries };
        let found = manifest.check().map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{manifest:?}");
    }

    #[test]
    fn a_member_has_a_plain_path_or_is_refused() {
        let good = |raw: &str| member_path(Path::new(raw)).unwrap();
        assert_eq!(good("./a//b/./c"), Some("a/b/c".into()));
        assert_eq!(good("./"), None);
        for (bad, why) in [("/etc/passwd", "is an absolute path"), ("../x", "`..`"), ("a/../b", "`..`")] {
            let error = member_path(Path::new(bad)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let nul = member_path(Path::new("a\0b")).unwrap_err().to_string();
        assert_eq!(nul, "the path `a\\0b` has a NUL in it");
        let long = member_path(Path::new(&"a/".repeat(2500))).unwrap_err().to_string();
        assert!(long.contains("has 5000 characters") && long.len() < 300, "{long}");
        assert!(member_path(Path::new(&"a".repeat(300))).is_err());
    }

    #[test]
    fn a_link_may_wander_inside_and_never_above() {
        for (link, target) in [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../b"), ("a", "./d/../b")] {
            assert!(stays_inside(Path::new(link), Path::new(target)), "{link} -> {target}");
        }
        for (link, target) in [("a", "/etc"), ("a", "../b"), ("d/a", "../../b"), ("a", "d/../../b")] {
            assert!(!stays_inside(Path::new(link), Path::new(target)), "{link} -> {target}");
        }
    }

    #[test]
    fn a_link_that_leaves_by_way_of_others_is_found() {
        let outside = "the symbolic link `x` leads outside, to `here/../secret`";
        check(vec![link("here", "."), link("x", "here/../secret")], Err(outside));
        let outside = "the symbolic link `z` leads outside, to `y/../../secret`";
        check(
            vec![directory("d"), link("d/up", "../d"), link("y", "d/up"), link("z", "y/../../secret")],
            Err(outside),
        );
        check(vec![directory("d"), link("d/up", ".."), link("x", "d/up/d")], Ok(()));
        check(vec![link("a", "b"), link("b", "a")], Ok(()));
    }

    #[test]
    fn what_lies_in_a_link_or_comes_twice_is_refused() {
        check(vec![link("a", "b"), directory("a/c")], Err("`a/c` lies in `a`, which is not a directory"));
        check(vec![directory("a"), directory("a")], Err("`a` is named twice or out of order"));
        check(vec![directory("a/./b")], Err("`a/./b` is named twice or out of order"));
        check(vec![directory("b"), directory("a")], Err("`a` is named twice or out of order"));
    }

    #[test]
    fn everything_below_one_directory_is_noticed() {
        let top = |entries: Vec<Entry>| Manifest { entries }.single_top().map(Path::to_owned);
        assert_eq!(top(vec![directory("shop-1"), directory("shop-1/bin")]), Some("shop-1".into()));
        assert_eq!(top(vec![directory("a"), directory("b")]), None);
    }
}
