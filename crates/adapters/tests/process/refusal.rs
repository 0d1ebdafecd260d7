//! What cannot be started is told in one sentence.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_controller::ports::DeploymentExecutor;

use crate::host::{Host, STAY};

/// Expects the same sentence from the check before and from the attempt.
async fn check(host: &Host, expected: &str) {
    let preflight = host.executor.preflight(&"shop".parse().unwrap(), &host.release).await;
    assert_eq!(preflight.unwrap_err().reason, expected);
    let provision = host.provision(&["a"]).await;
    assert_eq!(
        provision.unwrap_err().reason,
        format!("instance `{}` cannot be started: {expected}", host.id("a"))
    );
    assert!(host.running().await.is_empty());
    host.stop(&["a"]).await;
    assert!(!host.instance("a").exists());
}

#[tokio::test]
async fn a_missing_command_is_told_with_its_path() {
    let mut host = Host::with_script(STAY);
    host.release.configuration.command = vec!["./shop".to_owned()];
    let path = host.release.directory.join("shop");
    check(&host, &format!("the command `{}` does not exist", path.display())).await;
}

#[tokio::test]
async fn a_command_that_is_not_executable_is_told_with_its_path() {
    let host = Host::with_script(STAY);
    let path = host.release.directory.join("app");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let path = path.display();
    let hint = "`chmod +x` it before it is deployed";
    check(&host, &format!("the command `{path}` is not executable; {hint}")).await;
}

#[tokio::test]
async fn an_unknown_user_is_named() {
    let mut host = Host::with_script(STAY);
    host.release.configuration.run.user = Some("no-such-user".to_owned());
    check(&host, "there is no user `no-such-user` on this host").await;
}

#[tokio::test]
async fn a_script_with_a_missing_interpreter_is_explained() {
    let host = Host::with_script(STAY);
    let path = host.release.directory.join("app");
    fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    let reason = host.provision(&["a"]).await.unwrap_err().reason;
    assert!(reason.contains(&format!("cannot run `{}`: its interpreter", path.display())), "{reason}");
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn a_missing_secret_file_is_named() {
    let mut host = Host::with_script(STAY);
    let secret =
        cutover_core::release::SecretReference { name: "TOKEN".to_owned(), fingerprint: String::new() };
    host.release.secrets = vec![secret];
    let reason = host.provision(&["a"]).await.unwrap_err().reason;
    assert!(reason.contains("cannot read the secret `TOKEN` from"), "{reason}");
    host.stop(&["a"]).await;
}

#[tokio::test]
async fn the_preflight_of_a_good_release_passes() {
    let host = Host::with_script(STAY);
    host.executor.preflight(&"shop".parse().unwrap(), &host.release).await.unwrap();
}

#[tokio::test]
async fn instances_that_run_already_are_not_needed_again_and_those_that_do_not_are_measured_by_them() {
    let mut host = Host::with_script(STAY);
    host.release.configuration.run.instances = 2;
    host.provision(&["a", "b"]).await.unwrap();
    let service = "shop".parse().unwrap();
    host.executor.preflight(&service, &host.release).await.unwrap();
    // So many more of that size are in no host.
    host.release.configuration.run.instances = u32::MAX;
    let reason = host.executor.preflight(&service, &host.release).await.unwrap_err().reason;
    assert!(reason.contains(&format!("of memory for {} instances of", u32::MAX - 2)), "{reason}");
    // An environment that is put back beside the live one is another release of the same size.
    host.release.id = "fedcba9876543210".parse().unwrap();
    let reason = host.executor.preflight(&service, &host.release).await.unwrap_err().reason;
    assert!(reason.contains(&format!("of memory for {} instances of", u32::MAX)), "{reason}");
    host.release.configuration.run.instances = 2;
    host.executor.preflight(&service, &host.release).await.unwrap();
    host.stop(&["a", "b"]).await;
}

#[tokio::test]
async fn files_of_another_state_directory_are_never_used() {
    let host = Host::with_script(STAY);
    let restored = host.directory.path().join("restored");
    fs::create_dir_all(restored.join("releases")).unwrap();
    let executor = host.executor_at("restored");
    let preflight = executor.preflight(&"shop".parse().unwrap(), &host.release).await.unwrap_err();
    let provision = host.provision_by(&executor, &["a"]).await.unwrap_err();
    for refusal in [preflight, provision] {
        assert!(
            refusal.reason.contains("are missing") && refusal.reason.contains("deploy again"),
            "{refusal}"
        );
    }
    assert!(executor.observe().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_shared_directory_that_no_backup_brought_is_made_before_a_start() {
    let mut host = Host::with_script(STAY);
    host.release.configuration.run.shared = vec!["uploads".into(), "var/db".into()];
    host.provision(&["a"]).await.unwrap();
    for path in ["uploads", "var/db"] {
        let made = fs::metadata(host.directory.path().join("state/shared/shop").join(path)).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o750);
    }
    host.stop(&["a"]).await;
}
