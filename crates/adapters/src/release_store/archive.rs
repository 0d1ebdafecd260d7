//! Archives: told by their content, unpacked below a new directory and never beside it.
//!
//! Nothing that an archive says is believed. Each path is checked before it is used, symbolic links are made when
//! everything else is there, so that nothing can be written through one, and the disk is looked at while it fills.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::manifest::{member_path, shown};
use cutover_core::artifact::{Checksum, Entry, EntryKind, Manifest};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::file::{self, Look, Trouble};
use super::room::Watch;
use super::snapshot::{is_left_out_by_name, make_directory};
use super::tree::checksum;
use super::{host, wrong};

const BLOCK: usize = 512;
/// Bytes that may follow the end of an archive: padding of tapes, not a bomb.
const TAIL: u64 = 64 * 1024 * 1024;
/// Bytes of one member that are read for nothing.
const SKIPPED: u64 = 16 * 1024 * 1024 * 1024;
/// Bytes that may describe one member: names and attributes, which are held in memory.
const DESCRIPTION: u64 = 1024 * 1024;
const HINT: &str = "pack it with `tar -czf shop.tar.gz -C dist .`";

/// What came out of an archive.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) manifest: Manifest,
    /// Of the archive's own bytes.
    pub(super) sha256: Checksum,
}

/// Unpacks an archive into a directory that does not exist yet. `name` is what people call it.
pub(super) fn unpack(archive: &Path, name: &str, destination: &Path) -> Result<Unpacked, PrepareError> {
    let unreadable = |error: io::Error| unreadable(name, &error);
    let file = File::open(archive).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => wrong(format!("the archive `{name}` does not exist"), "build it first"),
        _ => wrong(
            format!("the archive `{name}` cannot be read: {error}"),
            "the controller's user has to be able to read it",
        ),
    })?;
    let before = file.metadata().map_err(unreadable)?;
    let mut raw = Hashed { from: file, digest: Sha256::new() };
    let manifest = {
        let mut plain = decompressed(&mut raw, name)?;
        Unpacking::new(name, destination)?.all(&mut plain)?
    };
    io::copy(&mut raw, &mut io::sink()).map_err(unreadable)?;
    let after = raw.from.metadata().map_err(unreadable)?;
    let time = |metadata: &fs::Metadata| metadata.modified().ok();
    if (before.len(), time(&before)) != (after.len(), time(&after)) {
        let reason = format!("the archive `{name}` was changed while it was read");
        return Err(wrong(reason, "deploy again when its build has ended"));
    }
    Ok(Unpacked { manifest, sha256: checksum(raw.digest) })
}

/// Hashes what passes.
struct Hashed {
    from: File,
    digest: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// A tar stream of which only so much may be read as was granted.
struct Metered<'a> {
    from: &'a mut dyn Read,
    left: &'a Cell<u64>,
    /// Whether there is nothing more.
    ended: &'a Cell<bool>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            let mib = DESCRIPTION / (1024 * 1024);
            return Err(io::Error::other(format!(
                "the name or the attributes of a member take more than {mib} MiB"
            )));
        }
        let count = self.from.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - count as u64);
        self.ended.set(count == 0 && !buffer.is_empty());
        Ok(count)
    }
}

/// The tar stream of an archive, whatever its name.
fn decompressed<'a>(raw: &'a mut Hashed, name: &str) -> Result<Box<dyn Read + 'a>, PrepareError> {
    let (head, rest) = peek(raw).map_err(|error| unreadable(name, &error))?;
    let how = match head.as_slice() {
        [] => return Err(wrong(format!("the archive `{name}` is empty"), HINT)),
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        block if is_tar(block) => return Ok(Box::new(Cursor::new(head).chain(rest))),
        other => return Err(stranger(other, name)),
    };
    let whole = io::BufReader::with_capacity(64 * 1024, Cursor::new(head).chain(rest));
    let mut plain: Box<dyn Read + 'a> = match how {
        "gzip" => Box::new(MultiGzDecoder::new(whole)),
        _ => Box::new(
            zstd::stream::read::Decoder::with_buffer(whole).map_err(|error| unreadable(name, &error))?,
        ),
    };
    let (head, ()) = {
        let mut head = Vec::with_capacity(BLOCK);
        let read = plain.by_ref().take(BLOCK as u64).read_to_end(&mut head);
        read.map_err(|error| unreadable(name, &error))?;
        (head, ())
    };
    if !is_tar(&head) {
        let reason = format!("`{name}` is compressed with {how}, and what is in it is not a tar archive");
        return Err(wrong(reason, HINT));
    }
    Ok(Box::new(Cursor::new(head).chain(plain)))
}

fn peek<R: Read>(mut from: R) -> io::Result<(Vec<u8>, R)> {
    let mut head = Vec::with_capacity(BLOCK);
    from.by_ref().take(BLOCK as u64).read_to_end(&mut head)?;
    Ok((head, from))
}

/// Whether a block is the header of a member: its own sum says so in every dialect of tar. Or the end of an archive
/// that holds nothing.
fn is_tar(block: &[u8]) -> bool {
    if block.len() < BLOCK {
        return false;
    }
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let told = String::from_utf8_lossy(&block[148..156]);
    u32::from_str_radix(told.trim_matches(['\0', ' ']), 8).is_ok_and(|told| told == sum)
}

/// What people try in place of a tar archive.
fn stranger(head: &[u8], name: &str) -> PrepareError {
    let what = match head {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "a zip archive",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2",
        [0x7f, b'E', b'L', b'F', ..] => {
            let reason = format!("`{name}` is a program, not an archive");
            return wrong(reason, "put it into a directory, and name that as `artifact`");
        }
        _ => {
            return wrong(
                format!("`{name}` is neither a tar archive nor one compressed with gzip or zstd"),
                HINT,
            );
        }
    };
    wrong(
        format!("`{name}` is {what}; an artifact is a tar archive, plain or compressed with gzip or zstd"),
        HINT,
    )
}

fn unreadable(name: &str, error: &io::Error) -> PrepareError {
    let hint = "it is damaged or not whole: build it again";
    wrong(format!("the archive `{name}` cannot be unpacked: {error}"), hint)
}

struct Unpacking<'a> {
    name: &'a str,
    destination: &'a Path,
    found: BTreeMap<PathBuf, EntryKind>,
    watch: Watch,
}

impl<'a> Unpacking<'a> {
    fn new(name: &'a str, destination: &'a Path) -> Result<Self, PrepareError> {
        make_directory(destination)?;
        Ok(Self { name, destination, found: BTreeMap::new(), watch: Watch::new(destination) })
    }

    fn all(mut self, plain: &mut dyn Read) -> Result<Manifest, PrepareError> {
        let (left, ended) = (Cell::new(DESCRIPTION), Cell::new(false));
        let mut archive = tar::Archive::new(Metered { from: plain, left: &left, ended: &ended });
        let mut entries = archive.entries().map_err(|error| unreadable(self.name, &error))?;
        loop {
            left.set(DESCRIPTION);
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|error| unreadable(self.name, &error))?;
            left.set(u64::MAX);
            self.one(&mut entry)?;
            // What was left out is read here, so that nothing but a description is left for the next look. A hole of a
            // sparse file may be larger than any disk.
            io::copy(&mut entry.take(SKIPPED), &mut io::sink())
                .map_err(|error| unreadable(self.name, &error))?;
        }
        // An empty block says that nothing follows. One that was cut between two members lacks nothing else.
        if ended.get() {
            return Err(self.refused("it is cut: it has no end mark", "build it again, or copy all of it"));
        }
        left.set(u64::MAX);
        // To the end, where gzip and zstd keep the sums of what they hold.
        let tail = io::copy(&mut archive.into_inner().take(TAIL), &mut io::sink());
        if tail.map_err(|error| unreadable(self.name, &error))? == TAIL {
            return Err(self.refused("something that is no archive follows its end", "build it again"));
        }
        let found = self.found.iter();
        let entries = found.map(|(path, kind)| Entry { path: path.clone(), kind: kind.clone() });
        let manifest = Manifest { entries: entries.collect() };
        if !manifest.entries.iter().any(|entry| matches!(entry.kind, EntryKind::File { .. })) {
            return Err(self.refused("it holds no file", HINT));
        }
        manifest
            .check()
            .map_err(|error| self.refused(&error.to_string(), "copy what it needs into the artifact"))?;
        for Entry { path, kind } in &manifest.entries {
            if let EntryKind::Link { target } = kind {
                let path = self.destination.join(path);
                std::os::unix::fs::symlink(target, &path).map_err(host(&path))?;
            }
        }
        Ok(manifest)
    }

    fn one(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), PrepareError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let raw = Path::new(std::ffi::OsStr::from_bytes(&raw));
        let hint = "nothing was unpacked; pack only what lies below one directory";
        let is_directory = matches!(kind, EntryType::Directory)
            || (matches!(kind, EntryType::Regular) && raw.as_os_str().as_bytes().ends_with(b"/"));
        let path = match member_path(raw).map_err(|error| self.refused(&error.to_string(), hint))? {
            // The directory in which everything lies.
            None if is_directory => return Ok(()),
            None => {
                let reason = format!("`{}` stands for the artifact itself, and is no directory", shown(raw));
                return Err(self.refused(&reason, hint));
            }
            Some(path) if path.components().any(|part| is_left_out_by_name(part.as_os_str())) => {
                return Ok(());
            }
            Some(path) => path,
        };
        match kind {
            // Archives from before 1988 know no type of directories.
            _ if is_directory => self.directory(&path),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(path, entry),
            EntryType::Symlink => {
                let target = self.target(entry, &path)?;
                self.make_way(&path)?;
                self.found.insert(path, EntryKind::Link { target });
                Ok(())
            }
            EntryType::Link => self.hard_link(path, entry),
            other => {
                let what = match other {
                    EntryType::Char | EntryType::Block => "a device file".to_owned(),
                    EntryType::Fifo => "a named pipe".to_owned(),
                    other => format!("of the unknown kind {:?}", char::from(other.as_byte())),
                };
                let reason = format!("`{}` is {what}", shown(&path));
                Err(self.refused(&reason, "leave it out: an artifact has files, directories and links"))
            }
        }
    }

    fn target(&self, entry: &tar::Entry<'_, impl Read>, path: &Path) -> Result<PathBuf, PrepareError> {
        match entry.link_name_bytes() {
            Some(target) if !target.is_empty() && !target.contains(&0) => {
                Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&target)))
            }
            _ => Err(self.refused(&format!("the link `{}` leads nowhere", shown(path)), "build it again")),
        }
    }

    fn directory(&mut self, path: &Path) -> Result<(), PrepareError> {
        match self.found.get(path) {
            Some(EntryKind::Directory) => return Ok(()),
            Some(_) => return Err(self.two_kinds(path)),
            None => {}
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.directory(parent)?;
        }
        let made = self.destination.join(path);
        self.watch.about_to_write(0).map_err(host(&made))?;
        make_directory(&made)?;
        self.found.insert(path.to_owned(), EntryKind::Directory);
        Ok(())
    }

    /// Makes the directories above a path, and takes away what an earlier member of the same name has left: in an
    /// archive that was appended to, the last one counts.
    fn make_way(&mut self, path: &Path) -> Result<(), PrepareError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.directory(parent)?;
        }
        match self.found.remove(path) {
            Some(EntryKind::Directory) => Err(self.two_kinds(path)),
            Some(EntryKind::File { .. }) => {
                let former = self.destination.join(path);
                fs::remove_file(&former).map_err(host(&former))
            }
            Some(EntryKind::Link { .. }) | None => Ok(()),
        }
    }

    fn file(&mut self, path: PathBuf, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), PrepareError> {
        let sparse = entry.pax_extensions().ok().flatten().is_some_and(|extensions| {
            extensions.flatten().any(|one| one.key_bytes().starts_with(b"GNU.sparse."))
        });
        if sparse {
            let reason = format!("`{}` is stored as a sparse file in the PAX format", shown(&path));
            return Err(self.refused(&reason, "pack it without `--sparse`, or with `--format=gnu`"));
        }
        self.make_way(&path)?;
        let header = entry.header();
        let broken = |error: io::Error| unreadable(self.name, &error);
        let executable = header.mode().map_err(broken)? & 0o111 != 0;
        let modified = header.mtime().map_err(broken)?.saturating_mul(1000);
        let to = self.destination.join(&path);
        let look = Look { executable, modified: file::time(modified) };
        let (size, sha256) =
            file::write(entry, &to, look, &mut self.watch).map_err(|trouble| match trouble {
                Trouble::Source(error) => unreadable(self.name, &error),
                Trouble::Disk(error) => host(&to)(error),
            })?;
        self.found.insert(path, EntryKind::File { executable, size, sha256, modified });
        Ok(())
    }

    fn hard_link(&mut self, path: PathBuf, entry: &tar::Entry<'_, impl Read>) -> Result<(), PrepareError> {
        let target = self.target(entry, &path)?;
        let inside = member_path(&target).ok().flatten().filter(|inside| *inside != path);
        let Some((inside, kind @ EntryKind::File { .. })) =
            inside.and_then(|inside| self.found.get(&inside).cloned().map(|kind| (inside, kind)))
        else {
            let reason = format!(
                "the hard link `{}` leads to `{}`, which is no file that the archive holds before it",
                shown(&path),
                shown(&target)
            );
            return Err(self.refused(&reason, "pack the file itself, with `tar --hard-dereference`"));
        };
        self.make_way(&path)?;
        let to = self.destination.join(&path);
        fs::hard_link(self.destination.join(inside), &to).map_err(host(&to))?;
        self.found.insert(path, kind);
        Ok(())
    }

    fn two_kinds(&self, path: &Path) -> PrepareError {
        let reason = format!("`{}` is there twice, as a directory and as something else", shown(path));
        self.refused(&reason, "build it again")
    }

    fn refused(&self, what: &str, hint: &str) -> PrepareError {
        wrong(format!("the archive `{}` cannot be deployed: {what}", self.name), hint)
    }
}
