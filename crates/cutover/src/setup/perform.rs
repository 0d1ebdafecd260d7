//! Doing what was told. Each file appears whole under its name; what ran before a failure may be run again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::setup::layout::SetupError;
use crate::setup::plan::Deed;

/// Does one of them.
///
/// # Errors
/// If it could not be done; what was there before is still there then.
pub(crate) fn perform(deed: &Deed) -> Result<(), SetupError> {
    match deed {
        Deed::Install { from, to } => failing("install", to, install(from, to)),
        Deed::Write { path, text } => failing("write", path, write(path, text)),
        Deed::WriteAll { files, .. } => {
            files.iter().try_for_each(|(path, text)| failing("write", path, write(path, text)))
        }
        Deed::Link { path, to } => failing("link", path, link(path, to)),
        Deed::Remove { path } => failing("remove", path, remove(path)),
        Deed::RemoveAll { paths, .. } => {
            paths.iter().try_for_each(|path| failing("remove", path, remove(path)))
        }
        Deed::Run { words } => run(words),
    }
}

fn failing(deed: &'static str, path: &Path, result: io::Result<()>) -> Result<(), SetupError> {
    result.map_err(|source| SetupError::File { deed, path: path.to_owned(), source })
}

/// The name always has a program: the former one until the new one is whole.
fn install(from: &Path, to: &Path) -> io::Result<()> {
    let part = beside(to, "new");
    make_directory_of(to)?;
    let _ = fs::remove_file(&part);
    fs::copy(from, &part)?;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755))?;
    File::open(&part)?.sync_all()?;
    let former = beside(to, "former");
    if to.exists() {
        let _ = fs::remove_file(&former);
        fs::hard_link(to, &former)?;
    }
    fs::rename(part, to)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    make_directory_of(path)?;
    let part = beside(path, "new");
    fs::write(&part, text)?;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o644))?;
    fs::rename(part, path)
}

fn link(path: &Path, to: &Path) -> io::Result<()> {
    make_directory_of(path)?;
    remove(path)?;
    std::os::unix::fs::symlink(to, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn beside(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn run(words: &[String]) -> Result<(), SetupError> {
    let failed = |said: String| SetupError::Command { command: words.join(" "), said };
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let said = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let said = said.map_err(|error| failed(error.to_string()))?;
    if said.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&said.stderr);
    let text = text.trim().replace('\n', "; ");
    Err(failed(if text.is_empty() { said.status.to_string() } else { text }))
}
