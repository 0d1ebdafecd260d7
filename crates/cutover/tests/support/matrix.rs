//! A host on which a scenario is played again and again, each time with a controller that dies at another point.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cutover_load::{Client, Load, Plan};
use serde_json::Value;

use super::journal::{assert_contiguous, latest};
use super::processes::Processes;
use super::{CUTOVER, Host, PATIENCE, Said, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";
pub const NO_BAKE: &str = "[rollout]\nbake = \"0s\"\n";

/// A host on which rounds are played, each with a controller that dies once.
pub struct World {
    pub host: Host,
    pub load: Option<Load>,
    /// Counts the releases: each is a new one.
    releases: u32,
}

/// What a scenario does and what has to come of it.
pub trait Scenario {
    /// Brings the world to where a round begins; the controller runs.
    fn prepare(&self, world: &mut World);

    /// Does what the controller dies of; returns what was started and may wait for its answer.
    fn act(&self, world: &mut World) -> Vec<Child>;

    /// Whether the service ended as it should, in words if not.
    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String>;

    /// How many instances there are in the end.
    fn instances(&self) -> usize;

    /// How many entries a round adds to the history.
    fn entries(&self) -> usize {
        1
    }

    /// Whether a record tells of what was asked for.
    fn is_recorded(&self, world: &World, before: &[String]) -> bool {
        world.deployments().first() != before.first()
    }

    /// Does what those who still wait for their answer may wait for.
    fn unblock(&self, _world: &World, _waiting: &mut [Child]) {}

    /// Does again what no record tells of.
    fn insist(&self, world: &mut World, recorded: bool) {
        if !recorded {
            again(self.act(world));
        }
    }
}

/// Waits for the end of what was asked for a second time.
pub fn again(commands: Vec<Child>) {
    for command in commands {
        let said: Said = command.wait_with_output().unwrap().into();
        assert!([0, 1].contains(&said.exit), "{said:#?}");
    }
}

impl World {
    pub fn new() -> Self {
        let mut host = Host::without_controller();
        host.serve();
        Self { host, load: None, releases: 0 }
    }

    /// The version that was made last.
    pub fn version(&self) -> String {
        format!("v{}", self.releases)
    }

    /// Configures a release with content of its own.
    pub fn release(&mut self, more: &str) {
        self.releases += 1;
        self.host.configure(&format!("[env]\nNUMBER = \"{}\"\n{QUICK}{more}", self.releases));
    }

    /// Configures a release that never becomes healthy.
    pub fn sick_release(&mut self, deadline: &str) {
        self.releases += 1;
        let number = self.releases;
        self.host.write(
            "cutover.toml",
            &format!(
                "name = \"shop\"\ncommand = [\"{CUTOVER}\", \"sample-application\", \"--never-healthy\"]\n\
                 [env]\nNUMBER = \"{number}\"\n{QUICK}deadline = \"{deadline}\"\n{NO_BAKE}"
            ),
        );
    }

    pub fn deploy(&mut self) {
        let version = self.version();
        self.host.run(&["deploy", &version, "--wait", "live"]).exits(0);
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.host.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn load(&mut self) {
        let plan = Plan::new(self.host.address)
            .with(1, Client::keep_alive("/"))
            .with(1, Client::fresh("/"))
            .with(1, Client::post("/", 5_000))
            .with(1, Client::slow(Duration::from_millis(50)))
            .pausing(Duration::from_millis(5));
        self.load = Some(Load::start(plan));
    }

    /// Whether no effect waits for its answer.
    fn rests(&self) -> bool {
        let journal = self.host.state().join("journal.sqlite");
        let latest = latest(&journal, "shop");
        latest.is_none_or(|latest| latest["state"]["pending"].as_array().unwrap().is_empty())
    }

    /// The ids of the deployments that are told of, newest first.
    fn deployments(&self) -> Vec<String> {
        self.history()
            .iter()
            .map(|deployment| deployment["deployment"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The service's newest deployment, if a controller answers and knows of one.
    pub fn newest(&self) -> Option<Value> {
        let said = self.host.run(&["--json", "status", "shop"]);
        (said.exit == 0).then(|| said.json()["deployment"].clone())
    }

    fn history(&self) -> Vec<Value> {
        let said = self.host.run(&["--json", "history", "shop", "-n", "200"]);
        match said.exit {
            0 => said.json()["deployments"].as_array().unwrap().clone(),
            // Nobody has heard of the service yet.
            2 => Vec::new(),
            _ => panic!("{said:#?}"),
        }
    }

    /// Says which point is played, for whoever reads why a test has failed.
    #[allow(clippy::print_stdout, reason = "a test's output is shown when it fails")]
    pub fn begin(&self, point: &str) {
        println!("{point}");
    }

    /// Plays a round with a controller that dies at `point`, or lives on. With `first`, another one has died
    /// there before: then it is its recovery that is disturbed.
    pub fn round(&mut self, scenario: &impl Scenario, first: Option<&str>, point: Option<&str>) {
        scenario.prepare(self);
        // What is left of that would be done in this round, or not, as it happens.
        wait_until("the service rests", || self.rests());
        let before = self.deployments();
        self.host.terminate_controller();
        let mut commands = Vec::new();
        if let Some(first) = first {
            self.host.serve_until(Some(first));
            commands = scenario.act(self);
            self.host.assert_dies_at(first);
        }
        let ready = self.host.serve_until(point);
        if ready && first.is_none() {
            commands = scenario.act(self);
        }
        if let Some(point) = point {
            self.host.assert_dies_at(point);
            self.host.serve();
        }
        scenario.unblock(self, &mut commands);
        let mut ended = false;
        for command in commands {
            // Whoever waited is taken along by the new controller, or told that nobody answers.
            let said: Said = command.wait_with_output().unwrap().into();
            assert!((0..=6).contains(&said.exit), "{said:#?}");
            // The others say that it was refused, that nobody answers or that they wait no longer.
            ended |= [0, 1].contains(&said.exit);
        }
        let recorded = scenario.is_recorded(self, &before);
        if let Some(point) = point {
            let requested = |place| point.starts_with(place) && point.contains("requested");
            assert!(!requested("after append") || recorded, "`{point}`: a record was lost");
            // Before an abort is recorded there is the deployment that it is about.
            let unrecorded = requested("before append") && !point.contains("abort");
            // What was lost may have been asked for again, and then somebody saw its end.
            assert!(!unrecorded || recorded == ended, "`{point}`: recorded {recorded}, seen {ended}");
        }
        scenario.insist(self, recorded);
        self.assert_ends_well(scenario, &before, point.unwrap_or("a clean run"));
    }

    fn assert_ends_well(&self, scenario: &impl Scenario, before: &[String], point: &str) {
        let mut left = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let newest = self.host.status()["deployment"].clone();
            let count = Processes::of(&self.host.state()).count();
            let expected = (scenario.instances(), scenario.instances());
            left = match scenario.outcome(self, &newest) {
                Err(reason) => reason,
                Ok(()) if newest["ended_at"].is_null() => format!("it never ended: {newest:#}"),
                Ok(()) if count != expected => format!("{count:?} run instead of {expected:?}"),
                Ok(()) => break,
            };
            std::thread::sleep(Duration::from_millis(10));
        }
        let history = self.history();
        let told = || format!("`{point}`: {left}\n{history:#?}\n{}", self.host.log());
        assert!(Instant::now() < deadline, "{}", told());
        let known = self.deployments();
        let (new, former) = known.split_at(known.len() - before.len());
        assert_eq!((new.len(), former), (scenario.entries(), before), "one entry, once; {}", told());
        assert_contiguous(&self.host.state().join("journal.sqlite"), "shop");
        if let Some(load) = &self.load {
            let report = load.report();
            assert!(report.is_clean(), "{report}; {}", told());
        }
    }
}

fn live_version(status: &Value) -> &str {
    let live = status["live"].as_str().unwrap();
    status["environments"][live]["version"].as_str().unwrap_or_default()
}

/// Whether the newest deployment ended so and this version answers.
pub fn is(world: &World, newest: &Value, ended: (&str, &str, &str), answers: &str) -> Result<(), String> {
    let field = |name: &str| newest[name].as_str().unwrap_or_default();
    let (kind, version, status) = (field("kind"), field("version"), field("status"));
    if (kind, version, status) != ended {
        return Err(format!("{kind} {version} is {status} instead of {ended:?}: {}", field("reason")));
    }
    let told = world.host.status();
    if live_version(&told) != answers {
        return Err(format!("{} is live instead of {answers}", live_version(&told)));
    }
    if !world.host.get("/").contains(&format!("x-version: {answers}\r\n")) {
        return Err(format!("{answers} does not answer"));
    }
    Ok(())
}

pub fn reason_tells(newest: &Value, words: &str) -> Result<(), String> {
    let reason = newest["reason"].as_str().unwrap_or_default();
    if reason.contains(words) {
        Ok(())
    } else {
        Err(format!("the reason `{reason}` does not tell `{words}`"))
    }
}

/// The points to be played: all of `passed`, or the one that was asked for.
pub fn chosen(passed: Vec<String>) -> Vec<String> {
    match std::env::var("CUTOVER_MATRIX_POINT") {
        Ok(point) => {
            assert!(passed.contains(&point), "`{point}` is none of {passed:#?}");
            vec![point]
        }
        Err(_) => passed,
    }
}

/// Plays a scenario once in peace and then once for each point that was passed, which are at least so many.
pub async fn play(scenario: impl Scenario, mut world: World, first: Option<&str>, points: usize) {
    world.load();
    world.round(&scenario, first, None);
    let passed = world.host.passed();
    assert!(passed.len() >= points, "{passed:#?}");
    for point in chosen(passed) {
        world.begin(&point);
        world.round(&scenario, first, Some(&point));
    }
    let report = world.load.take().unwrap().stop().await;
    assert!(report.is_clean() && report.requests > 100, "{report}\n{}", world.host.log());
}

/// A world in which `v1` is live.
pub fn with_one_release(rollout: &str) -> World {
    let mut world = World::new();
    world.release(rollout);
    world.deploy();
    world
}
