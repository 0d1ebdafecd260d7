//! How the instances of a release behave; its version says it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cutover_controller::ports::Exit;
use cutover_core::gates::{ContractWhen, Gates, Hook, HookAction, HookPoint, Migrate, Suite, SuiteKind};
use cutover_core::health::HealthPolicy;
use cutover_core::release::{
    Configuration, DeploymentSpec, Release, RolloutPolicy, Route, RunPolicy, Worker,
};
use cutover_core::routing::{Timeouts, Upstream};
use cutover_core::{ServiceName, Timestamp, Version, WorkerName};

/// Milliseconds until a good instance answers well.
const READY: u64 = 400;
/// Milliseconds after which one that falls sick does so: within the bake.
const SICK: u64 = 20_000;
/// Milliseconds from one end of a program that keeps ending to the next.
const LIFE: u64 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// Never healthy.
    Never,
    /// Ends as soon as it starts.
    Dies,
    /// Healthy at first.
    Sick,
    /// Healthy, and fails its smoke suite.
    Rejected,
}

impl Behaviour {
    pub(crate) const ALL: [Self; 5] = [Self::Good, Self::Never, Self::Dies, Self::Sick, Self::Rejected];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Never => "never",
            Self::Dies => "dies",
            Self::Sick => "sick",
            Self::Rejected => "rejected",
        }
    }

    pub(crate) fn of(version: &Version) -> Self {
        let named = Self::ALL.into_iter().find(|behaviour| version.as_str().ends_with(behaviour.word()));
        named.expect("a version that says how it behaves")
    }

    /// Whether an instance answers well that long after its start.
    pub(crate) fn is_well(self, age: u64) -> bool {
        match self {
            Self::Good | Self::Rejected => age >= READY,
            Self::Never | Self::Dies => false,
            Self::Sick => (READY..SICK).contains(&age),
        }
    }

    /// The last end of a program that keeps ending, of which the first life began at `since`: one every two seconds.
    pub(crate) fn loops(since: u64, now: u64) -> Option<Exit> {
        let ends = now.saturating_sub(since) / LIFE;
        let at = Timestamp::from_millis(since + ends * LIFE);
        let restarts = u32::try_from(ends).unwrap();
        Self::Dies.exit().filter(|_| ends > 0).map(|exit| Exit { at, restarts, ..exit })
    }

    pub(crate) fn exit(self) -> Option<Exit> {
        let exit = Exit {
            how: "exit status 1".to_owned(),
            at: Timestamp::from_millis(0),
            last_lines: vec!["no such table".to_owned()],
            restarts: 0,
        };
        (self == Self::Dies).then_some(exit)
    }
}

/// The version with that number that behaves so.
pub(crate) fn version(number: u64, behaviour: Behaviour) -> String {
    format!("v{number}-{}", behaviour.word())
}

/// A wish to deploy a version: two instances of an even one, else one.
pub(crate) fn spec(service: &ServiceName, version: &str, bake: u64, auto_rollback: bool) -> DeploymentSpec {
    let even = version.bytes().rfind(u8::is_ascii_digit).is_some_and(|digit| digit % 2 == 0);
    DeploymentSpec {
        service: service.clone(),
        version: version.parse().unwrap(),
        artifact: PathBuf::from("/artifacts").into(),
        exclude: Vec::new(),
        configuration: Configuration {
            route: Route {
                hosts: vec![format!("{service}.example.com")],
                path: "/".to_owned(),
                canonical_host: None,
            },
            command: vec!["./shop".to_owned()],
            env: BTreeMap::new(),
            run: RunPolicy {
                instances: if even { 2 } else { 1 },
                user: None,
                workdir: PathBuf::new(),
                stop_signal: "SIGTERM".to_owned(),
                stop_timeout: Duration::from_secs(5),
                shared: Vec::new(),
            },
            health: HealthPolicy {
                interval: Duration::from_secs(4),
                timeout: Duration::from_secs(2),
                fall: 2,
                ..HealthPolicy::default()
            },
            health_deadline: Duration::from_secs(30),
            upstream: Upstream::default(),
            replay: cutover_core::routing::Replay::default(),
            drain: cutover_core::drain::Drain::default(),
            timeouts: Timeouts::default(),
            tls: cutover_core::tls::Tls::default(),
            gates: gates(version),
            workers: workers(version),
        },
        secrets: BTreeMap::new(),
        windows: None,
        notify: None,
        origin: None,
        rollout: RolloutPolicy {
            bake: Duration::from_secs(bake),
            standby: Duration::from_secs(120),
            auto_rollback,
            hold: None,
            hold_requests: None,
        },
    }
}

/// The same for a release that has workers, if its number says so.
pub(crate) fn working_version(number: u64, behaviour: Behaviour) -> String {
    format!("w{number}-{}", behaviour.word())
}

/// Two thirds of all `w` versions have gates, and some of them contract the schema after their bake.
pub(crate) fn gates(version: &str) -> Gates {
    let number: u32 = version.bytes().filter(u8::is_ascii_digit).map(u32::from).sum();
    if !(version.starts_with('g') || version.starts_with('w') && !number.is_multiple_of(3)) {
        return Gates::default();
    }
    let hook = |point: HookPoint| Hook {
        name: point.label().to_owned(),
        point,
        action: HookAction::Command(vec!["./hook".to_owned()]),
        timeout: Duration::from_secs(20),
        retries: 0,
    };
    let suite = Suite {
        name: "home".to_owned(),
        kind: SuiteKind::Command { command: vec!["./smoke".to_owned()], junit: None },
        timeout: Duration::from_secs(20),
        retries: 0,
        during_bake: Some(Duration::from_secs(4)),
        variables: BTreeMap::new(),
    };
    let command = |word: &str| Some(vec![word.to_owned()]);
    let contract = command("./contract").filter(|_| number.is_multiple_of(5));
    Gates {
        smoke: vec![suite],
        hooks: HookPoint::ALL.map(hook).into(),
        migrate: Migrate {
            expand: command("./expand"),
            contract,
            contract_when: ContractWhen::AfterBake,
            timeout: Duration::from_secs(30),
        },
        preview_host: None,
    }
}

/// A third of all `w` versions have a worker that may overlap, a third one that may not, a third none.
fn workers(version: &str) -> BTreeMap<WorkerName, Worker> {
    let number: u32 = version.bytes().filter(u8::is_ascii_digit).map(u32::from).sum();
    if !version.starts_with('w') {
        return BTreeMap::new();
    }
    let worker = |overlap| Worker {
        command: vec!["./shop".to_owned(), "work".to_owned()],
        instances: 1 + number % 2,
        overlap,
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: Duration::from_secs(20),
    };
    match number % 3 {
        0 => BTreeMap::new(),
        kind => [("mail".parse().unwrap(), worker(kind == 1))].into(),
    }
}

/// The same content gives the same release.
pub(crate) fn release(spec: &DeploymentSpec) -> Release {
    let hash: String = spec.version.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
    Release {
        id: format!("{hash:0>8}").parse().unwrap(),
        version: spec.version.clone(),
        directory: PathBuf::from("/releases").join(spec.version.as_str()),
        artifact_bytes: 1,
        configuration: spec.configuration.clone(),
        secrets: Vec::new(),
    }
}
