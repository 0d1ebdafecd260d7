//! Where an instance is told whether its environment is live.
//!
//! The proxy says it, because it holds the table by which clients are routed: it is right also while the controller is
//! dead, and after traffic was moved past it. For each service and environment it keeps a file that holds `live` or
//! `idle`, and it answers the same on a loopback address that it writes down beside them. Here is only what an instance
//! has to know of that.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cutover_core::{Environment, ServiceName};

/// The file with the loopback address that the proxy answers on.
pub(super) const ADDRESS: &str = "address";

/// Where the instances of an environment are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The file.
    pub(super) file: PathBuf,
    /// The URL, if the proxy has one.
    pub(super) url: Option<String>,
}

impl Told {
    pub(super) fn of(live: &Path, service: &ServiceName, environment: Environment) -> Self {
        let address = fs::read_to_string(live.join(ADDRESS)).ok();
        let address = address.as_deref().map(str::trim).filter(|address| !address.is_empty());
        Self {
            file: live.join(service.as_str()).join(environment.label()),
            url: address.map(|address| format!("http://{address}/{service}/{environment}")),
        }
    }
}

/// Says `idle` of an environment of which the proxy has not said anything yet: before the first release is routed to.
pub(super) fn begin(live: &Path, service: &ServiceName, environment: Environment) -> io::Result<()> {
    let Told { file, .. } = Told::of(live, service, environment);
    if file.exists() {
        return Ok(());
    }
    if let Some(directory) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        // Whatever the process's mask takes away: instances of other users read it.
        for made in [live, directory] {
            fs::set_permissions(made, fs::Permissions::from_mode(0o755))?;
        }
    }
    // Whole from the first moment, and never over what the proxy has said meanwhile.
    let draft = file.with_extension("draft");
    let mut made = File::create(&draft)?;
    made.set_permissions(fs::Permissions::from_mode(0o644))?;
    made.write_all(b"idle\n")?;
    let placed = fs::hard_link(&draft, &file);
    fs::remove_file(&draft)?;
    match placed {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
