//! A controller that another has replaced starts and stops nothing any more.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cutover_controller::ports::{DeploymentExecutor, PortError};

use crate::host::{Host, STAY, Switch, effect, is_dead, kill, until};

/// The last reason; the deed may be named before it.
fn check<T: std::fmt::Debug>(refusal: Result<T, PortError>) {
    let reason = refusal.unwrap_err().reason;
    assert!(reason.ends_with("another controller has taken over"), "{reason}");
}

#[tokio::test]
async fn a_replaced_controller_neither_starts_nor_stops_an_instance() {
    let host = Host::with_script(STAY);
    let mandate = Arc::new(Switch::default());
    let replaced = host.executor_with(&mandate);
    host.provision_by(&replaced, &["a"]).await.unwrap();
    let program = host.pid("a", "program");
    mandate.replace();

    check(replaced.stop(&effect(), &host.ids(&["a", "b"])).await);
    check(host.provision_by(&replaced, &["b"]).await);
    assert!(!host.instance("b").exists());
    assert_eq!(host.running().await, ["a"]);
    assert_eq!(host.pid("a", "program"), program);
    host.stop(&["a"]).await;
    assert!(is_dead(program));
}

#[tokio::test]
async fn a_controller_that_is_replaced_while_it_waits_for_a_stop_kills_nothing() {
    let script = "trap 'touch asked' TERM\necho ready\nwhile :; do sleep 0.05; done";
    let host = Host::with_script(script);
    let mandate = Arc::new(Switch::default());
    let replaced = host.executor_with(&mandate);
    host.provision_by(&replaced, &["a"]).await.unwrap();
    until("it is ready", || async { host.lines("a").await == ["ready"] }).await;
    // Without a supervisor the executor itself has to ask, to wait and to kill.
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    kill(supervisor);
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    let asked = || async { host.release.directory.join("asked").exists() };
    let stop = async { replaced.stop(&effect(), &[host.id("a")]).await };
    let replace = async {
        until("it was asked", asked).await;
        mandate.replace();
    };
    let (stopped, ()) = tokio::join!(stop, replace);
    check(stopped);
    assert!(!is_dead(program) && host.instance("a").exists());
    kill(program);
    host.stop(&["a"]).await;
    assert!(!host.instance("a").exists());
}

#[tokio::test]
async fn a_replaced_controller_gives_no_supervisor_to_an_instance_that_lost_its_own() {
    let host = Host::with_script(STAY);
    let mandate = Arc::new(Switch::default());
    let replaced = host.executor_with(&mandate);
    host.provision_by(&replaced, &["a"]).await.unwrap();
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    mandate.replace();
    kill(supervisor);
    until("the supervisor is dead", || async { is_dead(supervisor) }).await;
    assert_eq!(replaced.observe().await.unwrap().len(), 1);
    assert_eq!(supervisors(&host.instance("a")), 0);
    assert_eq!(host.executor.observe().await.unwrap().len(), 1);
    // One that was just started has its arguments a moment later.
    until("it has one again", || async { supervisors(&host.instance("a")) == 1 }).await;
    host.stop(&["a"]).await;
    assert!(is_dead(program));
}

/// How many processes were started to supervise an instance, and live.
fn supervisors(instance: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let ending = [b"\0--directory\0", instance.as_os_str().as_encoded_bytes(), b"\0"].concat();
    lines.filter(|line| line.ends_with(&ending)).count()
}
