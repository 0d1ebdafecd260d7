//! Two state directories of one host with instances of the same ids: neither touches what is the other's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cutover_adapters::process::ProcessExecutor;
use cutover_controller::ports::DeploymentExecutor;

use crate::host::{Host, STAY, effect, is_dead, kill, record, session, until};

impl Host {
    async fn stop_by(&self, executor: &ProcessExecutor, id: &str) {
        executor.stop(&effect(), &self.ids(&[id])).await.unwrap();
    }

    /// Where the neighbour has an instance written down.
    fn instance_at(&self, state: &str, id: &str) -> PathBuf {
        self.directory.path().join(state).join("instances").join(self.id(id).as_str())
    }
}

/// Supervisor and program.
fn pids(instance: &Path) -> [i32; 2] {
    ["supervisor", "program"]
        .map(|who| i32::try_from(record(instance, who)["pid"].as_i64().unwrap()).unwrap())
}

fn are_alive(pids: [i32; 2]) -> bool {
    pids.into_iter().all(|pid| !is_dead(pid))
}

fn are_dead(pids: [i32; 2]) -> bool {
    pids.into_iter().all(is_dead)
}

#[tokio::test]
async fn starting_observing_stopping_and_pruning_keep_to_their_own_state_directory() {
    let host = Host::with_script(STAY);
    let first = host.provision(&["a"]).await.unwrap();
    let firsts = pids(&host.instance("a"));
    let neighbour = host.executor_at("neighbour");
    assert_eq!(neighbour.observe().await.unwrap(), []);
    host.stop_by(&neighbour, "a").await;
    assert!(are_alive(firsts));

    let second = host.provision_by(&neighbour, &["a"]).await.unwrap();
    assert_ne!(second[0].address, first[0].address);
    let seconds = pids(&host.instance_at("neighbour", "a"));
    assert!(are_alive(firsts) && are_alive(seconds));
    for (executor, instances) in [(&host.executor, &first), (&neighbour, &second)] {
        let observed = executor.observe().await.unwrap();
        assert_eq!(observed.into_iter().map(|it| it.instance).collect::<Vec<_>>(), *instances);
    }

    // What has ended here is removed, though the neighbour's lives under the same id.
    seconds.into_iter().for_each(kill);
    until("both are dead", || async { are_dead(seconds) }).await;
    assert_eq!(host.executor.prune(&[], 0).await.unwrap(), 0);
    assert_eq!(neighbour.prune(&[], 0).await.unwrap(), 1);
    assert!(are_alive(firsts));

    host.provision_by(&neighbour, &["a"]).await.unwrap();
    let seconds = pids(&host.instance_at("neighbour", "a"));
    host.stop(&["a"]).await;
    assert!(are_dead(firsts) && are_alive(seconds));
    host.stop_by(&neighbour, "a").await;
    assert!(are_dead(seconds));
}

#[tokio::test]
async fn what_runs_without_records_is_ended_by_its_own_state_directory_alone() {
    let script = "setsid sleep 1000 <&- >&- 2>&- &\necho daemon $!\nexec sleep 1000";
    let host = Host::with_script(script);
    host.provision(&["a"]).await.unwrap();
    until("it has told", || async { !host.lines("a").await.is_empty() }).await;
    let daemon: i32 = host.lines("a").await[0].strip_prefix("daemon ").unwrap().parse().unwrap();
    until("the daemon has left", || async { session(daemon) == Some(daemon) }).await;
    let firsts = pids(&host.instance("a"));
    fs::remove_dir_all(host.instance("a")).unwrap();

    let neighbour = host.executor_at("neighbour");
    host.provision_by(&neighbour, &["a"]).await.unwrap();
    let seconds = pids(&host.instance_at("neighbour", "a"));
    assert!(are_alive(firsts) && !is_dead(daemon));
    // Nothing is written there any more.
    until("it has told", || async { !neighbour.last_lines(&host.id("a"), 1).await.is_empty() }).await;
    fs::remove_dir_all(host.instance_at("neighbour", "a")).unwrap();

    host.provision(&["a"]).await.unwrap();
    assert!(are_dead(firsts) && is_dead(daemon));
    assert!(are_alive(seconds));
    let firsts = pids(&host.instance("a"));
    host.stop_by(&neighbour, "a").await;
    assert!(are_alive(firsts) && are_dead(seconds));
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn the_records_in_a_copy_of_a_state_directory_tell_of_nothing_that_is_the_copys() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    let firsts = pids(&host.instance("a"));
    let mut copying = Command::new("cp");
    copying.arg("-a").arg(host.directory.path().join("state")).arg(host.directory.path().join("copy"));
    assert!(copying.status().unwrap().success());

    let copy = host.executor_at("copy");
    assert_eq!(copy.observe().await.unwrap(), []);
    host.provision_by(&copy, &["a"]).await.unwrap();
    let seconds = pids(&host.instance_at("copy", "a"));
    assert!(are_alive(firsts) && are_alive(seconds));
    host.stop_by(&copy, "a").await;
    assert!(are_alive(firsts) && are_dead(seconds));
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_state_directory_that_was_renamed_keeps_its_instances_and_one_in_its_place_gets_none() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    // While a program is being replaced by `exec` it has no environment that could be read.
    until("it has started", || async { !host.lines("a").await.is_empty() }).await;
    let firsts = pids(&host.instance("a"));
    let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The name changes first, then the environment can be read.
    let environment = |pid| fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let can_be_told = |pid| environment(pid).windows(17).any(|bytes| bytes == b"CUTOVER_INSTANCE=");
    until("the shell has made place", || async { name(firsts[1]) == "sleep\n" && can_be_told(firsts[1]) })
        .await;
    fs::rename(host.directory.path().join("state"), host.directory.path().join("renamed")).unwrap();

    let in_its_place = host.another_executor();
    assert_eq!(in_its_place.observe().await.unwrap(), []);
    host.stop_by(&in_its_place, "a").await;
    assert!(are_alive(firsts));
    let renamed = host.executor_at("renamed");
    assert_eq!(renamed.observe().await.unwrap().len(), 1);
    fs::remove_dir_all(host.instance_at("renamed", "a")).unwrap();
    kill(firsts[0]);
    until("the supervisor is dead", || async { is_dead(firsts[0]) }).await;
    host.stop_by(&renamed, "a").await;
    until("both are dead", || async { are_dead(firsts) }).await;
}

#[tokio::test]
async fn an_instance_of_an_older_executor_is_adopted_by_its_records_and_not_ended_for_its_id_alone() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    let former = pids(&host.instance("a"));
    former.into_iter().for_each(kill);
    until("both are dead", || async { are_dead(former) }).await;
    // The plan as it was written before state directories had an id, and a supervisor that was started so.
    let plan = host.instance("a").join("instance.json");
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("home").is_some());
    fs::write(&plan, old.to_string()).unwrap();
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_cutover-instance-fixture"));
    supervisor.args(["instance", "--directory"]).arg(host.instance("a")).env_clear().stdin(Stdio::null());
    let mut supervisor = supervisor.spawn().unwrap();
    until("it is recorded", || async {
        let program = record(&host.instance("a"), "program")["pid"].as_i64();
        program.is_some_and(|program| program != i64::from(former[1]))
    })
    .await;
    let program = host.pid("a", "program");
    let environment = fs::read_to_string(format!("/proc/{program}/environ")).unwrap();
    assert!(environment.contains("CUTOVER_INSTANCE=") && !environment.contains("CUTOVER_STATE_ID"));

    assert_eq!(host.running().await, ["a"]);
    host.provision(&["a"]).await.unwrap();
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert_eq!(host.running().await, ["a"]);
    until("it has another supervisor", || async {
        host.pid("a", "supervisor") != i32::try_from(supervisor.id()).unwrap()
    })
    .await;
    assert_eq!(host.pid("a", "program"), program);

    let neighbour = host.executor_at("neighbour");
    host.provision_by(&neighbour, &["a"]).await.unwrap();
    host.stop_by(&neighbour, "a").await;
    assert!(!is_dead(program));
    host.stop(&["a"]).await;
    assert!(is_dead(program));
}
