//! `cutover config check`: a cutover.toml, without deploying it.

mod told;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cutover_core::artifact::ArtifactSource;
use indicatif::HumanBytes;
use serde_json::json;

use crate::api::VERSION;
use crate::cli::bring::counted;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::config;

/// What to do with a configuration.
#[derive(Subcommand)]
pub(crate) enum Config {
    Check(Check),
}

/// Check a cutover.toml without deploying it
#[derive(Args)]
pub(crate) struct Check {
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "cutover.toml")]
    file: PathBuf,
}

impl Config {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let Self::Check(Check { file }) = self;
        let loaded = config::load(&file)?;
        let resolved = config::resolve(&loaded, "check")?;
        for warning in &resolved.warnings {
            printer.talk(&format!("warning: {warning}"));
        }
        let service = &resolved.spec.service;
        let size = size(&resolved.spec.artifact, &resolved.spec.exclude)?;
        let artifact = size.map(|(bytes, files)| json!({ "bytes": bytes, "files": files }));
        printer.result(
            &json!({
                "v": VERSION,
                "success": true,
                "service": service,
                "artifact": artifact,
                "gates": told::as_json(&resolved.spec),
            }),
            || {
                let what = match (&resolved.spec.artifact, size) {
                    (ArtifactSource::Directory(_), Some((bytes, files))) => {
                        format!("{}, {}", counted(files), HumanBytes(bytes))
                    }
                    (_, Some((bytes, _))) => format!("an archive of {}", HumanBytes(bytes)),
                    (source, None) => format!("fetched from {source}"),
                };
                let gates = told::lines(&resolved.spec);
                format!("{} is right: service {service}, artifact: {what}{gates}", file.display())
            },
        );
        Ok(Exit::Done)
    }
}

/// Bytes and files of what would be deployed; nothing is known of what the controller fetches itself.
fn size(artifact: &ArtifactSource, exclude: &[String]) -> Result<Option<(u64, usize)>, Failure> {
    Ok(match artifact {
        ArtifactSource::Directory(directory) => {
            Some(cutover_adapters::release_store::measure(directory, exclude)?)
        }
        ArtifactSource::Archive { path, .. } => {
            let found = std::fs::metadata(path);
            found.ok().map(|found| (found.len(), 1))
        }
        ArtifactSource::Url { .. } | ArtifactSource::Uploaded { .. } => None,
    })
}
