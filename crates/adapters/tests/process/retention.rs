//! What is kept of instances that have ended.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cutover_controller::ports::DeploymentExecutor;

use crate::host::{Host, STAY, is_dead, kill, until};

/// Starts an instance and kills all of it, so that its directory stays.
async fn lose(host: &Host, id: &str) {
    host.provision(&[id]).await.unwrap();
    let (supervisor, program) = (host.pid(id, "supervisor"), host.pid(id, "program"));
    kill(supervisor);
    kill(program);
    until("both are dead", || async { is_dead(supervisor) && is_dead(program) }).await;
}

/// Makes all of it as old as that.
fn age(path: &Path, minutes: u64) {
    let at = SystemTime::now() - Duration::from_secs(60 * minutes);
    let log = path.join("output.log");
    for path in [path, &log] {
        if path.exists() {
            fs::File::open(path).unwrap().set_modified(at).unwrap();
        }
    }
}

impl Host {
    async fn prune(&self, known: &[&str], keep: usize) -> usize {
        self.executor.prune(&self.ids(known), keep).await.unwrap()
    }
}

#[tokio::test]
async fn the_directories_and_logs_of_ended_instances_are_removed_except_the_known_and_the_newest() {
    let host = Host::with_script(STAY);
    for (id, minutes) in [("a", 50), ("b", 40), ("c", 30), ("d", 20)] {
        lose(&host, id).await;
        age(&host.instance(id), minutes);
    }
    for (id, minutes) in [("e", 35), ("f", 10), ("g", 60)] {
        host.provision(&[id]).await.unwrap();
        until("it has started", || async { !host.lines(id).await.is_empty() }).await;
        host.stop(&[id]).await;
        age(&host.log(id), minutes);
    }
    let directories = || ["a", "b", "c", "d"].map(|id| host.instance(id).exists());
    let logs = || ["e", "f", "g"].map(|id| host.log(id).exists());
    assert_eq!((directories(), logs()), ([true; 4], [true; 3]));

    assert_eq!(host.prune(&["a", "g"], 3).await, 2);
    assert_eq!((directories(), logs()), ([true, false, true, true], [false, true, true]));
    assert_eq!(host.prune(&["a", "g"], 3).await, 0);
    assert_eq!(host.prune(&[], 0).await, 5);
    assert_eq!((directories(), logs()), ([false; 4], [false; 3]));
}

#[tokio::test]
async fn an_instance_of_which_anything_lives_is_kept_though_nobody_knows_it() {
    let host = Host::with_script(STAY);
    host.provision(&["whole", "bare", "unreadable", "locked"]).await.unwrap();
    let supervisor = host.pid("bare", "supervisor");
    kill(supervisor);
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    fs::write(host.instance("unreadable").join("instance.json"), "{").unwrap();
    let (supervisor, program) = (host.pid("locked", "supervisor"), host.pid("locked", "program"));
    kill(supervisor);
    kill(program);
    until("both are dead", || async { is_dead(supervisor) && is_dead(program) }).await;
    let lock = fs::File::options().write(true).open(host.instance("locked").join("lock")).unwrap();
    lock.lock().unwrap();

    assert_eq!(host.prune(&[], 0).await, 0);
    let all = ["whole", "bare", "unreadable", "locked"];
    assert!(all.into_iter().all(|id| host.instance(id).exists()));
    drop(lock);
    assert_eq!(host.prune(&[], 0).await, 1);
    assert!(!host.instance("locked").exists());
    host.stop(&["whole", "bare", "unreadable"]).await;
}

#[tokio::test]
async fn a_daemon_keeps_the_records_of_its_instance() {
    let host = Host::with_script("setsid sleep 1000 <&- >&- 2>&- &\necho daemon $!\nexec sleep 1000");
    host.provision(&["a"]).await.unwrap();
    until("it has told", || async { !host.lines("a").await.is_empty() }).await;
    let daemon: i32 = host.lines("a").await[0].strip_prefix("daemon ").unwrap().parse().unwrap();
    until("it has left", || async { crate::host::session(daemon) == Some(daemon) }).await;
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    kill(supervisor);
    kill(program);
    until("both are dead", || async { is_dead(supervisor) && is_dead(program) }).await;
    assert_eq!(host.prune(&[], 0).await, 0);
    host.stop(&["a"]).await;
    assert!(is_dead(daemon));
}

#[tokio::test]
async fn what_a_crash_left_of_an_instance_that_was_being_made_or_removed_is_removed() {
    let host = Host::with_script(STAY);
    let (made, removed) = (host.instance("a"), host.state("instances/.stopped-b"));
    fs::create_dir(&made).unwrap();
    fs::create_dir(&removed).unwrap();
    assert_eq!(host.prune(&[], 0).await, 1);
    assert!(!made.exists() && !removed.exists());
}

#[tokio::test]
async fn instances_that_are_being_started_while_old_ones_are_removed_start() {
    let host = Host::with_script(STAY);
    for round in 0..5 {
        let name = format!("a{round}");
        let ids = [name.as_str(), "again"];
        let prune = async {
            for _ in 0..20 {
                host.prune(&[], 0).await;
            }
        };
        let (started, ()) = tokio::join!(host.provision(&ids), prune);
        started.unwrap();
        assert!(host.instance(&name).exists() && host.instance("again").exists());
        host.stop(&ids).await;
    }
}
