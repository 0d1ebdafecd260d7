//! The copy of an artifact: every file read once, hashed as it is written, read-only afterwards.
//!
//! A snapshot holds directories, files and symbolic links that stay inside it; nothing else can be deployed
//! twice alike. `.git` and the state directory itself are left out.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use cutover_controller::ports::PrepareError;
use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use super::{host, wrong};

/// What will be copied, in the order in which it is hashed: sorted by path, parents before children.
#[derive(Debug)]
pub(super) struct Plan {
    root: PathBuf,
    entries: Vec<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    /// Relative to the root.
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory,
    File { executable: bool },
    Link { target: PathBuf },
}

impl Plan {
    /// Looks through an artifact and refuses what cannot be in a release, before anything is copied.
    pub(super) fn of(artifact: &Path, state_directory: &Path) -> Result<Self, PrepareError> {
        let root = existing_directory(artifact)?;
        let state = fs::metadata(state_directory).map_err(host(state_directory))?;
        if root.starts_with(state_directory) {
            let reason = format!("the artifact `{}` lies in cutover's state directory", artifact.display());
            return Err(wrong(reason, "put the artifact elsewhere, or choose another `--state-dir`"));
        }
        let mut plan = Self { root, entries: Vec::new(), bytes: 0 };
        let walk = WalkDir::new(&plan.root).min_depth(1).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|entry| !is_left_out(entry, &state)) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(artifact).to_owned();
                host(&path)(error.into())
            })?;
            let metadata = entry.metadata().map_err(|error| host(entry.path())(error.into()))?;
            plan.add(entry.path(), &metadata)?;
        }
        Ok(plan)
    }

    /// Size of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn add(&mut self, source: &Path, metadata: &Metadata) -> Result<(), PrepareError> {
        let Ok(path) = source.strip_prefix(&self.root) else {
            return Ok(());
        };
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_file() {
            self.bytes += metadata.len();
            Kind::File { executable: metadata.permissions().mode() & 0o111 != 0 }
        } else if metadata.is_symlink() {
            let target = fs::read_link(source).map_err(host(source))?;
            if !stays_inside(path, &target) || leads_out(source, &self.root) {
                let (link, target) = (source.display(), target.display());
                let reason = format!("the symbolic link `{link}` leads out of the artifact, to `{target}`");
                return Err(wrong(reason, "copy what it points to into the artifact"));
            }
            Kind::Link { target }
        } else {
            let reason = format!("`{}` is neither a file, a directory nor a symbolic link", source.display());
            return Err(wrong(reason, "remove it from the artifact"));
        };
        self.entries.push(Entry { path: path.to_owned(), kind });
        Ok(())
    }

    /// Copies everything into a new directory and gives the hash of what was written there.
    pub(super) fn copy_to(&self, destination: &Path) -> Result<String, PrepareError> {
        make_directory(destination)?;
        let mut tree = Sha256::new();
        for Entry { path, kind } in &self.entries {
            let (from, to) = (self.root.join(path), destination.join(path));
            let (label, content) = match kind {
                Kind::Directory => {
                    make_directory(&to)?;
                    (b'd', Vec::new())
                }
                Kind::File { executable } => {
                    let digest = copy_file(&from, &to, *executable).map_err(host(&from))?;
                    (if *executable { b'x' } else { b'f' }, digest)
                }
                Kind::Link { target } => {
                    std::os::unix::fs::symlink(target, &to).map_err(host(&to))?;
                    (b'l', target.as_os_str().as_encoded_bytes().to_vec())
                }
            };
            tree.update([label]);
            // With their lengths, so that no two trees give the same bytes.
            for part in [path.as_os_str().as_encoded_bytes(), &content] {
                tree.update((part.len() as u64).to_be_bytes());
                tree.update(part);
            }
        }
        Ok(hex::encode(tree.finalize()))
    }
}

fn existing_directory(artifact: &Path) -> Result<PathBuf, PrepareError> {
    let shown = artifact.display();
    let hint = "`artifact` in cutover.toml is the directory to deploy; build it first";
    match artifact.canonicalize() {
        Ok(root) if root.is_dir() => Ok(root),
        Ok(_) => Err(wrong(format!("the artifact `{shown}` is not a directory"), hint)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(wrong(format!("the artifact `{shown}` does not exist"), hint))
        }
        Err(error) => Err(host(artifact)(error)),
    }
}

fn is_left_out(entry: &DirEntry, state: &Metadata) -> bool {
    let is_state = |metadata: Metadata| metadata.dev() == state.dev() && metadata.ino() == state.ino();
    entry.file_name() == ".git" || entry.file_type().is_dir() && entry.metadata().is_ok_and(is_state)
}

/// Whether a link's target, read as text, stays below the root.
fn stays_inside(link: &Path, target: &Path) -> bool {
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

/// Whether a link leads out by way of other links, which its text does not show.
fn leads_out(link: &Path, root: &Path) -> bool {
    link.canonicalize().is_ok_and(|end| !end.starts_with(root))
}

fn make_directory(path: &Path) -> Result<(), PrepareError> {
    fs::create_dir(path).map_err(host(path))?;
    // Writable by us, so that a release can be removed without being root.
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).map_err(host(path))
}

/// Copies a file with its time of modification, which web servers make entity tags of, and hashes the copy.
fn copy_file(from: &Path, to: &Path, executable: bool) -> io::Result<Vec<u8>> {
    let mut source = File::open(from)?;
    let metadata = source.metadata()?;
    let mut copy = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to)?;
    let digest = if rustix::fs::ioctl_ficlone(&copy, &source).is_ok() {
        copy.rewind()?;
        relay(&mut copy, &mut io::sink())?
    } else {
        relay(&mut source, &mut copy)?
    };
    copy.set_modified(metadata.modified()?)?;
    copy.set_permissions(PermissionsExt::from_mode(if executable { 0o555 } else { 0o444 }))?;
    Ok(digest)
}

fn relay(from: &mut impl Read, to: &mut impl Write) -> io::Result<Vec<u8>> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(digest.finalize().to_vec()),
            Ok(count) => {
                digest.update(&buffer[..count]);
                to.write_all(&buffer[..count])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_wander_inside_and_never_above() {
        for (link, target) in [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../b"), ("a", "./d/../b")] {
            assert!(stays_inside(Path::new(link), Path::new(target)), "{link} -> {target}");
        }
        for (link, target) in [("a", "/etc"), ("a", "../b"), ("d/a", "../../b"), ("a", "d/../../b")] {
            assert!(!stays_inside(Path::new(link), Path::new(target)), "{link} -> {target}");
        }
    }
}
