//! Commands beside the instances: what the state keeps of them.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod service_world;

use cutover_core::Environment;
use cutover_core::service::{CommandEnd, CommandRun, Event};
use service_world::World;

fn run(world: &World, id: usize, command: &[String]) -> CommandRun {
    let release = world.slot(Environment::Blue).release.as_ref().unwrap();
    CommandRun {
        id: format!("c{id}").parse().unwrap(),
        actor: "alice".to_owned(),
        environment: Environment::Blue,
        release: release.id.clone(),
        version: release.version.clone(),
        command: command.to_vec(),
        started_at: world.now,
        ended: None,
    }
}

#[test]
fn however_long_commands_are_the_state_stays_small_enough_to_be_recorded_on_a_full_disk() {
    let mut world = World::settled(&["v1"]);
    let size = |world: &World| serde_json::to_string(&world.state).unwrap().len();
    let before = size(&world);
    let long = ["sh".to_owned(), "-c".to_owned(), "ä".repeat(64 << 10), "x".to_owned()];
    let many = vec![String::new(); 64 << 10];
    for id in 0..50 {
        let mut run = run(&world, id, if id % 2 == 0 { &long } else { &many });
        world.happens(&Event::CommandStarted { run: run.clone() }).unwrap();
        let how = "exit status 0".to_owned();
        run.ended = Some(CommandEnd { at: world.now, how, status: Some(0) });
        world.happens(&Event::CommandEnded { run }).unwrap();
    }
    assert!(size(&world) - before < 32 << 10, "{} bytes", size(&world));
    let told = world.state.commands.iter().find(|told| told.command[0] == "sh").unwrap();
    assert!(told.words().starts_with("sh -c 'ä") && told.words().ends_with('…'), "{}", told.words());
    let again = world.state.clone();
    world.restart_in_term(2, None);
    assert_eq!(world.state.commands, again.commands, "what is short is not cut again");
}
