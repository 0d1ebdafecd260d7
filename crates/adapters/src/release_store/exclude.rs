//! What of a directory is no part of the artifact: patterns as in `.gitignore`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use walkdir::WalkDir;

use super::snapshot::is_left_out_by_name;

/// Bytes of a file in which the beginning of a private key is looked for.
const HEAD: u64 = 4096;
/// Private keys as `ssh-keygen` names them.
const KEYS: [&str; 4] = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];

/// Tells what is left out. The hash of an artifact is that of what is left in.
#[derive(Debug, Clone)]
pub struct Exclude(Gitignore);

impl Exclude {
    /// Understands patterns; what the last pattern that fits says, counts.
    ///
    /// # Errors
    /// The place of the first pattern that means nothing, and why.
    pub fn new(patterns: &[String]) -> Result<Self, (usize, String)> {
        let mut builder = GitignoreBuilder::new("");
        for (number, pattern) in patterns.iter().enumerate() {
            let wrong = |reason: &str| Err((number, reason.to_owned()));
            let meant = pattern.strip_prefix('!').unwrap_or(pattern);
            if meant.trim().is_empty() || meant.starts_with('#') {
                return wrong("it fits nothing");
            }
            if meant.split('/').any(|part| part == "..") {
                return wrong("it leads out of the artifact");
            }
            // Which `.gitignore` takes for a directory named `.`, and people for the top.
            let line = match meant.strip_prefix("./") {
                Some(rest) => format!("{}/{rest}", &pattern[..pattern.len() - meant.len()]),
                None => pattern.clone(),
            };
            builder.add_line(None, &line).map_err(|error| (number, error.to_string()))?;
        }
        builder.build().map(Self).map_err(|error| (0, error.to_string()))
    }

    /// Whether this path, relative to the artifact, is left out, by itself.
    pub(super) fn leaves_out(&self, path: &Path, is_directory: bool) -> bool {
        self.0.matched(path, is_directory).is_ignore()
    }

    /// Whether this file, relative to the artifact, is left out, by itself or with a directory above it.
    #[must_use]
    pub fn leaves_out_file(&self, path: &Path) -> bool {
        let plain: PathBuf = path.components().filter(|it| *it != std::path::Component::CurDir).collect();
        !plain.is_absolute() && self.0.matched_path_or_any_parents(&plain, false).is_ignore()
    }
}

/// Files of a directory that look like secrets and would be deployed: `.env`, and private keys.
#[must_use]
pub fn secrets_in(directory: &Path, exclude: &Exclude) -> Vec<PathBuf> {
    let is_in = |entry: &walkdir::DirEntry| {
        let path = entry.path().strip_prefix(directory).unwrap_or(entry.path());
        !is_left_out_by_name(entry.file_name()) && !exclude.leaves_out(path, entry.file_type().is_dir())
    };
    let walk = WalkDir::new(directory).min_depth(1).sort_by_file_name().into_iter().filter_entry(is_in);
    let files = walk.flatten().filter(|entry| entry.file_type().is_file() && is_secret(entry.path()));
    files.filter_map(|entry| entry.path().strip_prefix(directory).ok().map(Path::to_owned)).collect()
}

fn is_secret(file: &Path) -> bool {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return false };
    if name == ".env" || KEYS.contains(&name) {
        return true;
    }
    let mut head = Vec::new();
    let is_pem = [".pem", ".key"].iter().any(|ending| name.ends_with(ending));
    is_pem
        && File::open(file).and_then(|file| file.take(HEAD).read_to_end(&mut head)).is_ok()
        && head.windows(12).any(|window| window == b"PRIVATE KEY-")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn exclude(patterns: &[&str]) -> Result<Exclude, (usize, String)> {
        Exclude::new(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        let some = exclude(&["uploads/", "*.log", "!keep.log", "./var", "/top", "a/b"]).unwrap();
        for (file, expected) in [
            ("uploads/x", true),
            ("in/uploads/x", true),
            ("uploads", false),
            ("a.log", true),
            ("in/a.log", true),
            ("in/keep.log", false),
            ("var/x", true),
            ("in/var", false),
            ("./top", true),
            ("in/top", false),
            ("a/b/c", true),
            ("/usr/bin/a.log", false),
        ] {
            assert_eq!(some.leaves_out_file(Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_told_with_its_place() {
        for wrong in ["", " ", "# logs", "../x", "a/../../b", "!", "{a"] {
            assert_eq!(exclude(&["ok", wrong]).unwrap_err().0, 1, "{wrong}");
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_found_unless_it_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (name, text) in [
            (".env", "TOKEN=x"),
            ("in/.env", "TOKEN=x"),
            ("out/.env", "TOKEN=x"),
            (".env.example", "TOKEN="),
            ("id_rsa", "x"),
            ("id_rsa.pub", "x"),
            ("public.pem", "-----BEGIN CERTIFICATE-----"),
            ("private.pem", "-----BEGIN RSA PRIVATE KEY-----"),
            (".git/id_rsa", "x"),
        ] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), text).unwrap();
        }
        let found = secrets_in(root, &exclude(&["out/"]).unwrap());
        assert_eq!(found, [".env", "id_rsa", "in/.env", "private.pem"].map(PathBuf::from));
    }
}
