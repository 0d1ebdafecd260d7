//! People are told what became of a deployment: signed, in order, through failures of the receiver and of the
//! controller, and never at the cost of the deployment.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{CUTOVER, Host, Said, wait_until};

const QUICK: &str =
    "[health]\ninterval = \"50ms\"\nrise = 1\nfall = 2\ndeadline = \"60s\"\n[rollout]\nbake = \"0s\"\n";

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers(u16),
    /// Takes the request and never answers.
    Silent,
}

#[derive(Debug, Clone)]
struct Heard {
    headers: Vec<(String, String)>,
    body: String,
    answered: u16,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(heard, _)| heard.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver on loopback.
struct Receiver {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Receiver {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, mood) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(mood)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let receiver = Self { address, mood: Arc::clone(&mood), heard: Arc::clone(&heard) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, heard) = (Arc::clone(&mood), Arc::clone(&heard));
                std::thread::spawn(move || hear(stream, &mood, &heard));
            }
        });
        receiver
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// What was taken with 200, once each.
    fn taken(&self) -> Vec<Heard> {
        let mut ids = Vec::new();
        let mut taken = self.heard();
        taken.retain(|heard| {
            let id = heard.header("cutover-delivery").to_owned();
            heard.answered == 200 && !ids.contains(&id) && {
                ids.push(id);
                true
            }
        });
        taken
    }

    fn events(&self) -> Vec<(String, String)> {
        let event = |heard: &Heard| {
            let body = heard.json();
            (body["event"].as_str().unwrap().to_owned(), body["version"].as_str().unwrap().to_owned())
        };
        self.taken().iter().map(event).collect()
    }

    #[track_caller]
    fn eventually(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(e, v)| ((*e).to_owned(), (*v).to_owned())).collect();
        let deadline = Instant::now() + support::PATIENCE;
        while self.events() != expected {
            assert!(Instant::now() < deadline, "heard {:?} instead of {expected:?}", self.events());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn webhook(&self, more: &str) -> String {
        format!("webhook = {{ url = \"http://{}/hook\"{more} }}", self.address)
    }
}

fn hear(stream: TcpStream, mood: &Mutex<Mood>, heard: &Mutex<Vec<Heard>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map_or(0, |(_, value)| value.parse::<usize>().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let mood = *mood.lock().unwrap();
        let Mood::Answers(answered) = mood else {
            heard.lock().unwrap().push(Heard { headers, body, answered: 0 });
            // Until the client gives up.
            let _ = reader.read(&mut [0]);
            return;
        };
        heard.lock().unwrap().push(Heard { headers, body, answered });
        let answer = format!("HTTP/1.1 {answered} x\r\ncontent-length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn release(host: &Host, name: &str, notify: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}[notify]\n{notify}\n"));
}

fn fails_to_start(host: &Host, notify: &str) {
    let command = format!("command = [\"{CUTOVER}\", \"no-such-verb\"]");
    host.write("cutover.toml", &format!("name = \"shop\"\n{command}\n{QUICK}[notify]\n{notify}\n"));
}

/// What a receiver computes to know that it was cutover who spoke: the snippet of the documentation.
fn signed_by(secret: &str, signature: &str, body: &str) -> bool {
    let page = include_str!("../../../docs/notify.md");
    let snippet = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let script = format!(
        "{snippet}\nimport sys\nsys.exit(not is_from_cutover(sys.argv[1].encode(), sys.argv[2], sys.stdin.buffer.read()))\n"
    );
    let mut python = std::process::Command::new("python3");
    python.args(["-c", &script, secret, signature]).stdin(std::process::Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn a_webhook_hears_everything_in_order_signed_and_the_secret_is_nowhere_else() {
    let host = Host::start();
    let receiver = Receiver::start(Mood::Answers(200));
    host.write("hook-secret", "hunter2-of-the-hook\n");
    let notify = receiver.webhook(", secret = { file = \"hook-secret\" }");
    release(&host, "one", &notify);
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", &notify);
    host.run(&["deploy", "v2"]).exits(0);
    host.run(&["rollback"]).exits(0);
    fails_to_start(&host, &notify);
    host.run(&["deploy", "v3"]).exits(1);
    receiver.eventually(&[("live", "v1"), ("live", "v2"), ("rolled_back", "v1"), ("rolled_back", "v3")]);

    for heard in receiver.taken() {
        let (signature, body) = (heard.header("cutover-signature"), heard.json());
        assert!(signed_by("hunter2-of-the-hook", signature, &heard.body), "{heard:?}");
        assert!(!signed_by("another", signature, &heard.body));
        assert!(!signed_by("hunter2-of-the-hook", signature, &format!("{} ", heard.body)));
        assert_eq!((&body["v"], &body["service"]), (&1.into(), &"shop".into()));
        assert_eq!(body["id"], heard.header("cutover-delivery"));
        assert_eq!(body["event"], heard.header("cutover-event"));
        for key in ["deployment", "environment", "actor", "started_at", "ended_at", "host", "text", "at"] {
            assert!(body[key].is_string() || key == "ended_at", "{key} of {body}");
        }
    }
    let last = receiver.taken().last().unwrap().json();
    assert!(last["reason"].as_str().unwrap().contains("instance"), "{last}");

    // Not in the journal, not in an environment of an instance, not readable for others, not in the log.
    let journal = host.path("journal.jsonl");
    host.run(&["journal", "export", journal.to_str().unwrap()]).exits(0);
    assert!(!std::fs::read_to_string(journal).unwrap().contains("hunter2"));
    assert!(!host.log().contains("hunter2"));
    let settings = host.state().join("notify/shop/settings.json");
    assert_eq!(std::fs::metadata(&settings).unwrap().permissions().mode() & 0o777, 0o600);
    for pid in host.pids("program.json") {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).to_lowercase();
        assert!(!environment.contains("hunter2") && !environment.contains("notify"), "{environment}");
    }
}

#[test]
fn a_receiver_that_fails_is_asked_again_and_status_tells_until_it_answers() {
    let host = Host::start();
    let receiver = Receiver::start(Mood::Answers(500));
    release(&host, "one", &receiver.webhook(""));
    host.run(&["deploy", "v1"]).exits(0);
    let status = host.eventually("it is told", |status| {
        status["notify_trouble"].as_array().is_some_and(|trouble| !trouble.is_empty())
    });
    let trouble = &status["notify_trouble"][0];
    assert_eq!((&trouble["receiver"], &trouble["waiting"]), (&"webhook".into(), &1.into()));
    assert!(trouble["reason"].as_str().unwrap().contains("500"), "{trouble}");
    let text = host.run(&["status", "shop"]).exits(0).out;
    assert!(text.contains("notifications to the webhook fail since "), "{text}");
    receiver.is(Mood::Answers(200));
    receiver.eventually(&[("live", "v1")]);
    host.eventually("it is told no more", |status| {
        status["notify_trouble"].as_array().is_some_and(Vec::is_empty)
    });
    let ids: Vec<_> =
        receiver.heard().iter().map(|heard| heard.header("cutover-delivery").to_owned()).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn what_waits_survives_the_controller_and_what_happened_meanwhile_is_told_too() {
    let mut host = Host::start();
    let receiver = Receiver::start(Mood::Answers(503));
    release(&host, "one", &receiver.webhook(""));
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", &receiver.webhook(""));
    host.run(&["deploy", "v2"]).exits(0);
    wait_until("the receiver was asked", || !receiver.heard().is_empty());
    host.kill_controller();
    receiver.is(Mood::Answers(200));
    host.serve();
    receiver.eventually(&[("live", "v1"), ("live", "v2")]);
    // Another start tells nothing again.
    host.terminate_controller();
    host.serve();
    host.run(&["rollback"]).exits(0);
    receiver.eventually(&[("live", "v1"), ("live", "v2"), ("rolled_back", "v1")]);
    // What was taken when the controller ended may come twice, under the same id.
    let heard = receiver.heard();
    let taken = heard.iter().filter(|heard| heard.answered == 200);
    let ids: BTreeSet<String> = taken.map(|heard| heard.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn a_receiver_that_is_down_or_never_answers_delays_no_deployment_and_no_other_receiver() {
    let mut host = Host::start();
    let receiver = Receiver::start(Mood::Silent);
    let told = host.path("told");
    host.write("tell", &format!("#!/bin/sh\ncat >> {told}\necho >> {told}\n", told = told.display()));
    let tell = host.path("application/tell");
    std::fs::set_permissions(tell, std::fs::Permissions::from_mode(0o755)).unwrap();
    let down = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap()
    };
    host.write("slack-url", &format!("http://{down}/services/hunter2-path\n"));
    let notify = format!(
        "{}\nslack = {{ url = {{ file = \"slack-url\" }} }}\ncommand = \"./tell\"",
        receiver.webhook("")
    );
    release(&host, "one", &notify);
    host.run(&["deploy", "v1"]).exits(0);
    release(&host, "two", &notify);
    let before = Instant::now();
    host.run(&["deploy", "v2"]).exits(0);
    host.run(&["rollback"]).exits(0);
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    wait_until("the command has heard everything", || {
        std::fs::read_to_string(&told).is_ok_and(|told| told.lines().count() == 3)
    });
    let told = std::fs::read_to_string(&told).unwrap();
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = events
        .iter()
        .map(|event| (&event["event"], &event["version"]))
        .map(|(e, v)| format!("{e}{v}"))
        .collect();
    assert_eq!(said, ["\"live\"\"v1\"", "\"live\"\"v2\"", "\"rolled_back\"\"v1\""]);
    let status = host.eventually("the receiver that is down is told of", |status| {
        status["notify_trouble"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["receiver"] == "slack"))
    });
    // The address of a Slack receiver is a secret.
    assert!(!status.to_string().contains("hunter2") && !host.log().contains("hunter2"), "{status}");
    // Neither does the end of the controller wait for it.
    let before = Instant::now();
    host.terminate_controller();
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    host.serve();
}

#[test]
fn slack_gets_its_own_words_and_only_what_was_asked_for() {
    let host = Host::start();
    let receiver = Receiver::start(Mood::Answers(200));
    host.write("slack-url", &format!("http://{}/services/x\n", receiver.address));
    let notify = "slack = { url = { file = \"slack-url\" } }\non = [\"rolled_back\"]";
    release(&host, "one", notify);
    host.run(&["deploy", "v1"]).exits(0);
    fails_to_start(&host, notify);
    host.run(&["deploy", "v2"]).exits(1);
    wait_until("Slack has heard", || !receiver.heard().is_empty());
    let heard = receiver.heard();
    let text = heard[0].json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains(":leftwards_arrow_with_hook: shop v2 was taken back on "), "{text}");
    assert_eq!((heard.len(), heard[0].header("cutover-signature")), (1, ""));
}

#[test]
fn settings_that_were_mended_hold_for_what_waits_without_a_new_release() {
    let host = Host::start();
    let (wrong, right) = (Receiver::start(Mood::Answers(404)), Receiver::start(Mood::Answers(200)));
    host.write("files/page", "the same");
    let release =
        |notify: &str| host.configure(&format!("artifact = \"files\"\n{QUICK}[notify]\n{notify}\n"));
    release(&wrong.webhook(""));
    host.run(&["deploy", "v1"]).exits(0);
    wait_until("the wrong one was asked", || !wrong.heard().is_empty());
    release(&right.webhook(""));
    let said: Said = host.run(&["deploy", "v1"]).exits(0);
    assert!(said.out.contains("already live"), "{said:#?}");
    right.eventually(&[("live", "v1")]);
    // A secret that cannot be had refuses the deployment instead of leaving people unheard.
    host.configure(&format!("{QUICK}[notify]\n{}", right.webhook(", secret = { file = \"/nowhere/hook\" }")));
    let refused = host.run(&["deploy", "v2"]).exits(2);
    assert!(refused.err.contains("`/nowhere/hook`"), "{refused:#?}");
}
