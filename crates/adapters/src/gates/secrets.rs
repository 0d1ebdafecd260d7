//! The secrets of a release, for what is filled in and for what is hidden.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cutover_core::ServiceName;
use cutover_core::release::Release;
use tokio::task::spawn_blocking;

use crate::release_place;

/// Names and values.
pub(super) struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads them from where the release lies. One that is not there is an error: what is missing cannot be hidden.
    pub(super) async fn read(
        state_directory: &Path,
        service: &ServiceName,
        release: &Release,
    ) -> Result<Self, String> {
        let names: Vec<String> = release.secrets.iter().map(|secret| secret.name.clone()).collect();
        let directory = release_place::located(state_directory, service, release).with_file_name("secrets");
        let reading = spawn_blocking(move || {
            let value = |name: String| {
                let value = fs::read(directory.join(&name));
                let value = value.map_err(|error| format!("cannot read the secret `{name}`: {error}"))?;
                Ok((name, String::from_utf8_lossy(&value).into_owned()))
            };
            names.into_iter().map(value).collect::<Result<_, String>>().map(Self)
        });
        reading.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The value of one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All values.
    pub(super) fn values(&self) -> impl Iterator<Item = String> {
        self.0.values().cloned()
    }

    /// All names with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
