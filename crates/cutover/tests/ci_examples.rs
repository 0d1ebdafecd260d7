//! The examples for CI do what they say: their own lines, in a shell, against a controller behind a real sshd.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::ssh::Hosts;
use support::{Host, Said};

const NO_BAKE: &str =
    "[rollout]\nbake = \"0s\"\n[health]\ninterval = \"50ms\"\nrise = 1\ndeadline = \"60s\"\n";

/// A file of `examples/ci`, read as YAML by a library that nobody here wrote.
fn example(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ci").join(name);
    let script =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout, default=str)";
    // YAML 1.1 takes the key `on` for a truth; as JSON it is one too.
    let said: Said = Command::new("python3").args(["-c", script]).arg(file).output().unwrap().into();
    serde_json::from_str(&said.exits(0).out).unwrap()
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]);
    let said: Said = git.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap().into();
    said.exits(0).out.trim().to_owned()
}

/// A runner: a checkout, a home, and the variables of a job.
struct Runner<'a> {
    hosts: &'a Hosts,
    home: PathBuf,
    variables: BTreeMap<String, String>,
}

impl<'a> Runner<'a> {
    fn of(hosts: &'a Hosts, name: &str) -> Self {
        let forced = "restrict,command=\"cutover ssh-entry --service shop --allow deploy,status --told ci\"";
        hosts.allow("alpha", "limited", forced);
        hosts.configure(NO_BAKE);
        let checkout = hosts.path("application");
        std::fs::write(checkout.join("index.html"), "the page\n").unwrap();
        git(&checkout, &["init", "-q", "-b", "main"]);
        git(&checkout, &["add", "."]);
        git(&checkout, &["commit", "-q", "-m", "first"]);
        let home = hosts.path(name);
        std::fs::create_dir_all(&home).unwrap();
        let mut runner = Self { hosts, home, variables: BTreeMap::new() };
        // What a name server and an account would do: the name leads to the test's sshd.
        let config = std::fs::read_to_string(hosts.path("ssh_config")).unwrap();
        let port = config.lines().filter_map(|line| line.trim().strip_prefix("Port ")).next_back().unwrap();
        let ssh = runner.home.join(".ssh");
        let ssh = ssh.display();
        runner.set("CUTOVER_SSH", &format!(
            "ssh -F {ssh}/config -o HostName=127.0.0.1 -o Port={port} -o HostKeyAlias=box.example.com \
             -o UserKnownHostsFile={ssh}/known_hosts -o GlobalKnownHostsFile=/dev/null -o IdentityFile={ssh}/id_deploy"
        ));
        runner
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Takes over variables of the example; the user over there has another name.
    fn set_all(&mut self, variables: &Value) {
        for (name, value) in variables.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap().replace("deploy@", "alpha@");
            self.set(name, &value);
        }
    }

    fn key(&self) -> String {
        std::fs::read_to_string(self.hosts.path("limited")).unwrap()
    }

    fn known_hosts(&self) -> String {
        format!("box.example.com {}", std::fs::read_to_string(self.hosts.path("host.pub")).unwrap())
    }

    fn command(&self, lines: &str) -> Command {
        let binaries = self.hosts.path("bin");
        let mut shell = Command::new("bash");
        shell
            .args(["-e", "-o", "pipefail", "-c", lines])
            .current_dir(self.hosts.path("application"))
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .envs(&self.variables)
            .stdin(Stdio::null());
        shell
    }

    fn run(&self, lines: &str) -> Said {
        self.command(lines).output().unwrap().into()
    }
}

#[test]
fn the_example_for_github_actions_deploys_with_a_key_that_may_only_deploy() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    let mut runner = Runner::of(&hosts, "github");
    let workflow = example("github-actions.yml");
    let job = &workflow["jobs"]["deploy"];
    runner.set_all(&job["env"]);
    for (name, value) in [
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_REPOSITORY", "example/shop"),
        ("GITHUB_RUN_ID", "17"),
        ("GITHUB_REF_NAME", "main"),
    ] {
        runner.set(name, value);
    }
    let mut deploy = String::new();
    for step in job["steps"].as_array().unwrap() {
        let Some(lines) = step["run"].as_str() else {
            assert!(step["uses"].is_string(), "{step}");
            continue;
        };
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            let secret = match value.as_str().unwrap() {
                "${{ secrets.DEPLOY_KEY }}" => runner.key(),
                "${{ secrets.DEPLOY_KNOWN_HOSTS }}" => runner.known_hosts(),
                other => panic!("`{other}` is no secret that the example tells of"),
            };
            runner.set(name, &secret);
        }
        runner.run(lines).exits(0);
        if lines.contains("cutover deploy") {
            lines.clone_into(&mut deploy);
        }
    }
    let commit = git(&hosts.path("application"), &["rev-parse", "HEAD"]);
    let version = hosts.live(alpha);
    assert!(commit.starts_with(version.split('-').next().unwrap()), "{version} of {commit}");
    let origin = hosts.status("alpha")["deployment"]["origin"].clone();
    assert_eq!(origin["commit"], commit.as_str());
    assert_eq!(origin["author"], "Alice <alice@example.com>");
    assert_eq!(origin["job"], "https://github.com/example/shop/actions/runs/17");
    assert_eq!(origin["branch"], "main");

    // The same job again.
    let again = runner.run(&deploy).exits(0);
    assert!(again.out.contains("already live"), "{again:#?}");
    // Another host under that name is not trusted.
    std::fs::write(runner.home.join(".ssh/known_hosts"), "").unwrap();
    runner.run(&deploy).exits(3);
}

#[test]
fn the_example_for_gitlab_ci_deploys_and_a_later_job_follows() {
    let (hosts, [alpha, _]) = Hosts::with_controllers();
    let mut runner = Runner::of(&hosts, "gitlab");
    let pipeline = example("gitlab-ci.yml");
    let deploy = &pipeline["deploy"];
    runner.set_all(&deploy["variables"]);
    for (name, content) in [("DEPLOY_KEY", runner.key()), ("DEPLOY_KNOWN_HOSTS", runner.known_hosts())] {
        let file = runner.home.join(name);
        std::fs::write(&file, content).unwrap();
        runner.set(name, file.to_str().unwrap());
    }
    runner.set("CI_JOB_URL", "https://gitlab.example.com/shop/-/jobs/3");
    let lines = |part: &Value| {
        let lines: Vec<_> = part.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        lines.join("\n")
    };
    runner.run(&lines(&pipeline["build"]["script"])).exits(0);
    runner.run(&format!("{}\n{}", lines(&deploy["before_script"]), lines(&deploy["script"]))).exits(0);
    let status = runner.run(&lines(&deploy["after_script"])).exits(0);
    assert!(status.out.contains("live on blue"), "{status:#?}");
    assert!(hosts.live(alpha).len() >= 7);
    let origin = hosts.status("alpha")["deployment"]["origin"].clone();
    assert_eq!(origin["job"], "https://gitlab.example.com/shop/-/jobs/3");
    let again = runner.run(&lines(&deploy["script"])).exits(0);
    assert!(again.out.contains("already live"), "{again:#?}");
}

#[test]
fn two_jobs_with_the_same_content_at_once_are_one_deployment_and_both_succeed() {
    let host = Host::start();
    host.configure(NO_BAKE);
    let job = || {
        let mut command = host.command(&["--json", "deploy", "v1", "--wait", "live"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (job(), job());
    for child in [one, two] {
        let said: Said = child.wait_with_output().unwrap().into();
        assert_eq!(said.exits(0).json()["success"], true);
    }
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    assert_eq!(history["deployments"].as_array().unwrap().len(), 1, "{history}");
    let again = host.run(&["--json", "deploy", "v1", "--wait", "live"]).exits(0).json();
    assert_eq!(again["message"], "already live");
}

#[test]
fn every_exit_code_is_in_the_table() {
    let page = include_str!("../../../docs/ci.md");
    for code in ["0", "1", "2", "3", "4", "5", "6", "70"] {
        assert!(page.contains(&format!("\n| {code} |")), "{code}");
    }
}
