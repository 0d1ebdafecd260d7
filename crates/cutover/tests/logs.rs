//! `cutover logs`: what instances have written, by the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::{Host, talker, wait_until};

/// The lines of JSON that a command prints.
fn lines(host: &Host, arguments: &[&str]) -> Vec<Value> {
    let said = host.run(&[&["--json", "logs"], arguments].concat()).exits(0);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["line"].as_str().unwrap()).collect()
}

/// A command that goes on, and what it has printed until now.
struct Follower {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn start(host: &Host, arguments: &[&str]) -> Self {
        let mut child = host.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (out, into) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&printed));
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line))
        });
        Self { child, printed }
    }

    fn count(&self, part: &str) -> usize {
        self.printed.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    #[track_caller]
    fn shows(&self, part: &str) {
        wait_until(&format!("`{part}` is shown: {:?}", self.printed.lock().unwrap()), || {
            self.count(part) > 0
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_lines_of_all_instances_are_merged_by_time_and_told_with_instance_and_stream() {
    let host = Host::start();
    talker::write(&host, "[run]\ninstances = 2\n");
    host.run(&["deploy", "v1"]).exits(0);
    for number in 0..6 {
        host.get(&format!("/page-{number}"));
        // A line has the time at which it was taken from its instance, so the next one is not asked for before.
        let asked = format!("asked for /page-{number}");
        wait_until("it was written", || texts(&lines(&host, &[])).contains(&asked.as_str()));
    }
    wait_until("all was written", || lines(&host, &[]).len() == 10);
    let all = lines(&host, &[]);
    let times: Vec<_> = all.iter().map(|line| line["at"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let pages: Vec<_> = texts(&all).into_iter().filter(|text| text.starts_with("asked")).collect();
    let expected: Vec<_> = (0..6).map(|number| format!("asked for /page-{number}")).collect();
    assert_eq!(pages, expected, "both instances answer, and time alone brings their lines in order");
    let warned: Vec<_> = all.iter().filter(|line| line["stream"] == "err").collect();
    assert_eq!(warned.len(), 2);
    for line in &all {
        assert_eq!(
            (&line["v"], &line["environment"], &line["version"]),
            (&1.into(), &"blue".into(), &"v1".into())
        );
    }
    let instance = warned[0]["instance"].as_str().unwrap();
    assert!(lines(&host, &["--instance", instance]).iter().all(|line| line["instance"] == instance));
    assert_eq!(texts(&lines(&host, &["-n", "2"])), ["asked for /page-4", "asked for /page-5"]);
    assert!(texts(&lines(&host, &["--since", times[8].as_str()])).len() >= 2);
    assert!(lines(&host, &["--since", "2999-01-01T00:00:00Z"]).is_empty());

    let said = host.run(&["logs", "shop", "live", "-n", "1"]).exits(0);
    let name = instance.strip_prefix("shop-").unwrap().rsplit_once('-').unwrap().0;
    assert!(
        said.out.contains(&format!("  {name}-")) && said.out.ends_with("  asked for /page-5\n"),
        "{said:?}"
    );
}

#[test]
fn each_environment_and_release_has_its_lines_also_when_its_instances_have_ended() {
    let host = Host::start();
    talker::write(&host, "[rollout]\nbake = \"0s\"\nstandby = \"0s\"\n");
    host.run(&["deploy", "v1"]).exits(0);
    let said = host.run(&["logs", "idle"]).exits(4);
    assert!(said.err.contains("the idle environment of service `shop`, green, holds no release"), "{said:?}");
    host.write("new", "");
    host.run(&["deploy", "v2"]).exits(0);
    host.eventually("v1 is stopped", |status| {
        status["environments"]["blue"]["instances"] == Value::Array(vec![])
    });
    assert_eq!(texts(&lines(&host, &[])), ["hello from v2", "be warned"], "the newest release by default");
    assert_eq!(texts(&lines(&host, &["live"])), ["hello from v2", "be warned"]);
    for arguments in [&["idle"][..], &["shop", "blue"], &["--release", "v1"]] {
        assert_eq!(lines(&host, arguments)[0]["line"], "hello from v1", "{arguments:?}");
    }
    host.run(&["logs", "nosuch"]).exits(2);
    let said = host.run(&["logs", "shop", "purple"]).exits(2);
    assert!(said.err.contains("`purple` is not an environment"), "{said:?}");
}

#[test]
fn what_is_followed_goes_on_through_a_deployment_and_a_restart_of_the_controller_without_a_line_twice() {
    let mut host = Host::start();
    talker::write(&host, "");
    host.run(&["deploy", "v1"]).exits(0);
    let follower = Follower::start(&host, &["logs", "-f"]);
    let of_green = Follower::start(&host, &["logs", "green", "-f"]);
    follower.shows("hello from v1");
    host.get("/one");
    follower.shows("asked for /one");
    host.write("new", "");
    host.run(&["deploy", "v2"]).exits(0);
    follower.shows("hello from v2");
    host.get("/two");
    follower.shows("asked for /two");
    host.kill_controller();
    host.get("/three");
    host.serve();
    follower.shows("asked for /three");
    host.get("/four");
    follower.shows("asked for /four");
    for text in ["hello from v1", "hello from v2", "/one", "/two", "/three", "/four"] {
        assert_eq!(follower.count(text), 1, "{text}: {:?}", follower.printed.lock().unwrap());
    }
    of_green.shows("asked for /four");
    assert_eq!(of_green.count("hello from v1"), 0);
}
