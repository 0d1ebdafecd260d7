//! One place, one service: no two may answer the same host and path.

use std::collections::HashSet;

use cutover_core::ServiceName;
use cutover_core::release::Configuration;

use crate::manager::{DeploymentManager, RequestError};

impl DeploymentManager {
    pub(super) async fn check_route(
        &self,
        service: &ServiceName,
        wanted: &Configuration,
    ) -> Result<(), RequestError> {
        let mine: HashSet<String> = places(wanted).collect();
        for other in self.services().await {
            if other.state.name == *service {
                continue;
            }
            let state = &other.state;
            let held = state.environments.iter().filter_map(|(_, slot)| slot.release.as_ref());
            let open = state.deployment.iter().chain(&state.queue);
            let coming = open.filter_map(|deployment| deployment.incoming.as_deref());
            let mut theirs = held.chain(coming).flat_map(|release| places(&release.configuration));
            if let Some(place) = theirs.find(|place| mine.contains(place)) {
                return Err(RequestError::RouteTaken { other: state.name.clone(), route: place });
            }
        }
        Ok(())
    }
}

/// Each host and path that a release claims, as people read it; its previews claim theirs.
fn places(configuration: &Configuration) -> impl Iterator<Item = String> {
    let route = &configuration.route;
    let path = match route.path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    let mut hosts = if route.hosts.is_empty() { vec!["every host".to_owned()] } else { route.hosts.clone() };
    hosts.extend(configuration.gates.preview_host.clone());
    let path = path.to_owned();
    hosts.into_iter().map(move |host| format!("{} under `{path}`", host.to_ascii_lowercase()))
}
