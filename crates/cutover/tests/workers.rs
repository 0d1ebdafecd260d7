//! Workers with the real binary: a real queue, workers that misbehave, and what tells an instance whether it is live.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use support::postgres::Postgres;
use support::processes::Processes;
use support::{Host, PATIENCE, signal, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";
const WORKER: &str = "#!/bin/sh
echo start $CUTOVER_VERSION >> $EVENTS
trap 'echo stop $CUTOVER_VERSION >> $EVENTS; exit 0' TERM
while :; do sleep 0.02; done
";

impl Host {
    /// Writes a service with one worker, whose program is this script.
    fn configure_worker(&self, script: &str, worker: &str) {
        self.write("work.sh", script);
        let work = self.path("application/work.sh");
        Command::new("chmod").arg("+x").arg(work).status().unwrap();
        self.configure(&format!(
            "{QUICK}[env]\nEVENTS = \"{}\"\n[worker.mail]\ncommand = \"./work.sh\"\n{worker}",
            self.path("events").display()
        ));
    }

    fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Deploys a release with content of its own.
    fn deploy(&self, version: &str) {
        self.write("version", version);
        self.run(&["deploy", version, "--end-bake", "--wait", "live"]).exits(0);
    }

    /// Waits until what was noted is this.
    #[track_caller]
    fn notes(&self, expected: &[&str]) {
        let told = || self.events();
        let deadline = std::time::Instant::now() + PATIENCE;
        while told() != expected {
            assert!(std::time::Instant::now() < deadline, "{:?} is not {expected:?}\n{}", told(), self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The workers that are told of, in both environments.
    fn workers(&self) -> Vec<Value> {
        let status = self.status();
        let of = |color: &str| {
            let workers = status["environments"][color]["workers"]["instances"].clone();
            workers.as_array().cloned().unwrap_or_default()
        };
        [of("blue"), of("green")].concat()
    }
}

/// Fails if two versions have worked at once, by the order in which they noted it.
fn assert_never_two(events: &[String]) {
    let mut working = BTreeMap::<&str, i32>::new();
    for event in events {
        let (what, version) = event.split_once(' ').unwrap();
        match what {
            "start" => *working.entry(version).or_default() += 1,
            "stop" => *working.get_mut(version).unwrap() -= 1,
            _ => {}
        }
        working.retain(|_, count| *count > 0);
        assert!(working.len() < 2, "at `{event}` there are {working:?}: {events:#?}");
    }
}

/// Adds jobs until it is told to stop; answers how many.
fn produce(postgres: &Postgres, stop: &'static AtomicBool) -> JoinHandle<u64> {
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-U", "queue", "-d", "postgres", "-h"]).arg(postgres.socket());
    let mut psql: Child = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::spawn(move || {
        let mut input = psql.stdin.take().unwrap();
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            input.write_all(b"INSERT INTO jobs DEFAULT VALUES;\n").unwrap();
            count += 1;
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        drop(input);
        assert!(psql.wait().unwrap().success());
        count
    })
}

/// A host with a queue; `env` are further variables, `worker` is the rest of the worker's table.
fn with_queue(env: &str, worker: &str) -> (Host, Postgres) {
    let (host, postgres) = (Host::start(), Postgres::start());
    postgres.ask("CREATE TABLE jobs (id bigserial PRIMARY KEY, done boolean NOT NULL DEFAULT false)");
    host.write("worker.py", include_str!("queue_worker.py"));
    host.configure(&format!(
        "{QUICK}[env]\nEVENTS = \"{}\"\nQUEUE = \"{}\"\n{env}[worker.mail]\ncommand = \"python3 worker.py\"\n{worker}",
        host.path("events").display(),
        postgres.socket().display()
    ));
    (host, postgres)
}

/// Waits until this version has done some jobs since that many events.
fn works(host: &Host, version: &str, since: usize) {
    let done = |event: &&String| event.starts_with("job:") && event.ends_with(&format!(" {version}"));
    wait_until(&format!("{version} works"), || host.events().iter().skip(since).filter(done).count() >= 5);
}

/// Every job was done, and none twice.
fn assert_all_done(host: &Host, postgres: &Postgres, produced: u64) {
    wait_until("all jobs are done", || postgres.ask("SELECT count(*) FROM jobs WHERE NOT done") == ["0"]);
    assert_eq!(postgres.ask("SELECT count(*) FROM jobs"), [produced.to_string()]);
    let events = host.events();
    let jobs: Vec<&str> =
        events.iter().filter_map(|event| event.strip_prefix("job:")?.split(' ').next()).collect();
    let distinct: BTreeSet<&str> = jobs.iter().copied().collect();
    assert_eq!(
        (jobs.len(), distinct.len() as u64),
        (distinct.len(), produced),
        "a job was lost or done twice"
    );
}

#[test]
fn a_queue_loses_no_job_and_does_none_twice_over_deployments_and_rollbacks() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let (host, postgres) = with_queue("", "instances = 2\n");
    let producer = produce(&postgres, &STOP);
    for version in ["v1", "v2", "v3"] {
        let since = host.events().len();
        host.deploy(version);
        works(&host, version, since);
    }
    // Within the bake, and a deployment right after.
    let since = host.events().len();
    host.run(&["rollback", "shop"]).exits(0);
    works(&host, "v2", since);
    for version in ["v4", "v5"] {
        let since = host.events().len();
        host.deploy(version);
        works(&host, version, since);
    }
    STOP.store(true, Ordering::SeqCst);
    let produced = producer.join().unwrap();
    assert_all_done(&host, &postgres, produced);
    let events = host.events();
    assert_never_two(&events);
    let starts = events.iter().filter(|event| event.starts_with("start")).count();
    assert_eq!(starts, 12, "two workers of v1, v2, v3, v2 again, v4, v5");
}

#[test]
fn workers_that_may_overlap_start_before_the_old_ones_stop_and_share_the_queue() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let (host, postgres) = with_queue("STAYS = \"v1\"\n", "overlap = true\n");
    let producer = produce(&postgres, &STOP);
    for version in ["v1", "v2"] {
        let since = host.events().len();
        host.deploy(version);
        works(&host, version, since);
    }
    wait_until("the old one stops", || host.events().contains(&"stop v1".to_owned()));
    STOP.store(true, Ordering::SeqCst);
    assert_all_done(&host, &postgres, producer.join().unwrap());
    let events = host.events();
    let place = |wanted: &str| events.iter().position(|event| event == wanted).unwrap();
    assert!(place("start v2") < place("stop v1"), "{events:?}");
}

#[test]
fn workers_run_for_what_is_live_and_are_told_by_status() {
    let host = Host::start();
    host.configure_worker(WORKER, "instances = 2\n");
    host.deploy("v1");
    host.notes(&["start v1", "start v1"]);
    let status = host.eventually("both run", |status| {
        let workers = &status["environments"]["blue"]["workers"];
        let running = |worker: &Value| worker["state"] == "running";
        workers["health"] == "healthy" && workers["instances"].as_array().unwrap().iter().all(running)
    });
    let worker = &status["environments"]["blue"]["workers"]["instances"][0];
    assert_eq!(worker["worker"], "mail");
    assert!(worker["id"].as_str().unwrap().ends_with("-mail-1"), "{worker}");
    assert_eq!(status["environments"]["blue"]["instances"].as_array().unwrap().len(), 1);
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("\n          worker mail: 2 running\n"), "{text}");
}

#[test]
fn a_worker_that_ignores_the_stop_signal_is_killed_and_does_not_block() {
    let host = Host::start();
    let deaf =
        "#!/bin/sh\ntrap '' TERM\necho start $CUTOVER_VERSION >> $EVENTS\nwhile :; do sleep 0.02; done\n";
    host.configure_worker(deaf, "stop_timeout = \"300ms\"\n");
    host.deploy("v1");
    host.notes(&["start v1"]);
    let old = host.workers()[0]["id"].as_str().unwrap().to_owned();
    let pid = host.program(&old);
    host.deploy("v2");
    host.notes(&["start v1", "start v2"]);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the old one still runs");
}

#[test]
fn a_worker_that_dies_at_once_in_the_bake_takes_the_release_back_with_its_last_lines() {
    let host = Host::start();
    host.configure_worker(WORKER, "");
    host.deploy("v1");
    host.notes(&["start v1"]);
    host.configure_worker("#!/bin/sh\necho there is no queue\nexit 3\n", "");
    let said = host.run(&["deploy", "v2", "--wait", "done"]).exits(1);
    assert!(said.err.contains("keeps ending (exit status 3)"), "{said:#?}");
    assert!(said.err.contains("there is no queue"), "{said:#?}");
    host.notes(&["start v1", "stop v1", "start v1"]);
    let status = host.status();
    assert_eq!((&status["status"], &status["live"]), (&"rolled_back".into(), &"blue".into()));
    assert_eq!(host.workers().len(), 1);
}

#[test]
fn a_worker_that_cannot_be_started_takes_the_release_back_and_one_that_is_no_program_is_refused_before() {
    let host = Host::start();
    host.configure_worker(WORKER, "");
    host.deploy("v1");
    host.notes(&["start v1"]);
    host.configure_worker("#!/no/such/interpreter\n", "");
    let said = host.run(&["deploy", "v2", "--wait", "done"]).exits(1);
    assert!(
        said.err.contains("a worker failed in the bake") && said.err.contains("interpreter"),
        "{said:#?}"
    );
    host.notes(&["start v1", "stop v1", "start v1"]);
    host.configure(&format!("{QUICK}[worker.mail]\ncommand = \"no-such-program\"\n"));
    let said = host.run(&["deploy", "v3"]).exits(4);
    assert!(said.err.contains("worker `mail`: the command `no-such-program`"), "{said:#?}");
}

#[test]
fn after_the_bake_a_worker_that_keeps_ending_is_kept_up_and_told_of() {
    let host = Host::start();
    let fragile = "#!/bin/sh\n[ -e $EVENTS.sick ] && { echo the queue is gone; exit 1; }\n\
                   echo start $CUTOVER_VERSION >> $EVENTS\nwhile [ ! -e $EVENTS.sick ]; do sleep 0.02; done\n\
                   echo the queue is gone\nexit 1\n";
    host.configure_worker(fragile, "[rollout]\nbake = \"0s\"\n");
    host.deploy("v1");
    host.notes(&["start v1"]);
    host.write("../events.sick", "");
    host.eventually("it is told", |status| {
        let workers = &status["environments"]["blue"]["workers"];
        workers["health"] == "unhealthy" && workers["last_lines"][0] == "the queue is gone"
    });
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("keeps ending (exit status 1)") && text.contains("| the queue is gone"), "{text}");
    std::fs::remove_file(host.path("events.sick")).unwrap();
    host.notes(&["start v1", "start v1"]);
}

#[test]
fn workers_that_were_lost_with_the_controller_come_back_with_it_and_no_others() {
    let mut host = Host::start();
    host.configure_worker(WORKER, "");
    host.deploy("v1");
    host.deploy("v2");
    host.notes(&["start v1", "stop v1", "start v2"]);
    host.eventually("it runs", |status| status["environments"]["green"]["workers"]["health"] == "healthy");
    host.kill_controller();
    // As a reboot would: everything ends, and nobody had a say.
    for pid in host.pids("supervisor.json").into_iter().chain(host.pids("program.json")) {
        signal(pid, "KILL");
    }
    wait_until("everything has ended", || Processes::of(&host.state()).count() == (0, 0));
    host.serve();
    host.notes(&["start v1", "stop v1", "start v2", "start v2"]);
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("1 worker of green had ended and are started again"), "{text}");
}

/// What a live URL answers: status and word.
fn ask(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "GET /{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim().to_owned())
}

#[test]
fn instances_are_told_whether_they_are_live_also_without_a_controller() {
    let mut host = Host::start();
    let telling = "#!/bin/sh
echo $CUTOVER_WORKER ${PORT-none} $CUTOVER_LIVE_FILE $CUTOVER_LIVE_URL >> $EVENTS
trap 'exit 0' TERM
while :; do sleep 0.02; done
";
    host.configure_worker(telling, "");
    host.deploy("v1");
    wait_until("the worker tells", || host.events().len() == 1);
    let told = host.events().remove(0);
    let [worker, port, file, url] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert_eq!((worker, port), ("mail", "none"));
    let word = |file: &str| std::fs::read_to_string(file).unwrap().trim().to_owned();
    let (other_file, other_url) = (file.replace("blue", "green"), url.replace("blue", "green"));
    assert_eq!((word(file), ask(url)), ("live".to_owned(), (200, "live".to_owned())));
    assert_eq!(ask(&other_url), (503, "idle".to_owned()));
    let curl =
        |url: &str| Command::new("curl").args(["-fsS", url]).output().map(|said| said.status.success());
    assert!(curl(url).is_ok_and(|live| live) && curl(&other_url).is_ok_and(|live| !live));

    host.deploy("v2");
    wait_until("blue is told", || word(file) == "idle" && word(&other_file) == "live");
    assert_eq!((ask(url).0, ask(&other_url).0), (503, 200));

    host.kill_controller();
    host.run(&["rollback", "shop", "--break-glass", "--yes"]).exits(0);
    assert_eq!((ask(url).0, ask(&other_url).0), (200, 503));
    wait_until("blue is told again", || word(file) == "live" && word(&other_file) == "idle");

    // A proxy that dies comes back where it was, and says the same.
    host.serve();
    host.eventually("workers follow the hand", |status| {
        let of = |color: &str| status["environments"][color]["workers"]["instances"].clone();
        of("green").is_null() && of("blue")[0]["state"] == "running"
    });
    let proxy = host.proxy_pid().unwrap();
    signal(proxy, "KILL");
    wait_until("another proxy answers", || host.proxy_pid().is_some_and(|pid| pid != proxy));
    assert_eq!((ask(url).0, ask(&other_url).0, word(file).as_str()), (200, 503, "live"));
}

#[test]
fn a_restart_renews_the_workers_and_a_stopped_service_has_none() {
    let host = Host::start();
    host.configure_worker(WORKER, "[rollout]\nbake = \"0s\"\n");
    host.deploy("v1");
    host.notes(&["start v1"]);
    host.run(&["restart"]).exits(0);
    host.notes(&["start v1", "stop v1", "start v1"]);
    host.eventually("it runs", |status| status["environments"]["blue"]["workers"]["health"] == "healthy");
    host.run(&["stop", "--yes"]).exits(0);
    host.notes(&["start v1", "stop v1", "start v1", "stop v1"]);
    wait_until("everything has ended", || Processes::of(&host.state()).count() == (0, 0));
    host.run(&["restart"]).exits(0);
    host.notes(&["start v1", "stop v1", "start v1", "stop v1", "start v1"]);
}

#[test]
fn a_rollback_stops_the_workers_of_the_release_that_is_taken_back_first() {
    let host = Host::start();
    host.configure_worker(WORKER, "");
    host.deploy("v1");
    host.deploy("v2");
    host.notes(&["start v1", "stop v1", "start v2"]);
    host.run(&["rollback", "shop"]).exits(0);
    host.notes(&["start v1", "stop v1", "start v2", "stop v2", "start v1"]);
}
