//! The copy of a directory: every file read once, hashed as it is written, read-only afterwards.
//!
//! A snapshot holds directories, files and symbolic links that stay inside it; nothing else can be deployed
//! twice alike. `.git`, the state directory itself and what the deployment excludes are left out. What changes meanwhile is noticed: a release is
//! never half of one build and half of the next.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::manifest::{PATH_LIMIT, WrongPath, shown, stays_inside};
use cutover_core::artifact::{self, Checksum, EntryKind, Manifest};
use walkdir::{DirEntry, WalkDir};

use super::exclude::Exclude;
use super::file::{self, Look, Trouble};
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
    File { executable: bool, seen: Seen },
    Link { target: PathBuf },
}

/// How a file was when it was looked at; another look that differs tells of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: (u64, u64),
    size: u64,
    changed: (i64, i64),
    modified: Option<SystemTime>,
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: metadata.modified().ok(),
        }
    }
}

impl Plan {
    /// Looks through an artifact and refuses what cannot be in a release, before anything is copied. The state
    /// directory is left out, where it lies on the same host.
    pub(super) fn of(
        artifact: &Path,
        exclude: &[String],
        state_directory: Option<&Path>,
    ) -> Result<Self, PrepareError> {
        let exclude = Exclude::new(exclude).map_err(|(number, reason)| {
            let hint = "write it as a line of `.gitignore`, such as `uploads/`";
            wrong(format!("`{}` cannot be excluded: {reason}", exclude[number]), hint)
        })?;
        let root = existing_directory(artifact)?;
        let state = state_directory.map(|path| fs::metadata(path).map_err(host(path))).transpose()?;
        if state_directory.is_some_and(|state| root.starts_with(state)) {
            let reason = format!("the artifact `{}` lies in cutover's state directory", artifact.display());
            return Err(wrong(reason, "put the artifact elsewhere, or choose another `--state-dir`"));
        }
        let mut plan = Self { root, entries: Vec::new(), bytes: 0 };
        let walk = WalkDir::new(&plan.root).min_depth(1).sort_by_file_name();
        let root = plan.root.clone();
        let is_in = |entry: &DirEntry| {
            let path = entry.path().strip_prefix(&root).unwrap_or(entry.path());
            !is_left_out(entry, state.as_ref()) && !exclude.leaves_out(path, entry.file_type().is_dir())
        };
        for entry in walk.into_iter().filter_entry(is_in) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(artifact).to_owned();
                unreadable(&path, error.into())
            })?;
            let metadata = entry.metadata().map_err(|error| unreadable(entry.path(), error.into()))?;
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
        if path.as_os_str().len() > PATH_LIMIT {
            return Err(too_long(path));
        }
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_file() {
            self.bytes += metadata.len();
            Kind::File { executable: metadata.permissions().mode() & 0o111 != 0, seen: Seen::of(metadata) }
        } else if metadata.is_symlink() {
            let target = fs::read_link(source).map_err(host(source))?;
            if !stays_inside(path, &target) || leads_out(source, &self.root) {
                let (link, target) = (source.display(), target.display());
                let reason = format!("the symbolic link `{link}` leads out of the artifact, to `{target}`");
                return Err(wrong(reason, "copy what it points to into the artifact"));
            }
            Kind::Link { target }
        } else {
            let kind = metadata.file_type();
            let what = if kind.is_socket() {
                "a socket"
            } else if kind.is_fifo() {
                "a named pipe"
            } else {
                "a device file"
            };
            let reason = format!(
                "`{}` is {what}: it is neither a file, a directory nor a symbolic link",
                source.display()
            );
            return Err(wrong(reason, "remove it from the artifact"));
        };
        self.entries.push(Entry { path: path.to_owned(), kind });
        Ok(())
    }

    /// Copies everything into a new directory and says what was written there.
    pub(super) fn copy_to(&self, destination: &Path) -> Result<Manifest, PrepareError> {
        make_directory(destination)?;
        self.each(
            |path| make_directory(&destination.join(path)),
            |path, source, look| {
                let to = destination.join(path);
                file::copy(source, &to, look).map_err(|trouble| match trouble {
                    Trouble::Source(error) => unreadable(&self.root.join(path), error),
                    Trouble::Disk(error) => host(&to)(error),
                })
            },
            |path, target| {
                let to = destination.join(path);
                std::os::unix::fs::symlink(target, &to).map_err(host(&to))
            },
        )
    }

    /// Reads everything and says what it is; `read` is told the bytes after each file.
    fn describe(&self, read: &mut dyn FnMut(u64)) -> Result<Manifest, PrepareError> {
        self.each(
            |_| Ok(()),
            |path, source, _| {
                let hashed = file::hash(source).map_err(|error| unreadable(&self.root.join(path), error))?;
                read(hashed.0);
                Ok(hashed)
            },
            |_, _| Ok(()),
        )
    }

    fn each(
        &self,
        directory: impl Fn(&Path) -> Result<(), PrepareError>,
        mut file: impl FnMut(&Path, &mut File, Look) -> Result<(u64, Checksum), PrepareError>,
        link: impl Fn(&Path, &Path) -> Result<(), PrepareError>,
    ) -> Result<Manifest, PrepareError> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for Entry { path, kind } in &self.entries {
            let kind = match kind {
                Kind::Directory => {
                    directory(path)?;
                    EntryKind::Directory
                }
                Kind::File { executable, seen } => {
                    let from = self.root.join(path);
                    let mut source = File::open(&from).map_err(|error| unreadable(&from, error))?;
                    let modified = seen.modified.unwrap_or(SystemTime::UNIX_EPOCH);
                    let look = Look { executable: *executable, modified };
                    let (size, sha256) = file(path, &mut source, look)?;
                    let modified = file::milliseconds(modified);
                    EntryKind::File { executable: *executable, size, sha256, modified }
                }
                Kind::Link { target } => {
                    link(path, target)?;
                    EntryKind::Link { target: target.clone() }
                }
            };
            entries.push(artifact::Entry { path: path.clone(), kind });
        }
        self.look_again()?;
        Ok(Manifest { entries })
    }

    /// Notices what was changed since the plan was made, before, while or after it was read.
    fn look_again(&self) -> Result<(), PrepareError> {
        for Entry { path, kind } in &self.entries {
            let Kind::File { seen, .. } = kind else { continue };
            let path = self.root.join(path);
            if fs::symlink_metadata(&path).map(|metadata| Seen::of(&metadata)).ok() != Some(*seen) {
                return Err(changed(&path));
            }
        }
        Ok(())
    }
}

/// What a directory holds, without a copy. `read` is told the bytes of each file that was read.
///
/// # Errors
/// [`PrepareError`] for what could not be deployed: device files, links that lead out, files that change meanwhile.
pub fn describe(
    directory: &Path,
    exclude: &[String],
    read: &mut dyn FnMut(u64),
) -> Result<Manifest, PrepareError> {
    Plan::of(directory, exclude, None)?.describe(read)
}

/// Bytes and number of the files of a directory, as a deployment would take them.
///
/// # Errors
/// [`PrepareError`] for what could not be deployed.
pub fn measure(directory: &Path, exclude: &[String]) -> Result<(u64, usize), PrepareError> {
    let plan = Plan::of(directory, exclude, None)?;
    let files = plan.entries.iter().filter(|entry| matches!(entry.kind, Kind::File { .. })).count();
    Ok((plan.bytes, files))
}

/// A file that is not what it was a moment ago.
pub(super) fn changed(path: &Path) -> PrepareError {
    let reason = format!("`{}` was changed while it was read", path.display());
    wrong(reason, "deploy again when its build has ended")
}

fn unreadable(path: &Path, error: io::Error) -> PrepareError {
    match error.kind() {
        io::ErrorKind::NotFound => changed(path),
        io::ErrorKind::InvalidFilename => too_long(path),
        _ => host(path)(error),
    }
}

fn too_long(path: &Path) -> PrepareError {
    let length = path.as_os_str().len();
    let reason = WrongPath::TooLong { shown: shown(path), length, limit: PATH_LIMIT }.to_string();
    wrong(reason, "remove it from the artifact")
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

fn is_left_out(entry: &DirEntry, state: Option<&Metadata>) -> bool {
    let is_state = |metadata: &Metadata| {
        state.is_some_and(|state| metadata.dev() == state.dev() && metadata.ino() == state.ino())
    };
    is_left_out_by_name(entry.file_name())
        || entry.file_type().is_dir() && entry.metadata().is_ok_and(|metadata| is_state(&metadata))
}

/// What is no part of any artifact.
pub(super) fn is_left_out_by_name(name: &OsStr) -> bool {
    name == ".git"
}

/// Whether a link leads out by way of other links, which its text does not show.
fn leads_out(link: &Path, root: &Path) -> bool {
    link.canonicalize().is_ok_and(|end| !end.starts_with(root))
}

pub(super) fn make_directory(path: &Path) -> Result<(), PrepareError> {
    fs::create_dir(path).map_err(host(path))?;
    // Writable by us, so that a release can be removed without being root.
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).map_err(host(path))
}
