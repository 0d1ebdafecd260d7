//! Start, adopt, stop, restart, output.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cutover_controller::ports::DeploymentExecutor;

use crate::host::{Host, STAY, effect, is_dead, is_reaped, kill, session, until};

#[tokio::test]
async fn an_instance_answers_on_its_address_is_adopted_when_asked_for_again_and_is_gone_after_stop() {
    let host = Host::with_script("exec python3 -u -m http.server \"$PORT\" --bind 127.0.0.1");
    let first = host.provision(&["a", "b"]).await.unwrap();
    assert_ne!(first[0].address, first[1].address);
    for instance in &first {
        until("it answers", || async {
            let Ok(mut stream) = TcpStream::connect(instance.address) else {
                return false;
            };
            let mut answer = String::new();
            stream.write_all(b"GET /app HTTP/1.0\r\n\r\n").unwrap();
            stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200")
        })
        .await;
    }
    let programs = [host.pid("a", "program"), host.pid("b", "program")];
    assert_eq!(host.provision(&["a", "b"]).await.unwrap(), first);
    assert_eq!([host.pid("a", "program"), host.pid("b", "program")], programs);
    assert_eq!(host.running().await, ["a", "b"]);

    host.stop(&["a", "b", "never-there", "../a"]).await;
    assert!(host.running().await.is_empty());
    assert!(programs.into_iter().all(is_dead));
    assert_eq!(fs::read_dir(host.state("instances")).unwrap().count(), 0);
    assert!(host.log("a").is_file());
    assert!(host.lines("a").await.iter().any(|line| line.contains("GET /app")));
}

#[tokio::test]
async fn a_restarted_controller_finds_the_instances_and_stops_them() {
    let host = Host::with_script(STAY);
    let instances = host.provision(&["a"]).await.unwrap();
    let executor = host.another_executor();
    let running = executor.observe().await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].instance, instances[0]);
    assert_eq!((running[0].service.as_str(), &running[0].release), ("shop", &host.release.id));
    let (supervisor, program) = (host.pid("a", "supervisor"), host.pid("a", "program"));
    // Neither a terminal nor the end of the controller's session reaches it.
    assert_eq!([session(supervisor), session(program)], [Some(supervisor), Some(supervisor)]);
    executor.stop(&effect(), &[host.id("a")]).await.unwrap();
    assert!(is_dead(program));
}

#[tokio::test]
async fn two_controllers_that_start_the_same_instance_at_once_start_one_program() {
    let host = Host::with_script(STAY);
    let other = host.another_executor();
    let ids = ["a"];
    let (one, two) = tokio::join!(host.provision(&ids), host.provision_by(&other, &ids));
    assert_eq!(one.unwrap(), two.unwrap());
    until("it has started", || async { !host.lines("a").await.is_empty() }).await;
    assert_eq!(host.lines("a").await, ["started"]);
    host.stop(&ids).await;
}

#[tokio::test]
async fn a_program_that_ends_at_once_tells_its_exit_status_and_last_lines() {
    let host = Host::with_script("echo reading config\necho 'no config' >&2\nexit 3");
    host.provision(&["a"]).await.unwrap();
    let id = host.id("a");
    until("an exit is recorded", || async { host.executor.last_exit(&id).await.is_some() }).await;
    let exit = host.executor.last_exit(&id).await.unwrap();
    assert_eq!(exit.how, "exit status 3");
    assert_eq!(exit.last_lines[..2], ["reading config", "no config"]);
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_program_that_ends_each_time_is_told_with_growing_restarts_and_its_last_lines() {
    let host = Host::with_script("echo config is bad\nexit 3");
    host.provision(&["a"]).await.unwrap();
    let id = host.id("a");
    let exit = || async { host.executor.last_exit(&id).await };
    let mut seen = None;
    for restarts in 1..=3 {
        until("it was started again", || async { exit().await.is_some_and(|it| it.restarts >= restarts) })
            .await;
        let exit = exit().await.unwrap();
        assert_eq!(exit.how, "exit status 3");
        assert!(exit.last_lines.iter().all(|line| line == "config is bad"), "{:?}", exit.last_lines);
        assert!(exit.last_lines.len() as u32 >= restarts);
        assert!(seen.is_none_or(|at| at <= exit.at));
        seen = Some(exit.at);
    }
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_again_is_told_with_the_reason() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    fs::remove_file(host.release.directory.join("app")).unwrap();
    kill(host.pid("a", "program"));
    let id = host.id("a");
    until("it was tried twice", || async {
        host.executor.last_exit(&id).await.is_some_and(|exit| exit.restarts >= 2)
    })
    .await;
    let how = host.executor.last_exit(&id).await.unwrap().how;
    assert!(how.starts_with("not started again: the command `") && how.ends_with("does not exist"), "{how}");
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_killed_program_is_started_again_and_counted_and_what_it_had_started_is_ended() {
    let host = Host::with_script("sleep 1000 &\necho child $!\nexec sleep 1000");
    host.provision(&["a"]).await.unwrap();
    let child = |line: &String| line.strip_prefix("child ").unwrap().parse::<i32>().unwrap();
    until("the child has started", || async { !host.lines("a").await.is_empty() }).await;
    let former_child = child(&host.lines("a").await[0]);
    let former = host.pid("a", "program");
    kill(former);
    until("it runs again", || async { host.record("a", "program")["restarts"] == 1 }).await;
    assert_ne!(host.pid("a", "program"), former);
    assert!(is_dead(former_child));
    assert_eq!(host.record("a", "exit")["how"], "killed by SIGKILL");
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_program_that_ignores_the_stop_signal_is_killed_after_the_stop_timeout() {
    let mut host = Host::with_script("trap '' TERM\necho deaf\nwhile :; do sleep 0.05; done");
    let stop_timeout = Duration::from_millis(300);
    host.release.configuration.run.stop_timeout = stop_timeout;
    host.provision(&["a"]).await.unwrap();
    until("it is deaf", || async { host.lines("a").await == ["deaf"] }).await;
    let program = host.pid("a", "program");
    let start = Instant::now();
    host.stop(&["a"]).await;
    assert!((stop_timeout..Duration::from_secs(4)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(is_dead(program));
}

#[tokio::test]
async fn a_program_gets_the_configured_stop_signal_and_the_time_to_end_well() {
    let script = "trap 'echo bye; exit 0' QUIT\necho ready\nwhile :; do sleep 0.05; done";
    let mut host = Host::with_script(script);
    host.release.configuration.run.stop_signal = "SIGQUIT".to_owned();
    host.provision(&["a"]).await.unwrap();
    until("it is ready", || async { host.lines("a").await == ["ready"] }).await;
    host.stop(&["a"]).await;
    // The shell says on its other stream what became of its `sleep`.
    let lines = host.lines("a").await;
    assert!(lines.iter().any(|line| line == "bye"), "{lines:?}");
}

#[tokio::test]
async fn a_stopped_instance_leaves_no_zombie() {
    let host = Host::with_script(STAY);
    host.provision(&["a"]).await.unwrap();
    let pids = [host.pid("a", "supervisor"), host.pid("a", "program")];
    host.stop(&["a"]).await;
    until("both are reaped", || async { pids.into_iter().all(is_reaped) }).await;
}

#[tokio::test]
async fn a_program_that_writes_without_end_can_be_stopped_and_its_logs_stay_small() {
    let host = Host::with_script("exec yes 'a line of output that is repeated without end'");
    host.provision(&["a"]).await.unwrap();
    let oldest = host.instance("a").join("output.log.3");
    until("the logs are rotated", || async { oldest.exists() }).await;
    assert!(!host.instance("a").join("output.log.4").exists());
    assert!(fs::metadata(oldest).unwrap().len() <= 10 * 1024 * 1024);
    let start = Instant::now();
    host.stop(&["a"]).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn live_instances_are_spared_before_idle_ones_when_memory_runs_out() {
    let host = Host::with_script(STAY);
    host.provision(&["a", "b"]).await.unwrap();
    let adjustment = |id: &str, who: &str| {
        let file = format!("/proc/{}/oom_score_adj", host.pid(id, who));
        fs::read_to_string(file).unwrap().trim().parse::<i32>().unwrap()
    };
    assert_eq!([adjustment("a", "supervisor"), adjustment("a", "program")], [600, 600]);
    host.executor.prioritise(&[host.id("a")], &[host.id("b"), host.id("gone")]).await.unwrap();
    assert_eq!([adjustment("a", "supervisor"), adjustment("a", "program")], [100, 100]);
    assert_eq!([adjustment("b", "supervisor"), adjustment("b", "program")], [600, 600]);
    host.stop(&["a", "b"]).await;
}
