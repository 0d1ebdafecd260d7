//! `kill -9` of the supervisor, at moments that matter.

use std::fs;

use cutover_controller::ports::DeploymentExecutor;

use crate::host::{Host, STAY, is_dead, kill, until};

/// Writes a line every few moments.
const TALK: &str = "n=0\nwhile :; do n=$((n+1)); echo $n; sleep 0.02; done";

#[tokio::test]
async fn an_instance_whose_supervisor_was_killed_runs_on_and_gets_another_that_goes_on_with_its_output() {
    let host = Host::with_script(TALK);
    let instances = host.provision(&["a"]).await.unwrap();
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    kill(supervisor);
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    assert_eq!(host.running().await, ["a"]);
    assert_eq!(host.provision(&["a"]).await.unwrap(), instances);
    until("it has another", || async { host.pid("a", "supervisor") != supervisor }).await;
    assert_eq!(host.pid("a", "program"), program);
    let seen = host.lines("a").await.len();
    until("output goes on", || async { host.lines("a").await.len() > seen + 3 }).await;
    let lines = host.lines("a").await;
    let numbers: Vec<usize> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    // The killed one may have had a line in hand.
    assert!(numbers[numbers.len() - 1] - numbers.len() <= 1, "{numbers:?}");

    // The new supervisor looks after it as the first did.
    kill(program);
    until("it runs again", || async { host.record("a", "program")["restarts"] == 1 }).await;
    let program = host.pid("a", "program");
    host.stop(&["a"]).await;
    assert!(is_dead(program));
}

#[tokio::test]
async fn an_instance_whose_supervisor_was_killed_is_stopped_without_another() {
    let script = "trap 'echo bye; exit 0' TERM\nsleep 1000 &\necho child $!\nwhile :; do sleep 0.05; done";
    let host = Host::with_script(script);
    host.provision(&["a"]).await.unwrap();
    until("it is ready", || async { !host.lines("a").await.is_empty() }).await;
    let child: i32 = host.lines("a").await[0].strip_prefix("child ").unwrap().parse().unwrap();
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    kill(supervisor);
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    host.stop(&["a"]).await;
    assert!(is_dead(program) && is_dead(child));
    assert!(host.running().await.is_empty());
}

#[tokio::test]
async fn a_program_whose_start_was_not_recorded_any_more_is_found_by_its_session() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    until("it has started", || async { !host.lines("a").await.is_empty() }).await;
    kill(supervisor);
    fs::remove_file(host.instance("a").join("program.json")).unwrap();
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    assert_eq!(host.running().await, ["a"]);
    host.provision(&["a"]).await.unwrap();
    until("it is recorded", || async { host.record("a", "program")["pid"] == program }).await;
    host.stop(&["a"]).await;
    assert!(is_dead(program));
    assert_eq!(host.lines("a").await, ["started"]);
}

#[tokio::test]
async fn an_instance_of_which_nothing_lives_is_not_observed_and_starts_again_on_its_port_as_if_new() {
    let host = Host::with_script(STAY);
    let instances = host.provision(&["a"]).await.unwrap();
    kill(host.pid("a", "program"));
    until("it runs again", || async { host.record("a", "program")["restarts"] == 1 }).await;
    assert_eq!(host.executor.last_exit(&host.id("a")).await.unwrap().restarts, 1);
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    kill(supervisor);
    kill(program);
    until("both are dead", || async { is_dead(supervisor) && is_dead(program) }).await;
    assert!(host.running().await.is_empty());
    assert_eq!(host.provision(&["a"]).await.unwrap(), instances);
    assert_eq!(host.running().await, ["a"]);
    assert_eq!(host.record("a", "program")["restarts"], 0);
    assert_eq!(host.executor.last_exit(&host.id("a")).await, None);
    host.stop(&["a"]).await;
}
