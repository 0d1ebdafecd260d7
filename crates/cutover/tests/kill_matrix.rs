//! The kill matrix: at each point of a deployment's life the real controller kills itself, is started again, and
//! under load nothing fails, the outcome is the one that was asked for, the journal has no gap, and nothing runs twice
//! or for nobody.
//!
//! Each test is one scenario. A first run that nobody disturbs tells which points there are. `CUTOVER_MATRIX_POINT`
//! plays one of them alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::cell::RefCell;
use std::process::Child;
use std::time::Instant;

use serde_json::Value;
use support::matrix::{NO_BAKE, Scenario, World, chosen, is, play, reason_tells, with_one_release};
use support::processes::Processes;
use support::{PATIENCE, wait_until};

/// A new release over one that is live, while the slot it goes to still holds a third one.
struct Deploy;

impl Scenario for Deploy {
    fn prepare(&self, world: &mut World) {
        world.release(NO_BAKE);
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["deploy", &world.version()])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "live"), &world.version())
    }

    fn instances(&self) -> usize {
        2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_survives_a_kill_at_every_point() {
    let mut world = with_one_release(NO_BAKE);
    world.release(NO_BAKE);
    world.deploy();
    play(Deploy, world, None, 32).await;
}

/// A new release that is asked for gates on its way, and whose hooks are run after it.
struct GatedDeploy;

const GATES: &str = "[rollout]\nbake = \"0s\"\n[migrate]\nexpand = \"true\"\n[hooks]\nbefore_deploy = \"true\"\n\
    before_shift = \"true\"\nafter_cutover = \"true\"\n[[smoke]]\nname = \"home\"\npath = \"/\"\nstatus = 200\n";

impl Scenario for GatedDeploy {
    fn prepare(&self, world: &mut World) {
        world.release(GATES);
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["deploy", &world.version()])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "live"), &world.version())?;
        let told = |name: &str| {
            let steps = newest["steps"].as_array().into_iter().flatten();
            steps.filter(|step| step["name"] == name).any(|step| step["finding"]["verdict"] == "pass")
        };
        // What trails may not have been answered yet; it is waited for by nobody.
        match ["before_deploy", "expand", "smoke", "before_shift"].into_iter().find(|gate| !told(gate)) {
            Some(gate) => Err(format!("`{gate}` was never passed")),
            None => Ok(()),
        }
    }

    fn instances(&self) -> usize {
        2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_with_gates_survives_a_kill_at_every_point() {
    play(GatedDeploy, with_one_release(NO_BAKE), None, 40).await;
}

/// Back to a warm release after the bake: a deployment of its own.
struct RollbackAfterBake;

impl Scenario for RollbackAfterBake {
    fn prepare(&self, world: &mut World) {
        world.release(NO_BAKE);
        world.deploy();
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["rollback", "shop"])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("rollback", "v1", "live"), "v1")
    }

    fn instances(&self) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_after_the_bake_survives_a_kill_at_every_point() {
    play(RollbackAfterBake, with_one_release(NO_BAKE), None, 20).await;
}

/// Back within the bake: the end of the same deployment.
struct RollbackInBake;

impl Scenario for RollbackInBake {
    fn prepare(&self, world: &mut World) {
        world.release("[rollout]\nbake = \"10m\"\n");
        world.deploy();
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["rollback", "shop"])]
    }

    fn entries(&self) -> usize {
        0
    }

    fn is_recorded(&self, world: &World, _before: &[String]) -> bool {
        world.host.status()["deployment"]["status"].as_str().unwrap().starts_with("roll")
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "rolled_back"), "v1")?;
        reason_tells(newest, "rolled back by hand")
    }

    fn instances(&self) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_within_the_bake_survives_a_kill_at_every_point() {
    play(RollbackInBake, with_one_release(NO_BAKE), None, 16).await;
}

/// A release that never becomes healthy is aborted by a person.
struct Abort;

impl Scenario for Abort {
    fn prepare(&self, world: &mut World) {
        world.sick_release("60s");
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        let deploy = world.spawn(&["deploy", &world.version()]);
        let deadline = Instant::now() + PATIENCE;
        while world.host.controller_end().is_none() {
            if world.newest().is_some_and(|newest| newest["status"] == "validating") {
                return vec![deploy, world.spawn(&["abort", "shop"])];
            }
            assert!(Instant::now() < deadline, "it is never validated\n{}", world.host.log());
        }
        vec![deploy]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "rolled_back"), "v1")?;
        reason_tells(newest, "aborted")
    }

    fn instances(&self) -> usize {
        1
    }

    fn unblock(&self, world: &World, waiting: &mut [Child]) {
        // Whoever follows the deployment waits for its end, which nobody but this abort brings about.
        loop {
            let ended = waiting.iter_mut().all(|command| command.try_wait().unwrap().is_some());
            let going_on = ["not_started", "deploying", "validating"];
            if world.newest().is_some_and(|newest| going_on.contains(&newest["status"].as_str().unwrap())) {
                // Refused if the one that was killed had got through after all.
                let said = world.host.run(&["abort", "shop"]);
                assert!([0, 4].contains(&said.exit), "{said:#?}");
            } else if ended {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_survives_a_kill_at_every_point() {
    play(Abort, with_one_release(NO_BAKE), None, 14).await;
}

/// A release that never becomes healthy is taken back by itself.
struct Failure;

impl Scenario for Failure {
    fn prepare(&self, world: &mut World) {
        world.sick_release("400ms");
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["deploy", &world.version()])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "rolled_back"), "v1")?;
        reason_tells(newest, "was not healthy within")
    }

    fn instances(&self) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_deployment_is_taken_back_whenever_the_controller_is_killed() {
    play(Failure, with_one_release(NO_BAKE), None, 14).await;
}

/// The first release of a service, where there is nothing to go back to.
struct First;

impl Scenario for First {
    fn prepare(&self, world: &mut World) {
        world.release(NO_BAKE);
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["deploy", &world.version()])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", "v1", "live"), "v1")
    }

    fn instances(&self) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_deployment_survives_a_kill_at_every_point() {
    let mut world = World::new();
    world.round(&First, None, None);
    let passed = world.host.passed();
    assert!(passed.len() >= 18, "{passed:#?}");
    for point in chosen(passed) {
        let mut world = World::new();
        world.begin(&point);
        world.round(&First, None, Some(&point));
        world.load();
        let load = world.load.take().unwrap();
        assert!(load.wait_for(PATIENCE, |report| report.requests > 50).await.is_ok(), "no traffic");
        let report = load.stop().await;
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_before_the_cutover_survives_a_kill_at_every_point() {
    let mut world = with_one_release(NO_BAKE);
    world.release(NO_BAKE);
    world.deploy();
    play(Deploy, world, Some("after append answered provision#1"), 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_amid_the_cutover_survives_a_kill_at_every_point() {
    let mut world = with_one_release(NO_BAKE);
    world.release(NO_BAKE);
    world.deploy();
    play(Deploy, world, Some("after effect shift#2"), 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_of_an_undo_survives_a_kill_at_every_point() {
    play(RollbackInBake, with_one_release(NO_BAKE), Some("before effect shift#1"), 10).await;
}

/// A new release whose worker takes over from that of the release that was live.
struct Workers;

const WORKER: &str = "[rollout]\nbake = \"0s\"\nstandby = \"0s\"\n[worker.mail]\ncommand = \"./work.sh\"\n";

impl Workers {
    fn events(world: &World) -> String {
        std::fs::read_to_string(world.host.path("events")).unwrap_or_default()
    }

    /// By the order in which they noted it, no two versions have ever worked at once.
    fn never_two(world: &World) -> Result<(), String> {
        let (events, mut working) = (Self::events(world), None);
        for line in events.lines() {
            let (what, version) = line.split_once(' ').unwrap();
            match (what, working) {
                ("start", Some(other)) if other != version => {
                    return Err(format!("{version} works beside {other}: {events}"));
                }
                ("start", _) => working = Some(version),
                _ => working = None,
            }
        }
        match working {
            Some(version) if version == world.version() => Ok(()),
            _ => Err(format!("{working:?} works at last")),
        }
    }
}

impl Scenario for Workers {
    fn prepare(&self, world: &mut World) {
        world.release(WORKER);
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["deploy", &world.version()])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "live"), &world.version())?;
        Self::never_two(world)
    }

    /// The instance and the worker.
    fn instances(&self) -> usize {
        2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_workers_survives_a_kill_at_every_point() {
    let mut world = World::new();
    let events = world.host.path("events");
    // No child of its own: what runs is counted.
    let script = format!(
        "#!/usr/bin/env python3\nimport os, signal\n\
         def note(what): open({events:?}, 'a').write(what + ' ' + os.environ['CUTOVER_VERSION'] + '\\n')\n\
         signal.signal(signal.SIGTERM, lambda *_: (note('stop'), os._exit(0)))\nnote('start')\n\
         while True: signal.pause()\n"
    );
    world.host.write("work.sh", &script);
    std::process::Command::new("chmod")
        .arg("+x")
        .arg(world.host.path("application/work.sh"))
        .status()
        .unwrap();
    world.release(WORKER);
    world.deploy();
    play(Workers, world, None, 30).await;
}

/// Fresh instances of what is live, one at a time, and a fresh worker when all of them are exchanged.
#[derive(Default)]
struct Restart {
    /// The programs that ran before.
    former: RefCell<Vec<u32>>,
}

const TWO_AND_A_WORKER: &str = "[run]\ninstances = 2\n\
    [rollout]\nbake = \"0s\"\nstandby = \"0s\"\n\
    [worker.mail]\ncommand = \"sleep infinity\"\n";

impl Scenario for Restart {
    fn prepare(&self, world: &mut World) {
        let three = || Processes::of(&world.host.state()).programs.len() == 3;
        wait_until("two instances and a worker run", three);
        self.former.replace(Processes::of(&world.host.state()).programs);
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["restart", "shop"])]
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("restart", "v1", "live"), "v1")?;
        let programs = Processes::of(&world.host.state()).programs;
        match programs.iter().find(|pid| self.former.borrow().contains(pid)) {
            Some(pid) => Err(format!("process {pid} of before still runs")),
            None => Ok(()),
        }
    }

    /// Two, and the worker.
    fn instances(&self) -> usize {
        3
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_survives_a_kill_at_every_point() {
    play(Restart::default(), with_one_release(TWO_AND_A_WORKER), None, 30).await;
}

/// A release that has passed its gates and waits is promoted by a person.
struct Promote;

impl Scenario for Promote {
    fn prepare(&self, world: &mut World) {
        world.release(NO_BAKE);
        world.host.run(&["deploy", &world.version(), "--hold-before-switch", "10m"]).exits(6);
    }

    fn act(&self, world: &mut World) -> Vec<Child> {
        vec![world.spawn(&["promote", "shop"])]
    }

    /// That of the deployment was there before.
    fn entries(&self) -> usize {
        0
    }

    fn is_recorded(&self, world: &World, _before: &[String]) -> bool {
        // Once it is over, no deployment is open, and the newest is told of.
        world.host.status()["deployment"]["hold_until"].is_null()
    }

    fn outcome(&self, world: &World, newest: &Value) -> Result<(), String> {
        is(world, newest, ("deploy", &world.version(), "live"), &world.version())
    }

    /// The former one stays warm.
    fn instances(&self) -> usize {
        2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promote_survives_a_kill_at_every_point() {
    play(Promote, with_one_release(NO_BAKE), None, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_waits_or_goes_on_when_its_recovery_is_killed_at_any_point() {
    play(Promote, with_one_release(NO_BAKE), Some("after append promote_requested#1"), 10).await;
}
