//! A random story by a seed: people, failures, crashes; then everything is healed and has to come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_controller::{MoveOptions, RequestError, SubmitOptions, Submitted, Until, WantedPause};
use cutover_core::ServiceName;
use cutover_core::routing::{Maintenance, Pause};
use cutover_core::service::{Health, Stage, Status, StopScope, Way, WhenOpen};
use tokio::time::timeout;

use crate::behaviour::{self, Behaviour, working_version};
use crate::fault::Fault;
use crate::lives::{Life, Lives};
use crate::random::Random;
use crate::world::Being;

/// How long a person waits for an answer before they go away.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happened in stories, to see that everything did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) lives: usize,
    pub(crate) ends: BTreeMap<&'static str, usize>,
    pub(crate) faults: BTreeMap<Fault, usize>,
    /// What people asked for and were granted.
    pub(crate) granted: BTreeMap<&'static str, usize>,
    pub(crate) trace: Vec<String>,
}

/// Plays one story.
///
/// # Errors
/// The breach, and how it came to it.
pub(crate) fn play(seed: u64) -> Result<Told, String> {
    let mut told = Told::default();
    let mut lives = Lives::new(seed);
    let mut chance = Random::new(seed ^ 0x5eed);
    {
        let mut world = lives.world.lock().unwrap();
        world.faults.ports = chance.pick(&[0, 10, 40, 120]);
        world.faults.appends = chance.pick(&[0, 0, 20, 80]);
        world.faults.crashes = chance.pick(&[0, 10, 40]);
    }
    let services: &[&str] = chance.pick(&[&["shop"][..], &["cart", "shop"]]);
    let mut story = Story { chance, services, number: 0, granted: BTreeMap::new() };
    for _ in 0..=story.chance.below(5) {
        told.lives += 1;
        lives.live(async |life| story.part(life).await);
        lives.kept()?;
    }
    // Half of the stories heal in the middle of a life, the others with a start.
    let amid = story.chance.in_thousand(500);
    for healed in [!amid, true] {
        told.lives += 1;
        if healed {
            lives.world.lock().unwrap().faults.heal();
        }
        let ended = lives.live(async |life| {
            if !healed {
                story.part(life).await;
            }
            story.end_well(life).await;
        });
        lives.kept()?;
        if ended.is_some() {
            break;
        }
    }
    let world = lives.world.lock().unwrap();
    for service in services {
        for record in lives.memory.records(&service.parse().unwrap()) {
            let stuck = record.state.deployment.as_ref().is_some_and(|open| open.status == Status::Stuck);
            let status =
                record.closed.first().map(|closed| closed.status.label()).or(stuck.then_some("stuck"));
            *told.ends.entry(status.unwrap_or("open")).or_default() += 1;
        }
    }
    told.faults.clone_from(&world.faults.happened);
    told.granted = story.granted;
    told.trace.clone_from(&world.trace);
    Ok(told)
}

/// On which terms people deploy while another deployment is open.
const TERMS: [WhenOpen; 5] =
    [WhenOpen::Refuse, WhenOpen::Refuse, WhenOpen::Queue, WhenOpen::Supersede, WhenOpen::EndBake];

struct Story {
    chance: Random,
    services: &'static [&'static str],
    /// Versions so far.
    number: u64,
    granted: BTreeMap<&'static str, usize>,
}

/// What people ask for by name that is no deployment.
pub(crate) const MOVES: [&str; 14] = [
    "restart",
    "scale",
    "stop",
    "stop idle",
    "remove",
    "rollback to",
    "promote",
    "freeze",
    "unfreeze",
    "hold",
    "unhold",
    "maintenance",
    "end of maintenance",
    "rollback",
];

impl Story {
    async fn part(&mut self, life: &Life) {
        for _ in 0..3 + self.chance.below(8) {
            self.act(life).await;
            let wait = self.chance.pick(&[0.0, 0.05, 0.4, 1.0, 5.0, 12.0, 70.0, 200.0]);
            life.pass(wait).await;
            watch_loops(life).await;
        }
    }

    async fn act(&mut self, life: &Life) {
        let service = self.chance.pick(self.services);
        let name: ServiceName = service.parse().unwrap();
        match self.chance.below(150) {
            0..40 => self.submit(life, &name).await,
            40..50 => {
                life.outside.note(&format!("{name}: somebody asks for a rollback"));
                let granted = answered(life, life.manager.rollback(&name, "bob")).await;
                self.count("rollback", granted);
            }
            100.. => self.move_it(life, &name).await,
            50..60 => {
                life.outside.note(&format!("{name}: somebody aborts"));
                answered(life, life.manager.abort(&name, "bob", false, None)).await;
            }
            60..72 => self.kill(life).await,
            72..82 => {
                let (now, older) = (life.outside.now(), self.chance.in_thousand(500));
                life.outside.world().restart_router(older, now);
                life.pass(self.chance.pick(&[0.0, 1.0])).await;
                life.manager.look_again().await;
            }
            82..87 => life.manager.look_again().await,
            87..91 => {
                let now = life.outside.now();
                life.outside.world().move_by_hand(&name, now);
                life.manager.look_again().await;
            }
            91..95 => {
                let way = self.chance.pick(&[Way::Retry, Way::Keep, Way::Abandon]);
                life.outside.note(&format!("{name}: somebody chooses {} as the way out", way.label()));
                answered(life, life.manager.resolve(&name, "bob", way)).await;
            }
            95..97 => {
                life.outside.note(&format!("{name}: somebody drops what waits"));
                answered(life, life.manager.abort(&name, "bob", true, None)).await;
            }
            _ => {}
        }
    }

    fn count(&mut self, what: &'static str, granted: bool) {
        if granted {
            *self.granted.entry(what).or_default() += 1;
        }
    }

    async fn move_it(&mut self, life: &Life, name: &ServiceName) {
        let (manager, by) = (&life.manager, "bob");
        let what = match self.chance.below(60) {
            0..9 => "restart",
            9..18 => "scale",
            18..23 => "stop",
            23..28 => "stop idle",
            28..32 => "remove",
            32..38 => "rollback to",
            38..45 => "promote",
            45..48 => "freeze",
            48..52 => "unfreeze",
            _ => self.way_in_or_out_of_a_pause(life, name).await,
        };
        life.outside.note(&format!("{name}: somebody asks for {what}"));
        let options =
            MoveOptions { end_bake: self.chance.in_thousand(300), force: self.chance.in_thousand(100) };
        let granted = match what {
            "restart" => answered(life, manager.restart(name, by, options)).await,
            "scale" => {
                let instances = self.chance.pick(&[0, 1, 2, 3]);
                answered(life, manager.scale(name, by, instances, options)).await
            }
            "stop" => {
                answered(life, manager.stop(name, by, StopScope::Service, None, options.end_bake)).await
            }
            "stop idle" => {
                answered(life, manager.stop(name, by, StopScope::Idle, None, options.end_bake)).await
            }
            "remove" => answered(life, manager.remove(name, by, options.end_bake)).await,
            "rollback to" => {
                let former = timeout(PATIENCE, manager.former_releases(name)).await;
                let former: Vec<_> = former.into_iter().flatten().flatten().map(|it| it.release).collect();
                if former.is_empty() {
                    return;
                }
                let wanted = self.chance.pick(&former);
                answered(life, manager.rollback_to(name, by, &wanted)).await
            }
            "promote" => answered(life, manager.promote(name, by, None)).await,
            "freeze" => {
                let time = Until::For(Duration::from_secs(self.chance.pick(&[1, 30, 300])));
                let one = Some(name).filter(|_| self.chance.in_thousand(700));
                answered(life, manager.freeze(one, by, time, "the sale")).await
            }
            "unfreeze" => answered(life, manager.unfreeze(Some(name), by)).await,
            _ => answered(life, manager.pause(name, by, self.pause(what))).await,
        };
        self.count(what, granted);
    }

    async fn way_in_or_out_of_a_pause(&mut self, life: &Life, name: &ServiceName) -> &'static str {
        let snapshot = life.snapshot(name.as_str()).await;
        match snapshot.and_then(|snapshot| snapshot.state.pause.as_ref().map(|paused| paused.pause.clone())) {
            Some(Pause::Hold(_)) => self.chance.pick(&["unhold", "unhold", "hold", "maintenance"]),
            Some(Pause::Maintenance(_)) => "end of maintenance",
            None => self.chance.pick(&["hold", "hold", "maintenance"]),
        }
    }

    fn pause(&mut self, what: &str) -> WantedPause {
        match what {
            "hold" => WantedPause::Hold {
                time: Duration::from_secs(self.chance.pick(&[1, 60, 600])),
                requests: 100,
                bytes: 1 << 20,
            },
            "unhold" => WantedPause::Unhold,
            "maintenance" => WantedPause::Maintenance(Maintenance { page: None, retry_after: 60 }),
            _ => WantedPause::EndMaintenance,
        }
    }

    async fn submit(&mut self, life: &Life, name: &ServiceName) {
        if self.number == 0 || self.chance.in_thousand(800) {
            self.number += 1;
        }
        // The behaviour follows from the number, so that a number said again is the same release.
        let behaviour = match self.number % 7 {
            2 => Behaviour::Never,
            4 => Behaviour::Dies,
            6 => Behaviour::Sick,
            0 => Behaviour::Rejected,
            _ => Behaviour::Good,
        };
        let back = self.chance.below(self.number.min(2));
        let version = match back {
            0 => working_version(self.number, behaviour),
            _ => working_version(1, Behaviour::Good),
        };
        let (bake, auto) = (self.chance.pick(&[0, 10, 60]), self.chance.in_thousand(800));
        let mut spec = behaviour::spec(name, &version, bake, auto);
        spec.rollout.hold = self.chance.pick(&[None, None, None, Some(Duration::from_secs(30))]);
        spec.rollout.hold_requests = self.chance.pick(&[None, None, None, Some(Duration::from_secs(30))]);
        let options = SubmitOptions {
            deployment: None,
            when_open: self.chance.pick(&TERMS),
            force: self.chance.in_thousand(100),
            override_freeze: Some("it burns".to_owned()).filter(|_| self.chance.in_thousand(300)),
        };
        life.outside.note(&format!("{name}: somebody deploys {version}, bake {bake} s"));
        let granted = answered(life, life.manager.submit(&spec, "alice", options)).await;
        self.count("deploy", granted);
    }

    async fn kill(&mut self, life: &Life) {
        let now = life.outside.now();
        let gone = self.chance.in_thousand(300);
        {
            let mut world = life.outside.world();
            let up = |process: &crate::world::Process| matches!(process.being, Being::Up { .. });
            let alive: Vec<usize> = (0..world.processes.len()).filter(|n| up(&world.processes[*n])).collect();
            if alive.is_empty() {
                return;
            }
            world.kill(self.chance.pick(&alive), gone, now);
        }
        if gone && self.chance.in_thousand(500) {
            life.manager.look_again().await;
        }
    }

    /// Nothing fails any more: everything comes to rest, and a good release goes live.
    async fn end_well(&mut self, life: &Life) {
        life.outside.world().faults.heal();
        life.outside.note("everything is healed");
        // What was on its way arrives.
        life.pass(100.0).await;
        life.manager.look_again().await;
        if !life.rests(900).await {
            return unrest(life, "after everything was healed").await;
        }
        for snapshot in life.manager.services().await {
            let open = snapshot.state.deployment.as_ref();
            let Some(stuck) = open.filter(|open| open.status == Status::Stuck) else { continue };
            let name = &snapshot.state.name;
            let _ = match stuck.stage {
                // A former release that never becomes healthy cannot be waited for.
                Stage::Reviving => answered(life, life.manager.resolve(name, "bob", Way::Keep)).await,
                _ => answered(life, life.manager.abort(name, "bob", false, None)).await,
            };
        }
        // What was left alone while it was stuck is looked after now, as it is every few seconds.
        life.pass(10.0).await;
        life.manager.look_again().await;
        life.pass(70.0).await;
        if !life.rests(900).await
            || life.manager.services().await.iter().any(|s| s.state.deployment.is_some())
        {
            return unrest(life, "although every bake is over and what was stuck was aborted").await;
        }
        compare(life).await;
        answered(life, life.manager.unfreeze(None, "carol")).await;
        // A maintenance has no end of its own, a hold has.
        for service in self.services {
            let name = service.parse().unwrap();
            answered(life, life.manager.pause(&name, "carol", WantedPause::EndMaintenance)).await;
        }
        life.pass(610.0).await;
        for service in self.services {
            self.number += 1;
            self.deploy_well(life, service, &working_version(self.number, Behaviour::Good)).await;
        }
        // Every standby ends.
        life.pass(200.0).await;
        if !life.rests(300).await {
            return unrest(life, "after the last deployments").await;
        }
        compare(life).await;
        watch_loops(life).await;
    }

    async fn deploy_well(&self, life: &Life, service: &str, version: &str) {
        match life.submit(service, version, 0).await {
            Ok(Submitted::Opened { deployment, .. }) => {
                let ended = life.ended(service).await;
                if (ended.id, ended.status) != (deployment, Status::Live) {
                    let reason = ended.reason.unwrap_or_default();
                    life.outside
                        .world()
                        .breach(format!("the good {version} ended as {:?}: {reason}", ended.status));
                } else if life.version_with_traffic(service).as_deref() != Some(version) {
                    life.outside.world().breach(format!("{version} is live and has no traffic"));
                }
            }
            other => {
                life.outside.world().breach(format!("the good {version} could not be deployed: {other:?}"))
            }
        }
    }
}

/// Waits for an answer as long as people do. A loop that has ended is a bug.
///
/// Answers whether it was granted.
async fn answered<T>(life: &Life, request: impl Future<Output = Result<T, RequestError>>) -> bool {
    let told = match timeout(PATIENCE, request).await {
        Ok(Ok(_)) => {
            life.outside.note("… done");
            return true;
        }
        Ok(Err(RequestError::Ending)) => {
            life.outside.world().breach("a service's loop has ended");
            return false;
        }
        // The words of a refusal hold ids, which no two runs share.
        Ok(Err(error)) => match error {
            RequestError::Refused(_) => "refused".to_owned(),
            other => other.to_string(),
        },
        Err(_) => "no answer".to_owned(),
    };
    life.outside.note(&format!("… {told}"));
    false
}

async fn watch_loops(life: &Life) {
    for snapshot in life.manager.services().await {
        let watch = life.manager.watch(&snapshot.state.name).await;
        if watch.is_none_or(|watch| watch.has_changed().is_err()) {
            life.outside.world().breach("a service's loop has ended");
        }
    }
}

async fn unrest(life: &Life, when: &str) {
    for snapshot in life.manager.services().await {
        let state = &snapshot.state;
        let what = format!("{} does not rest {when}: {:?} {:?}", state.name, state.deployment, state.pending);
        life.outside.world().breach(what);
    }
}

/// What is outside is what the services say, and nothing else.
async fn compare(life: &Life) {
    let now = life.outside.now();
    let mut known = BTreeSet::new();
    for snapshot in life.manager.services().await {
        let state = &snapshot.state;
        let mut world = life.outside.world();
        for (environment, slot) in state.environments.iter() {
            known.extend(slot.instances.iter().map(|instance| instance.id.clone()));
            if !slot.passed_gates {
                continue;
            }
            for instance in &slot.instances {
                let process = world.process(&instance.id).filter(|process| process.is_alive()).cloned();
                let Some(process) = process else {
                    world.breach(format!("I5: an instance of {environment} is gone and nobody starts it"));
                    continue;
                };
                if process.address != instance.address {
                    world.breach(format!("{environment} has an instance at an address that is not its own"));
                }
                let well = process.is_well(now);
                if well != (slot.health == Health::Healthy) {
                    world.breach(format!(
                        "an instance of {environment} is well: {well}, and it is {:?}",
                        slot.health
                    ));
                }
            }
        }
        for worker in state.wanted_workers() {
            if !world.process(&worker.id).is_some_and(crate::world::Process::is_alive) {
                world.breach(format!("a worker of {} is gone and nobody starts it", state.name));
            }
            known.insert(worker.id);
        }
        let removed = state.removal.as_ref().is_some_and(|removal| removal.done);
        if state.stopped.is_some() || removed {
            // What failed beside a stopped release and is kept for inspection is no part of what was stopped.
            let kept = &state.environments[state.idle()];
            let is_kept = |process: &crate::world::Process| {
                kept.rolled_back && kept.instances.iter().any(|instance| instance.id == process.id)
            };
            let mine = world.processes.iter().filter(|it| it.service == state.name && !is_kept(it));
            let alive = mine.filter(|process| process.is_alive()).count();
            if alive > 0 {
                world.breach(format!("{} is stopped or removed, and {alive} of it run", state.name));
            }
        }
        if removed && world.router.tables.contains_key(&state.name) {
            world.breach(format!("{} is removed and routed", state.name));
        }
        let live = &state.environments[state.live];
        let said = state.pause.as_ref().map(|paused| &paused.pause);
        let routed = world.router.tables.get(&state.name).map(|table| table.route.pause.clone());
        if let Some(routed) = routed.filter(|routed| routed.as_ref() != said) {
            world.breach(format!("{} is said to be {said:?} and is routed as {routed:?}", state.name));
        }
        if live.release.is_some() {
            let routed = world.router.tables.get(&state.name).map(|table| table.route.clone());
            let wanted: BTreeSet<_> =
                live.instances.iter().map(|instance| (&instance.id, instance.address)).collect();
            let right = routed.as_ref().is_some_and(|route| {
                let there =
                    route.instances(state.live).iter().map(|instance| (&instance.id, instance.address));
                route.weights.sole() == Some(state.live) && there.collect::<BTreeSet<_>>() == wanted
            });
            if !right {
                world.breach(format!("{} is not routed as it is live", state.name));
            }
        }
    }
    let mut world = life.outside.world();
    let orphans = world.alive().difference(&known).count();
    if orphans > 0 {
        world.breach(format!("I5: {orphans} instances run that nobody knows"));
    }
}
