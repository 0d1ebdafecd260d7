//! Manual pages and shell completions, made from the command line's own description.

use std::path::PathBuf;

/// Files that come with the binary, by where they belong below `/usr/local`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    pub(crate) manual: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) completions: Vec<(PathBuf, Vec<u8>)>,
}
