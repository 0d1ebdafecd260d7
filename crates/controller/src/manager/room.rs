//! Whether a release fits on the host; and if its memory does not, what could be done about that, with figures.

use std::sync::Arc;

use cutover_core::ServiceName;
use cutover_core::release::Release;

use crate::manager::{DeploymentManager, RequestError};
use crate::ports::Shortage;
use crate::service_loop::Snapshot;

/// Who wants the room: whoever could do with fewer instances is told how to ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A deployment, whose configuration has the number.
    Deploy,
    /// Another number of instances.
    Scale,
    /// The same instances anew.
    Restart,
}

impl DeploymentManager {
    pub(super) async fn room_for(
        &self,
        service: &ServiceName,
        release: &Release,
        asked: Asked,
    ) -> Result<(), RequestError> {
        let executor = &self.common.ports.executor;
        let Err(reason) = executor.preflight(service, release).await else { return Ok(()) };
        // The choices are an extra: without them the refusal still stands.
        let choices = match executor.shortage(service, release).await {
            Ok(Some(shortage)) => choices(service, release, asked, &shortage, &self.services().await),
            _ => Vec::new(),
        };
        Err(RequestError::CannotRun { reason, choices })
    }
}

/// What would make room, in the order of how little it costs.
fn choices(
    service: &ServiceName,
    release: &Release,
    asked: Asked,
    shortage: &Shortage,
    services: &[Arc<Snapshot>],
) -> Vec<String> {
    let mut choices = Vec::new();
    let enough = |bytes: u64| shortage.free.saturating_add(bytes) >= shortage.needed;
    // Warm releases: nobody's requests are in them. An open deployment needs both of its environments.
    let rests = services.iter().filter(|other| other.state.deployment.is_none());
    let mut warm: Vec<_> = rests
        .filter_map(|other| {
            let (name, idle) = (&other.state.name, other.state.idle());
            let version = other.state.environments[idle].release.as_ref()?.version.clone();
            let held = shortage.held.iter().find(|(held, at, _)| held == name && *at == idle)?.2;
            Some((name.clone(), version, held))
        })
        .collect();
    warm.sort_by_key(|(name, _, held)| (name != service, std::cmp::Reverse(*held)));
    for (name, version, held) in warm.iter().filter(|(.., held)| enough(*held)) {
        choices.push(format!(
            "`cutover stop {name} idle` frees about {} (a rollback to {version} then has to start it)",
            mebibytes(*held)
        ));
    }
    let together: u64 = warm.iter().map(|(.., held)| held).sum();
    if choices.is_empty() && warm.len() > 1 && enough(together) {
        let names: Vec<_> = warm.iter().map(|(name, ..)| name.as_str()).collect();
        choices.push(format!(
            "`cutover stop SERVICE idle` for each of {} frees about {}",
            names.join(", "),
            mebibytes(together)
        ));
    }
    let wanted = release.configuration.run.instances;
    if (1..wanted).contains(&shortage.fitting) {
        let fitting = shortage.fitting;
        match asked {
            Asked::Deploy => {
                choices.push(format!("`instances = {fitting}` in `[run]` instead of {wanted} fits"))
            }
            Asked::Scale => {
                choices.push(format!("`cutover scale {fitting} {service}` instead of {wanted} fits"))
            }
            Asked::Restart => {}
        }
    }
    let lacking = shortage.needed.saturating_sub(shortage.free);
    choices
        .push(format!("{} more memory for this host, or less for what else runs on it", mebibytes(lacking)));
    choices.push(
        "`--force` starts it all the same: if memory runs out, idle instances are ended before live ones"
            .to_owned(),
    );
    choices
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::Environment;
    use cutover_core::health::HealthPolicy;
    use cutover_core::release::{Configuration, Route, RunPolicy};
    use cutover_core::service::ServiceState;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn release(version: &str, instances: u32) -> Release {
        let run = serde_json::json!({
            "instances": instances, "user": null, "workdir": ".", "stop_signal": "SIGTERM", "stop_timeout": "5s",
        });
        let run: RunPolicy = serde_json::from_value(run).unwrap();
        let configuration = serde_json::json!({
            "route": Route { hosts: vec![], path: "/".to_owned(), canonical_host: None }, "command": ["./shop"], "env": {}, "run": run,
            "health": HealthPolicy::default(),
            "health_deadline": humantime::format_duration(Duration::from_secs(30)).to_string(),
        });
        let configuration: Configuration = serde_json::from_value(configuration).unwrap();
        Release {
            id: "0123456789abcdef".parse().unwrap(),
            version: version.parse().unwrap(),
            directory: "/releases".into(),
            artifact_bytes: 0,
            configuration,
            secrets: Vec::new(),
        }
    }

    /// A service whose idle slot is blue and holds `v1`.
    fn with_standby(name: &str) -> Arc<Snapshot> {
        let mut state = ServiceState::new(name.parse().unwrap());
        state.environments[Environment::Blue].release = Some(release("v1", 1));
        let (last_closed, waiting_for, journal_trouble) = (None, None, None);
        Arc::new(Snapshot { sequence: 1, state, last_closed, waiting_for, journal_trouble })
    }

    fn check(shortage: &Shortage, services: &[Arc<Snapshot>], expected: &[&str]) {
        let said = choices(&"shop".parse().unwrap(), &release("v2", 4), Asked::Deploy, shortage, services);
        let always = [
            "`--force` starts it all the same: if memory runs out, idle instances are ended before live ones",
        ];
        let expected: Vec<_> = expected.iter().chain(&always).copied().collect();
        assert_eq!(said, expected);
    }

    fn held(name: &str, mebibytes: u64) -> (ServiceName, Environment, u64) {
        (name.parse().unwrap(), Environment::Blue, mebibytes * MIB)
    }

    #[test]
    fn what_is_warm_and_large_enough_is_offered_with_its_size_ones_own_first() {
        let services = [with_standby("other"), with_standby("shop"), with_standby("small")];
        let held = vec![held("other", 900), held("shop", 500), held("small", 10)];
        check(
            &Shortage { needed: 1000 * MIB, free: 600 * MIB, fitting: 2, held },
            &services,
            &[
                "`cutover stop shop idle` frees about 500 MiB (a rollback to v1 then has to start it)",
                "`cutover stop other idle` frees about 900 MiB (a rollback to v1 then has to start it)",
                "`instances = 2` in `[run]` instead of 4 fits",
                "400 MiB more memory for this host, or less for what else runs on it",
            ],
        );
    }

    #[test]
    fn who_scales_is_told_the_number_that_fits_and_not_of_a_file() {
        let shortage = Shortage { needed: 1000 * MIB, free: 600 * MIB, fitting: 2, held: vec![] };
        let said = |asked| choices(&"shop".parse().unwrap(), &release("v2", 4), asked, &shortage, &[]);
        assert_eq!(said(Asked::Scale)[0], "`cutover scale 2 shop` instead of 4 fits");
        assert_eq!(
            said(Asked::Restart)[0],
            "400 MiB more memory for this host, or less for what else runs on it"
        );
    }

    #[test]
    fn what_would_not_be_enough_is_offered_together_or_not_at_all() {
        let services = [with_standby("other"), with_standby("shop")];
        let both = vec![held("other", 250), held("shop", 250)];
        check(
            &Shortage { needed: 1000 * MIB, free: 600 * MIB, fitting: 0, held: both },
            &services,
            &[
                "`cutover stop SERVICE idle` for each of shop, other frees about 500 MiB",
                "400 MiB more memory for this host, or less for what else runs on it",
            ],
        );
        check(
            &Shortage { needed: 1000 * MIB, free: 100 * MIB, fitting: 0, held: vec![held("shop", 250)] },
            &services,
            &["900 MiB more memory for this host, or less for what else runs on it"],
        );
    }
}
