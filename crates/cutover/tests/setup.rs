//! `cutover setup` and a host that it has made ready: a whole one with systemd, in a container, and the image of one.
#![allow(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::process::Command;

use support::machine::Machine;
use support::{CUTOVER, Said};

const APPLICATION: &str = r#"
mkdir -p /srv/shop && cd /srv/shop && cat > cutover.toml <<'END'
name = "shop"
command = ["/usr/local/bin/cutover", "sample-application"]
[run]
user = "nobody"
[rollout]
bake = "0s"
END
"#;

fn setup(prefix: &Path, more: &[&str]) -> Said {
    let mut command = Command::new(CUTOVER);
    command.args(["--json", "setup", "--prefix"]).arg(prefix).args(more).stdin(std::process::Stdio::null());
    command.output().unwrap().into()
}

/// What a number of runs of curl within the machine got that was no answer; ends when `/tmp/stop` appears.
const CLIENT: &str = r#"
rm -f /tmp/stop /tmp/failed; touch /tmp/failed
( while [ ! -e /tmp/stop ]; do curl -sf --max-time 10 http://127.0.0.1:8080/ >/dev/null || echo $? >> /tmp/failed; done; touch /tmp/ended ) >/dev/null 2>&1 &
"#;

#[test]
fn a_host_is_made_ready_and_restarts_of_units_and_of_the_host_lose_nothing() {
    let machine = Machine::boot();
    let binary = CUTOVER;

    // Said first, done after it, and nothing is left to do.
    let plan = machine.run(&format!("{binary} --json setup --http 127.0.0.1:8080 --dry-run")).exits(0).json();
    assert_eq!((&plan["needed"], &plan["changed"]), (&true.into(), &false.into()));
    assert!(!machine.run("test -e /usr/local/bin/cutover").exit.eq(&0), "a dry run has installed");
    machine.run(&format!("{binary} setup --http 127.0.0.1:8080")).exits(2);
    machine.run(&format!("{binary} setup --http 127.0.0.1:8080 --yes")).exits(0);
    let again = machine.run(&format!("{binary} --json setup --yes")).exits(0).json();
    assert_eq!(again["needed"], false, "{again:#}");
    machine.run("systemd-analyze verify cutover.service cutover-proxy.service").exits(0);

    machine.run(APPLICATION).exits(0);
    machine.run("cd /srv/shop && cutover deploy v1 --wait live").exits(0);
    machine.run("curl -sf http://127.0.0.1:8080/").exits(0);
    // Who is in the group may ask, who is not may not.
    machine.run("usermod --append --groups cutover daemon").exits(0);
    machine.run("runuser -u daemon -- cutover status --state-dir /var/lib/cutover").exits(0);
    machine.run("runuser -u games -- cutover status --state-dir /var/lib/cutover").exits(3);

    let said = machine.run("cd /srv/shop && cutover exec -- id -un").exits(0);
    assert_eq!(said.out.trim(), "nobody");
    check_commands(&machine);

    // Each instance has a unit of its own, and what is done to the controller's does not touch it.
    let program = machine.run("cat /var/lib/cutover/instances/*/program.json").exits(0).out;
    let unit = machine.run("systemctl list-units --plain --no-legend 'cutover-instance-*'").exits(0).out;
    assert_eq!(unit.lines().count(), 1, "{unit}");
    machine.run(CLIENT).exits(0);
    machine.run("systemctl restart cutover.service").exits(0);
    machine.eventually("cutover status", |said| said.exit == 0 && said.out.contains("1/1 healthy"));
    machine.run("systemctl kill --signal KILL cutover.service").exits(0);
    machine.eventually("cutover status", |said| said.exit == 0 && said.out.contains("1/1 healthy"));
    assert_eq!(machine.run("cat /var/lib/cutover/instances/*/program.json").exits(0).out, program);
    machine.run("cd /srv/shop && echo 2 > changed && cutover deploy v2 --wait live").exits(0);
    machine.run("touch /tmp/stop").exits(0);
    machine.eventually("test -e /tmp/ended", |said| said.exit == 0);
    assert_eq!(machine.run("cat /tmp/failed").out, "", "requests failed");
    let told = machine.run("cutover status").out;
    assert!(!told.contains("put back"), "an instance was started again: {told}");

    // A proxy that dies is back, with a controller and without one.
    for alone in [false, true] {
        if alone {
            machine.run("systemctl stop cutover.service").exits(0);
        }
        let pid = machine.run("systemctl show --property MainPID --value cutover-proxy.service").exits(0).out;
        machine.run(&format!("kill -KILL {}", pid.trim())).exits(0);
        machine.eventually("systemctl show --property MainPID --value cutover-proxy.service", |said| {
            said.out != pid && said.out.trim() != "0"
        });
        machine.eventually("curl -sf http://127.0.0.1:8080/", |said| said.out.contains("v2"));
    }
    machine.run("systemctl start cutover.service").exits(0);
    machine.eventually("cutover doctor", |said| {
        said.out.contains("✓ units                cutover.service is active")
    });
    // A killed supervisor is replaced, and its program goes on.
    let program = machine.run("cat /var/lib/cutover/instances/*green*/program.json").exits(0).out;
    let pid = "sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' /var/lib/cutover/instances/*green*/supervisor.json";
    let supervisor = machine.run(pid).exits(0).out;
    machine.run(&format!("kill -KILL {}", supervisor.trim())).exits(0);
    machine.eventually(pid, |said| said.exit == 0 && said.out != supervisor && !said.out.trim().is_empty());
    assert_eq!(machine.run("cat /var/lib/cutover/instances/*green*/program.json").exits(0).out, program);

    // After a restart of the host what was live is, and no client ever got an error for an answer.
    machine.reboot();
    let said = machine.eventually("curl -s http://127.0.0.1:8080/", |said| said.exit == 0);
    assert!(said.out.contains("v2"), "{said:?}");
    machine.eventually("cutover status", |said| said.exit == 0 && said.out.contains("v2 live"));

    let plan = machine.run("cutover setup --remove --dry-run").exits(0);
    assert!(plan.out.contains("cutover shutdown --state-dir /var/lib/cutover"), "{plan:?}");
    // With a dead controller what it has started is ended all the same.
    machine.run("systemctl stop cutover.service").exits(0);
    machine.run("cutover setup --remove --yes").exits(0);
    machine.run("systemctl list-units --plain --no-legend 'cutover*.service' | grep -q .").exits(1);
    machine.run("test -e /usr/local/bin/cutover").exits(1);
    machine.run("test -e /var/lib/cutover/journal.sqlite").exits(0);
}

/// A command of a person's has a unit of its own and nothing of the controller's: neither sandbox nor umask nor
/// protection, and no end when that ends.
fn check_commands(machine: &Machine) {
    let exec = |command: &str| machine.run(&format!("cd /srv/shop && cutover exec -- {command}"));
    let said = exec(
        "sh -c 'umask; grep ^0: /proc/self/cgroup; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status'",
    );
    let lines: Vec<String> = said.exits(0).out.lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "0022", "{lines:#?}");
    assert!(lines[1].contains("/cutover.slice/cutover-command-shop-"), "{lines:#?}");
    assert_eq!(lines[2..], ["600", "NoNewPrivs:\t0"]);
    // It has its streams and its end as ever.
    let said =
        machine.run("cd /srv/shop && echo in | cutover exec -- sh -c 'cat; echo err >&2; exit 7'").exits(7);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("in\n", "err\n"));
    exec("sh -c 'kill -TERM $$'").exits(143);
    let said =
        machine.run("cd /srv/shop && script -qec 'cutover exec -- sh -c \"tty; tty < /dev/tty\"' /dev/null");
    assert!(said.out.contains("/dev/pts/") && said.out.contains("/dev/tty"), "{said:?}");
    // The controller that goes hangs up; who ignores that goes on.
    machine.run(
        "cd /srv/shop && (setsid cutover exec -T -- sh -c 'trap \"\" HUP; echo $$ > /tmp/command; exec sleep 1000' \
         < /dev/null > /dev/null 2>&1 &)",
    );
    machine.eventually("test -s /tmp/command", |said| said.exit == 0);
    machine.run("systemctl restart cutover.service").exits(0);
    machine.eventually("cutover status", |said| said.exit == 0 && said.out.contains("1/1 healthy"));
    machine.run("grep -q sleep /proc/$(cat /tmp/command)/comm && kill $(cat /tmp/command)").exits(0);
    machine.eventually("systemctl list-units --plain --no-legend 'cutover-command-*'", |said| {
        said.out.is_empty()
    });
}

/// An sshd of its own, and the way to it.
const SSHD: &str = r#"
mkdir -p /run/sshd /root/way && cd /root/way
for name in host key; do ssh-keygen -q -t ed25519 -N '' -f $name; done
printf 'Host box\n HostName 127.0.0.1\n Port 2222\n User root\n IdentityFile /root/way/key\n IdentitiesOnly yes\n UserKnownHostsFile /root/way/known\n' > config
printf '[127.0.0.1]:2222 %s\n' "$(cat host.pub)" > known
systemd-run --quiet --unit=way /usr/sbin/sshd -D -e -f /dev/null -o ListenAddress=127.0.0.1:2222 -o HostKey=/root/way/host     -o AuthorizedKeysFile=/root/way/key.pub -o StrictModes=no -o UsePAM=no
"#;

#[test]
fn a_host_is_made_ready_and_looked_at_over_ssh() {
    let machine = Machine::boot();
    machine.run(SSHD).exits(0);
    machine.eventually("ssh -F /root/way/config box true", |said| said.exit == 0);
    // Where nothing is mounted over it below, wherever this was built.
    machine.run(&format!("cp {CUTOVER} /root/cutover")).exits(0);
    let cutover = |words: &str| {
        machine.run(&format!("CUTOVER_SSH='ssh -F /root/way/config' /root/cutover {words} --host box"))
    };
    let left = || machine.run("ls -d /tmp/cutover-setup-*").out;

    let plan = cutover("--json setup --dry-run").exits(0).json();
    assert_eq!((&plan["needed"], &plan["changed"]), (&true.into(), &false.into()));
    machine.run("test -e /usr/local/bin/cutover").exits(1);
    assert_eq!(left(), "");
    // Nobody is there who could say yes.
    cutover("setup").exits(2);
    assert_eq!(left(), "");
    machine.run("mount -t tmpfs -o size=1m tmpfs /tmp").exits(0);
    let said = cutover("setup --yes").exits(4);
    assert!(said.err.contains("not all of the binary arrived in /tmp over there"), "{said:?}");
    assert_eq!(left(), "");
    machine.run("umount /tmp").exits(0);

    cutover("setup --http 127.0.0.1:8090 --yes").exits(0);
    assert_eq!(left(), "");
    assert_eq!(cutover("--json setup --yes").exits(0).json()["needed"], false);
    let found =
        machine.eventually("cutover --json doctor", |said| said.exit == 0 && said.out.contains("listens on"));
    assert!(found.out.contains("listens on 127.0.0.1:8090"), "{found:?}");
    let there = cutover("doctor").exits(0);
    assert!(
        there.out.contains("✓ controller") && there.out.contains("instances have 20000 to 29999\n"),
        "{there:?}"
    );
    // What is not there is bad over here too.
    machine.run("systemctl stop cutover.service").exits(0);
    let there = cutover("--json doctor").exits(1).json();
    assert_eq!(there["grade"], "bad", "{there:#}");
}

#[test]
fn the_image_of_a_host_gets_files_and_no_command_is_run() {
    let image = tempfile::tempdir().unwrap();
    let first = setup(image.path(), &["--yes", "--http", "127.0.0.1:8090"]).exits(0).json();
    assert_eq!(first["changed"], true);
    assert!(first["steps"].as_array().unwrap().iter().all(|step| step["kind"] != "run"), "{first:#}");
    let unit = image.path().join("etc/systemd/system/cutover.service");
    assert!(std::fs::read_to_string(&unit).unwrap().contains(" --http 127.0.0.1:8090 "));
    let enabled = image.path().join("etc/systemd/system/multi-user.target.wants/cutover.service");
    assert_eq!(std::fs::read_link(enabled).unwrap(), Path::new("/etc/systemd/system/cutover.service"));

    // What nobody names stays; what somebody has changed is told and put right.
    assert_eq!(setup(image.path(), &["--yes"]).exits(0).json()["needed"], false);
    let changed = std::fs::read_to_string(&unit).unwrap().replace("RestartSec=2s", "RestartSec=9s");
    std::fs::write(&unit, changed).unwrap();
    let found = setup(image.path(), &["--dry-run"]).exits(0).json();
    let differs: Vec<_> =
        found["steps"].as_array().unwrap().iter().filter(|step| step["needed"] == true).collect();
    assert_eq!(differs.len(), 1, "{found:#}");
    assert_eq!(differs[0]["differs"], "has `RestartSec=9s`, shall have `RestartSec=2s`");
    setup(image.path(), &["--yes"]).exits(0);
    assert_eq!(setup(image.path(), &["--dry-run"]).exits(0).json()["needed"], false);

    let binary = image.path().join("usr/local/bin/cutover");
    std::fs::write(&binary, "a former one").unwrap();
    setup(image.path(), &["--yes"]).exits(0);
    assert_eq!(std::fs::read(binary.with_extension("former")).unwrap(), b"a former one");
    assert_eq!(std::fs::read(&binary).unwrap(), std::fs::read(CUTOVER).unwrap());

    setup(image.path(), &["--remove", "--yes"]).exits(0);
    let mut left = walk(image.path());
    left.retain(|path| !path.is_dir());
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let below = |path: std::path::PathBuf| {
        let mut found = if path.is_dir() && !path.is_symlink() { walk(&path) } else { Vec::new() };
        found.push(path);
        found
    };
    entries.flat_map(below).collect()
}

#[test]
fn what_a_unit_cannot_say_is_refused_and_nobody_is_asked_where_nobody_is() {
    let image = tempfile::tempdir().unwrap();
    for state in ["relative", "/with space/state", "/%h/state", "/state"] {
        let said = setup(image.path(), &["--yes", "--state-dir", state]).exits(2);
        assert!(said.err.contains("cannot stand in a unit"), "{said:?}");
    }
    let said = setup(image.path(), &[]).exits(2);
    assert!(said.err.contains("nothing was done") && said.err.contains("--yes"), "{said:?}");
    assert_eq!(walk(image.path()).len(), 0);
}

#[test]
fn every_verb_that_help_tells_of_has_a_page_and_each_shell_its_completion() {
    let directory = tempfile::tempdir().unwrap();
    let made: Said = Command::new(CUTOVER).arg("generate").arg(directory.path()).output().unwrap().into();
    made.exits(0);
    let help: Said = Command::new(CUTOVER).arg("--help").output().unwrap().into();
    let verbs = help.out.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    let verbs: Vec<&str> = verbs.into_iter().filter(|verb| !verb.starts_with('-')).collect();
    assert!(verbs.len() >= 17 && verbs.contains(&"setup"), "{verbs:?}");
    for verb in &verbs {
        let page = directory.path().join(format!("share/man/man1/cutover-{verb}.1"));
        let text =
            std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let name = format!("cutover\\-{}", verb.replace('-', "\\-"));
        assert!(text.contains(&name) && text.contains(".SH OPTIONS"), "{text}");
    }
    for file in [
        "bash-completion/completions/cutover",
        "zsh/site-functions/_cutover",
        "fish/vendor_completions.d/cutover.fish",
    ] {
        let text = std::fs::read_to_string(directory.path().join("share").join(file)).unwrap();
        assert!(verbs.iter().all(|verb| text.contains(verb)), "{file}");
    }
}
