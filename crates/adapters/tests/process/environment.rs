//! What a program finds around it, and what it is hidden from.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_controller::ports::DeploymentExecutor;
use cutover_core::release::SecretReference;

use crate::host::{Host, until};

const SHOW: &str =
    "tr '\\0' '\\n' < /proc/$$/environ | sort\necho \"words: $*\"\npwd\necho end\nexec sleep 1000";

#[tokio::test]
async fn the_environment_is_clean_and_a_secret_is_nowhere_else() {
    let mut host = Host::with_script(SHOW);
    let release = host.directory.path().join("state/releases/shop/0123456789abcdef");
    fs::write(release.join("secrets/TOKEN"), "hunter2").unwrap();
    fs::create_dir(release.join("files/work")).unwrap();
    host.release.secrets = vec![SecretReference { name: "TOKEN".to_owned(), fingerprint: "f".to_owned() }];
    let configuration = &mut host.release.configuration;
    configuration.run.workdir = "work".into();
    configuration.command = ["../app", "{port}", "{version}-{environment}"].map(str::to_owned).to_vec();
    configuration.env = [("URL".to_owned(), "http://localhost:{port}/{version}".to_owned())].into();
    let port = host.provision(&["a"]).await.unwrap()[0].address.port();
    until("it has told", || async { host.lines("a").await.last().is_some_and(|it| it == "end") }).await;

    let home = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().dir;
    let live = host.directory.path().canonicalize().unwrap().join("state/live/shop/green");
    let expected = [
        "CUTOVER_ENVIRONMENT=green".to_owned(),
        format!("CUTOVER_INSTANCE={}", host.id("a")),
        format!("CUTOVER_LIVE_FILE={}", live.display()),
        "CUTOVER_SERVICE=shop".to_owned(),
        format!("CUTOVER_STATE_ID={}", host.state_id()),
        "CUTOVER_VERSION=v1".to_owned(),
        format!("HOME={}", home.display()),
        "LANG=C.UTF-8".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("PORT={port}"),
        "TOKEN=hunter2".to_owned(),
        format!("URL=http://localhost:{port}/v1"),
        format!("words: {port} v1-green"),
        release.join("files/work").display().to_string(),
        "end".to_owned(),
    ];
    assert_eq!(host.lines("a").await, expected);

    for entry in fs::read_dir(host.instance("a")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            assert!(!fs::read_to_string(&path).unwrap().contains("hunter2"), "{}", path.display());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
    for who in ["supervisor", "program"] {
        let words = fs::read(format!("/proc/{}/cmdline", host.pid("a", who))).unwrap();
        assert!(!String::from_utf8_lossy(&words).contains("hunter2"));
    }
    assert_eq!(fs::metadata(host.instance("a")).unwrap().permissions().mode() & 0o777, 0o700);
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_program_runs_as_its_user_without_our_groups_and_may_write_to_its_standard_output_by_name() {
    let script = "id -u\nid -G\necho by name > /dev/stdout\necho end\nexec sleep 1000";
    let mut host = Host::with_script(script);
    // Only root can switch; for others their own user is the one that works.
    let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    let name = if own.uid.is_root() { "nobody".to_owned() } else { own.name };
    let user = nix::unistd::User::from_name(&name).unwrap().unwrap();
    host.release.configuration.run.user = Some(name);
    host.executor.preflight(&"shop".parse().unwrap(), &host.release).await.unwrap();
    host.provision(&["a"]).await.unwrap();
    until("it has told", || async { host.lines("a").await.last().is_some_and(|it| it == "end") }).await;
    let lines = host.lines("a").await;
    assert_eq!(lines[0], user.uid.to_string());
    if own.uid.is_root() {
        assert_eq!(lines[1], user.gid.to_string());
    }
    assert_eq!(lines[2], "by name");
    host.stop(&["a"]).await;
}
