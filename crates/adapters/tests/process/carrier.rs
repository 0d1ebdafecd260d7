//! Processes that the records do not tell, found by the id that they carry.

use std::fs;

use cutover_controller::ports::DeploymentExecutor;

use crate::host::{Host, STAY, is_dead, kill, session, until};

/// Deletes the records of an instance, into which its supervisor may be writing just now.
async fn forget(host: &Host, id: &str) {
    let directory = host.instance(id);
    until("the records are deleted", || async { fs::remove_dir_all(&directory).is_ok() }).await;
}

#[tokio::test]
async fn a_daemon_that_has_left_the_session_is_ended_by_the_stop() {
    let script = "setsid sleep 1000 <&- >&- 2>&- &\necho daemon $!\nexec sleep 1000";
    let host = Host::with_script(script);
    host.provision(&["a", "b"]).await.unwrap();
    until("both daemons are told", || async {
        !host.lines("a").await.is_empty() && !host.lines("b").await.is_empty()
    })
    .await;
    let told = async |id| host.lines(id).await[0].strip_prefix("daemon ").unwrap().parse::<i32>().unwrap();
    let (daemon, other) = (told("a").await, told("b").await);
    until("they lead sessions", || async { [daemon, other].into_iter().all(|it| session(it) == Some(it)) })
        .await;
    host.stop(&["a"]).await;
    assert!(is_dead(daemon));
    assert!(!is_dead(other) && !is_dead(host.pid("b", "program")));
    host.stop(&["b"]).await;
    assert!(is_dead(other));
}

/// It could hold the port that its successor needs.
#[tokio::test]
async fn a_daemon_that_has_left_the_session_is_ended_before_its_program_is_started_again() {
    let host = Host::with_script("setsid sleep 1000 <&- >&- 2>&- &\necho daemon $!\nexec sleep 1000");
    host.provision(&["a"]).await.unwrap();
    let daemons = async || -> Vec<i32> {
        let lines = host.lines("a").await;
        lines.iter().filter_map(|line| line.strip_prefix("daemon ")?.parse().ok()).collect()
    };
    until("the daemon leads a session", || async {
        daemons().await.first().is_some_and(|daemon| session(*daemon) == Some(*daemon))
    })
    .await;
    kill(host.pid("a", "program"));
    until("it is started again", || async { daemons().await.len() == 2 }).await;
    let daemons = daemons().await;
    assert!(is_dead(daemons[0]) && !is_dead(daemons[1]), "{daemons:?}");
    host.stop(&["a"]).await;
    assert!(is_dead(daemons[1]));
}

#[tokio::test]
async fn an_instance_whose_records_were_deleted_is_stopped_with_its_supervisor() {
    let host = Host::with_script(STAY);
    host.provision(&["a", "b"]).await.unwrap();
    let pids = [host.pid("a", "supervisor"), host.pid("a", "program")];
    forget(&host, "a").await;
    assert_eq!(host.running().await, ["b"]);
    host.stop(&["a"]).await;
    assert!(pids.into_iter().all(is_dead));
    assert!(!host.instance("a").exists());
    assert_eq!(host.running().await, ["b"]);
    host.stop(&["b"]).await;
}

#[tokio::test]
async fn an_instance_without_records_and_supervisor_is_stopped_though_it_ignores_the_signal() {
    let host = Host::with_script("trap '' TERM\necho deaf\nwhile :; do sleep 0.05; done");
    host.provision(&["a"]).await.unwrap();
    until("it is deaf", || async { host.lines("a").await == ["deaf"] }).await;
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    forget(&host, "a").await;
    kill(supervisor);
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    host.stop(&["a"]).await;
    assert!(is_dead(program));
}

#[tokio::test]
async fn an_instance_whose_plan_cannot_be_read_is_stopped() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    let pids = [host.pid("a", "supervisor"), host.pid("a", "program")];
    fs::write(host.instance("a").join("instance.json"), "{").unwrap();
    host.stop(&["a"]).await;
    assert!(pids.into_iter().all(is_dead));
    assert!(!host.instance("a").exists());
}

#[tokio::test]
async fn an_instance_whose_records_were_deleted_does_not_run_twice_when_it_is_asked_for_again() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    let former = [host.pid("a", "supervisor"), host.pid("a", "program")];
    forget(&host, "a").await;
    host.provision(&["a"]).await.unwrap();
    assert!(former.into_iter().all(is_dead));
    assert_eq!(host.running().await, ["a"]);
    assert_eq!(host.executor.last_exit(&host.id("a")).await, None);
    let program = host.pid("a", "program");
    host.stop(&["a"]).await;
    assert!(is_dead(program));
}
