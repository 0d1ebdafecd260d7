//! Which logs of a service there are, and whose they are.

use std::path::PathBuf;
use std::sync::Arc;

use cutover_controller::ports::{LogOrigin, PortError};
use cutover_core::{Environment, InstanceId, ServiceName};

use super::super::kept_log::{self, Label};
use super::super::record::InstanceRecord;
use super::super::{Instances, directory, failed};

/// A log that can be read.
pub(super) struct Source {
    pub(super) origin: Arc<LogOrigin>,
    /// The newest file; those that were rotated lie beside it.
    pub(super) log: PathBuf,
}

impl Instances {
    /// Every log of a service: of instances that are written down, and of those that were stopped.
    pub(super) fn log_sources(&self, service: &ServiceName) -> Result<Vec<Source>, PortError> {
        let mut sources = Vec::new();
        for directory in directory::all(&self.root()).map_err(|error| failed("list the instances", error))? {
            // What cannot be read has no service.
            let Ok(Some(record)) = directory.read::<InstanceRecord>() else { continue };
            if record.service != *service {
                continue;
            }
            let label = Some(Label::of(&record));
            sources.push(Source { origin: origin(record.id, label, service), log: directory.output_log() });
        }
        for log in kept_log::all(&self.logs(service)) {
            let id = log.file_stem().and_then(|stem| stem.to_str()?.parse::<InstanceId>().ok());
            let Some(id) = id else { continue };
            // An instance that was stopped and started again goes on in its directory.
            if sources.iter().all(|source| source.origin.instance != id) {
                sources.push(Source { origin: origin(id, Label::beside(&log), service), log });
            }
        }
        Ok(sources)
    }
}

fn origin(instance: InstanceId, label: Option<Label>, service: &ServiceName) -> Arc<LogOrigin> {
    // Without a label the id still says where it was.
    let told = || {
        let rest = instance.as_str().strip_prefix(service.as_str())?.strip_prefix('-')?;
        rest.split('-').next()?.parse::<Environment>().ok()
    };
    let environment = label.as_ref().map(|label| label.environment).or_else(told);
    let (release, version) = label.map(|label| (label.release, label.version)).unzip();
    Arc::new(LogOrigin { instance, environment, release, version })
}
