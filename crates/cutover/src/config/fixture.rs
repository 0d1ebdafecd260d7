//! For tests: a directory with a service in it, and what the room says about a `cutover.toml` there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::error::ConfigError;
use super::resolve::{Resolved, resolve_with};
use super::{Loaded, load};

pub(super) struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A directory with one file.
    pub(super) fn with(path: &str, text: &str) -> Self {
        let fixture = Self::empty();
        fixture.write(path, text);
        fixture
    }

    /// A directory with the program `shop`.
    pub(super) fn service() -> Self {
        let fixture = Self::empty();
        fixture.executable("shop");
        fixture
    }

    /// An absolute path, with `.` and double slashes gone.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path).components().collect()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn executable(&self, path: &str) {
        self.write(path, "#!/bin/sh\n");
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes `cutover.toml`, reads it and resolves it as version `v1`.
    pub(super) fn resolve(&self, text: &str) -> Result<Resolved, ConfigError> {
        self.write("cutover.toml", text);
        let loaded: Loaded = load(&self.path("cutover.toml"))?;
        resolve_with(&loaded, &"v1".into(), &|name| match name {
            "PATH" => std::env::var_os(name),
            "TOKEN" => Some("hunter2".into()),
            "BROKEN" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        })
    }

    /// The error for a text, as a person sees it.
    pub(super) fn error(&self, text: &str) -> String {
        self.shown(&self.resolve(text).expect_err(text))
    }

    /// The error for lines that follow a right `name` and `command`.
    pub(super) fn error_of_line_3(&self, lines: &str) -> String {
        self.error(&format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}\n"))
    }

    /// An error, with the directory of the fixture shown as `/` and its file without a directory.
    pub(super) fn shown(&self, error: &ConfigError) -> String {
        self.plain(&format!("{error:#}"))
    }

    /// A text, treated likewise.
    pub(super) fn plain(&self, text: &str) -> String {
        let directory = self.path("").display().to_string();
        let text = text.strip_prefix(&format!("{directory}/")).unwrap_or(text);
        text.replace(&format!("`{directory}`"), "`/`").replace(&directory, "")
    }
}
