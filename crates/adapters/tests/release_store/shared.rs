//! Directories that outlive releases.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use cutover_controller::ports::{PrepareError, Rehearsal};

use crate::{Fixture, mode};

impl Fixture {
    fn shares(&mut self, paths: &[&str]) {
        self.spec.configuration.run.shared = paths.iter().map(PathBuf::from).collect();
    }

    fn shared(&self, path: &str) -> PathBuf {
        self.directory.path().join("state/shared/shop").join(path)
    }
}

#[tokio::test]
async fn each_release_sees_the_same_directory_also_in_a_state_directory_that_was_moved() {
    let mut fixture = Fixture::new();
    fixture.shares(&["uploads", "var/db"]);
    let first = fixture.prepare().await;
    fs::write(first.directory.join("uploads/photo"), "a photo").unwrap();
    fs::write(first.directory.join("var/db/rows"), "rows").unwrap();
    fs::write(fixture.artifact.join("app"), "#!/bin/sh\n# two\n").unwrap();
    fs::create_dir(fixture.artifact.join("uploads")).unwrap();
    let second = fixture.prepare().await;
    assert_ne!(first.id, second.id);
    assert_eq!(fs::read(second.directory.join("uploads/photo")).unwrap(), b"a photo");
    assert_eq!(fs::read(fixture.shared("var/db/rows")).unwrap(), b"rows");
    assert_eq!([mode(&fixture.shared("uploads")), mode(&fixture.shared("var/db"))], [0o750, 0o750]);
    let moved = fixture.directory.path().join("moved");
    fs::rename(fixture.directory.path().join("state"), &moved).unwrap();
    let release = moved.join("releases/shop").join(second.id.as_str()).join("files");
    assert_eq!(fs::read(release.join("uploads/photo")).unwrap(), b"a photo");
}

#[tokio::test]
async fn what_the_artifact_has_at_the_place_is_never_hidden() {
    let mut fixture = Fixture::new();
    fixture.shares(&["assets"]);
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("`assets` is shared, and the artifact has `assets/page`"), "{refusal}");
    assert!(refusal.contains("state/shared/shop/assets"), "{refusal}");
    fixture.shares(&["app"]);
    assert!(fixture.refusal().await.contains("the artifact has `app`"));
    symlink("assets", fixture.artifact.join("link")).unwrap();
    fixture.shares(&["link/uploads"]);
    assert!(fixture.refusal().await.contains("`link` in the artifact is not a directory"));
    fixture.shares(&["../outside"]);
    assert!(fixture.refusal().await.contains("`..`"));
    assert!(!fixture.directory.path().join("state/shared/outside").exists());
}

#[tokio::test]
async fn a_rehearsal_refuses_what_a_release_would_and_makes_nothing() {
    let mut fixture = Fixture::new();
    fixture.shares(&["assets"]);
    let refused = fixture.store.rehearse(&fixture.spec, None).await;
    let Err(PrepareError::Wrong { reason, .. }) = refused else { panic!("it is not refused") };
    assert!(reason.contains("`assets` is shared, and the artifact has `assets/page`"), "{reason}");
    fixture.shares(&["uploads"]);
    assert!(fixture.store.rehearse(&fixture.spec, None).await.is_ok());
    assert!(!fixture.directory.path().join("state/shared").exists());
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_refused_with_the_command_that_mends_it() {
    let mut fixture = Fixture::new();
    fixture.shares(&["uploads"]);
    fixture.prepare().await;
    let directory = fixture.shared("uploads");
    let (theirs, ours) = if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&directory, Some(65534), None).unwrap();
        ("nobody", "root".to_owned())
    } else {
        // Whoever is not root finds a directory of root's instead of making one.
        fs::remove_dir(&directory).unwrap();
        symlink("/usr", &directory).unwrap();
        ("root", nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name)
    };
    let refusal = fixture.refusal().await;
    assert!(
        refusal.contains(&format!("belongs to `{theirs}`, and the service runs as `{ours}`")),
        "{refusal}"
    );
    assert!(refusal.contains(&format!("chown -R {ours} ")), "{refusal}");
    fixture.spec.configuration.run.user = Some(theirs.to_owned());
    fixture.prepare().await;
}

#[tokio::test]
async fn a_file_in_the_place_of_a_shared_directory_is_refused() {
    let mut fixture = Fixture::new();
    fixture.shares(&["uploads"]);
    fixture.prepare().await;
    fs::remove_dir(fixture.shared("uploads")).unwrap();
    fs::write(fixture.shared("uploads"), "a file").unwrap();
    assert!(fixture.refusal().await.contains("uploads` is not a directory"));
}
