//! The release store on a real file system.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod archives;
mod fetching;
mod shared;
mod uploads;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use cutover_adapters::release_store::DirectoryStore;
use cutover_controller::ports::{KeepReleases, Mandate, PrepareError, ReleaseStore};
use cutover_core::ReleaseId;
use cutover_core::health::HealthPolicy;
use cutover_core::release::{
    Configuration, DeploymentSpec, Release, RolloutPolicy, Route, RunPolicy, SecretSource, SecretValue,
};
use cutover_core::routing::{Timeouts, Upstream};
use tempfile::TempDir;

struct Fixture {
    directory: TempDir,
    store: DirectoryStore,
    /// The directory that is deployed at first.
    artifact: PathBuf,
    spec: DeploymentSpec,
}

/// A mandate that holds as often as this, and then no longer.
#[derive(Debug)]
struct Asked(AtomicUsize);

impl Asked {
    fn times(times: usize) -> Self {
        Self(AtomicUsize::new(times))
    }

    fn for_ever() -> Self {
        Self::times(usize::MAX)
    }
}

impl Mandate for Asked {
    fn holds(&self) -> Result<(), String> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| "another controller has taken over".to_owned())
    }
}

/// Another content of the same size, as a disk leaves it that fails.
fn damage(file: &Path) {
    let mut content = fs::read(file).unwrap();
    content[0] ^= 1;
    fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(file, content).unwrap();
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let artifact = directory.path().join("dist");
        fs::create_dir_all(artifact.join("assets")).unwrap();
        fs::write(artifact.join("app"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(artifact.join("app"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(artifact.join("assets/page"), "hello").unwrap();
        let store =
            DirectoryStore::new(&directory.path().join("state"), Arc::new(Asked::for_ever())).unwrap();
        let spec = DeploymentSpec {
            service: "shop".parse().unwrap(),
            version: "v1".parse().unwrap(),
            artifact: artifact.clone().into(),
            exclude: Vec::new(),
            configuration: Configuration {
                route: Route { hosts: Vec::new(), path: "/".to_owned(), canonical_host: None },
                command: vec!["./app".to_owned()],
                env: BTreeMap::new(),
                run: RunPolicy {
                    instances: 1,
                    user: None,
                    workdir: ".".into(),
                    stop_signal: "SIGTERM".to_owned(),
                    stop_timeout: Duration::from_secs(1),
                    shared: Vec::new(),
                },
                health: HealthPolicy::default(),
                health_deadline: Duration::from_secs(10),
                upstream: Upstream::default(),
                replay: cutover_core::routing::Replay::default(),
                drain: cutover_core::drain::Drain::default(),
                timeouts: Timeouts::default(),
                tls: cutover_core::tls::Tls::default(),
                gates: cutover_core::gates::Gates::default(),
                workers: BTreeMap::new(),
            },
            secrets: BTreeMap::from([(
                "TOKEN".to_owned(),
                SecretSource::Value(SecretValue::new("hunter2".to_owned())),
            )]),
            windows: None,
            notify: None,
            origin: None,
            rollout: RolloutPolicy {
                bake: Duration::ZERO,
                standby: Duration::ZERO,
                auto_rollback: true,
                hold: None,
                hold_requests: None,
            },
        };
        Self { directory, store, artifact, spec }
    }

    async fn prepare(&self) -> Release {
        self.store.prepare(&self.spec).await.unwrap()
    }

    async fn refusal(&self) -> String {
        match self.store.prepare(&self.spec).await.unwrap_err() {
            PrepareError::Wrong { reason, hint } => format!("{reason} ({})", hint.unwrap()),
            PrepareError::Host { path, source } => panic!("{}: {source}", path.display()),
        }
    }

    /// What lies in the store, without what was there before the first release.
    fn releases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join("state/releases")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_same_content_is_the_same_release_under_another_version() {
    let mut fixture = Fixture::new();
    let first = fixture.prepare().await;
    fixture.spec.version = "v2".parse().unwrap();
    let second = fixture.prepare().await;
    assert_eq!((&second.id, &second.directory), (&first.id, &first.directory));
    assert_eq!(second.version.as_str(), "v2");
    assert_eq!(first.artifact_bytes, 15);
    assert_eq!(fixture.releases(), ["shop"]);
}

#[tokio::test]
async fn other_content_configuration_secret_or_executable_bit_is_another_release() {
    let mut fixture = Fixture::new();
    let mut ids = vec![fixture.prepare().await.id];
    fixture.spec.configuration.env.insert("COLOR".to_owned(), "red".to_owned());
    ids.push(fixture.prepare().await.id);
    let secret = SecretSource::Value(SecretValue::new("hunter3".to_owned()));
    fixture.spec.secrets.insert("TOKEN".to_owned(), secret);
    ids.push(fixture.prepare().await.id);
    fs::write(fixture.artifact.join("assets/page"), "olleh").unwrap();
    ids.push(fixture.prepare().await.id);
    fs::set_permissions(fixture.artifact.join("assets/page"), PermissionsExt::from_mode(0o755)).unwrap();
    ids.push(fixture.prepare().await.id);
    fs::rename(fixture.artifact.join("assets/page"), fixture.artifact.join("assets/side")).unwrap();
    ids.push(fixture.prepare().await.id);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[tokio::test]
async fn a_release_is_a_read_only_copy_that_changes_no_more() {
    let fixture = Fixture::new();
    symlink("assets/page", fixture.artifact.join("link")).unwrap();
    fs::create_dir(fixture.artifact.join(".git")).unwrap();
    let release = fixture.prepare().await;
    fs::write(fixture.artifact.join("assets/page"), "changed").unwrap();
    let files = &release.directory;
    assert_eq!(fs::read(files.join("link")).unwrap(), b"hello");
    assert_eq!(fs::read_link(files.join("link")).unwrap(), Path::new("assets/page"));
    assert_eq!([mode(&files.join("app")), mode(&files.join("assets/page"))], [0o555, 0o444]);
    assert_eq!(mode(&files.join("assets")), 0o755);
    assert!(!files.join(".git").exists());
}

#[tokio::test]
async fn a_secret_is_in_its_own_file_and_nowhere_else() {
    let fixture = Fixture::new();
    let release = fixture.prepare().await;
    let directory = release.directory.parent().unwrap();
    let secret = directory.join("secrets/TOKEN");
    assert_eq!(fs::read(&secret).unwrap(), b"hunter2");
    assert_eq!([mode(&secret), mode(secret.parent().unwrap())], [0o600, 0o700]);
    let record = fs::read_to_string(directory.join("release.json")).unwrap();
    assert!(!record.contains("hunter2") && !format!("{release:?}").contains("hunter2"));
    let read: Release = serde_json::from_str(&record).unwrap();
    assert_eq!(read, release);
}

#[tokio::test]
async fn links_that_leave_the_artifact_are_refused_and_nothing_is_kept() {
    for target in ["/etc/passwd", "../secret", "assets/../../secret"] {
        let fixture = Fixture::new();
        symlink(target, fixture.artifact.join("link")).unwrap();
        let refusal = fixture.refusal().await;
        assert!(refusal.contains("dist/link` leads out of the artifact"), "{refusal}");
        assert!(fixture.releases().is_empty());
    }
}

#[tokio::test]
async fn a_link_that_leaves_by_way_of_another_is_refused() {
    let fixture = Fixture::new();
    symlink(".", fixture.artifact.join("here")).unwrap();
    fs::write(fixture.directory.path().join("outside"), "x").unwrap();
    // As text it ends inside; in truth `here` is the artifact itself, so that `..` is above it.
    symlink("here/../outside", fixture.artifact.join("link")).unwrap();
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("dist/link` leads out of the artifact"), "{refusal}");
}

#[tokio::test]
async fn a_socket_in_the_artifact_is_refused() {
    let fixture = Fixture::new();
    let _socket = std::os::unix::net::UnixListener::bind(fixture.artifact.join("socket")).unwrap();
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("dist/socket` is a socket: it is neither a file"), "{refusal}");
}

#[tokio::test]
async fn an_artifact_that_is_not_a_directory_is_refused_with_a_hint() {
    let mut fixture = Fixture::new();
    fixture.spec.artifact = fixture.directory.path().join("nowhere").into();
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("nowhere` does not exist") && refusal.contains("build it first"), "{refusal}");
    fixture.spec.artifact = fixture.directory.path().join("dist/app").into();
    assert!(fixture.refusal().await.contains("is not a directory"));
}

#[tokio::test]
async fn an_artifact_around_the_state_directory_leaves_it_out() {
    let mut fixture = Fixture::new();
    fixture.spec.artifact = fixture.directory.path().to_owned().into();
    let first = fixture.prepare().await;
    assert!(first.directory.join("dist/app").exists() && !first.directory.join("state").exists());
    assert_eq!(fixture.prepare().await.id, first.id);
}

#[tokio::test]
async fn partial_copies_of_a_crash_are_removed_at_the_next_start() {
    let fixture = Fixture::new();
    let partial = fixture.directory.path().join("state/releases/.unfinished-1");
    fs::create_dir_all(partial.join("files")).unwrap();
    let release = fixture.prepare().await;
    let again = fixture.another_store();
    assert!(!partial.exists() && release.directory.exists());
    assert_eq!(again.prepare(&fixture.spec).await.unwrap(), release);
}

#[tokio::test]
async fn the_same_release_made_twice_at_once_is_one() {
    let fixture = Fixture::new();
    let (one, two) = tokio::join!(fixture.prepare(), fixture.prepare());
    assert_eq!(one, two);
    assert_eq!(fixture.releases(), ["shop"]);
}

/// Makes a release of each text and says when each was asked for, the first as the oldest.
async fn releases_of(fixture: &mut Fixture, texts: &[&str]) -> Vec<Release> {
    let mut made = Vec::new();
    for text in texts {
        fixture.spec.configuration.env.insert("TEXT".to_owned(), (*text).to_owned());
        made.push(fixture.prepare().await);
    }
    for (minute, release) in made.iter().enumerate() {
        let directory = fs::File::open(release.directory.parent().unwrap()).unwrap();
        let asked_for = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minute as u64);
        directory.set_modified(asked_for).unwrap();
    }
    made
}

impl Fixture {
    /// What a controller that was started again has; nothing is being prepared any more.
    fn another_store(&self) -> DirectoryStore {
        self.store_with(Asked::for_ever()).unwrap()
    }

    fn store_with(&self, mandate: Asked) -> io::Result<DirectoryStore> {
        DirectoryStore::new(&self.directory.path().join("state"), Arc::new(mandate))
    }

    async fn prune(&self, store: &DirectoryStore, needed: &[&Release], keep: usize) -> usize {
        let needed: Vec<ReleaseId> = needed.iter().map(|release| release.id.clone()).collect();
        store.prune(&self.spec.service, &needed, newest(keep)).await.unwrap()
    }

    async fn observed(&self) -> Vec<ReleaseId> {
        let mut observed = self.store.observe().await.unwrap();
        observed.sort();
        observed
    }
}

fn newest(count: usize) -> KeepReleases {
    KeepReleases { count, age: Duration::ZERO }
}

fn ids(releases: &[&Release]) -> Vec<ReleaseId> {
    let mut ids: Vec<_> = releases.iter().map(|release| release.id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_release_is_observed_as_long_as_no_part_of_it_is_missing_and_made_whole_by_the_next_prepare() {
    let fixture = Fixture::new();
    assert_eq!(fixture.observed().await, []);
    let release = fixture.prepare().await;
    let directory = release.directory.parent().unwrap();
    for part in ["files", "secrets", "secrets/TOKEN", "release.json"] {
        assert_eq!(fixture.observed().await, ids(&[&release]));
        let part = directory.join(part);
        if part.is_dir() { fs::remove_dir_all(&part) } else { fs::remove_file(&part) }.unwrap();
        assert_eq!(fixture.observed().await, [], "without {}", part.display());
        assert_eq!(fixture.prepare().await, release);
        assert!(part.exists(), "{}", part.display());
    }
    assert_eq!(fs::read(release.directory.join("app")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(fs::read(directory.join("secrets/TOKEN")).unwrap(), b"hunter2");
    assert_eq!(fixture.releases(), ["shop"]);
    fs::write(directory.join("release.json"), "{").unwrap();
    assert_eq!(fixture.observed().await, []);
    fs::remove_dir_all(directory).unwrap();
    assert_eq!(fixture.observed().await, []);
}

#[tokio::test]
async fn a_release_that_lacks_a_part_keeps_the_files_that_its_instances_may_run_from() {
    let fixture = Fixture::new();
    let release = fixture.prepare().await;
    let file = || fs::metadata(release.directory.join("app")).unwrap().ino();
    let former = file();
    fs::remove_file(release.directory.with_file_name("secrets").join("TOKEN")).unwrap();
    fixture.prepare().await;
    assert_eq!(file(), former);
}

#[tokio::test]
async fn a_release_that_was_asked_for_within_the_time_stays_whatever_the_count() {
    let mut fixture = Fixture::new();
    let made = releases_of(&mut fixture, &["old", "new"]).await;
    let directory = fs::File::open(made[1].directory.parent().unwrap()).unwrap();
    directory.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let store = fixture.another_store();
    let keep = KeepReleases { count: 0, age: Duration::from_secs(7200) };
    assert_eq!(store.prune(&fixture.spec.service, &[], keep).await.unwrap(), 1);
    assert_eq!(fixture.observed().await, ids(&[&made[1]]));
    let keep = KeepReleases { count: 0, age: Duration::from_secs(1800) };
    assert_eq!(store.prune(&fixture.spec.service, &[], keep).await.unwrap(), 1);
}

#[tokio::test]
async fn old_releases_are_removed_with_their_secrets_except_the_needed_and_the_newest() {
    let mut fixture = Fixture::new();
    let made = releases_of(&mut fixture, &["a", "b", "c", "d", "e"]).await;
    let [a, b, c, d, e] = made.as_slice() else { panic!("five") };
    let store = fixture.another_store();
    assert_eq!(fixture.prune(&store, &[a, d], 1).await, 2);
    assert_eq!(fixture.observed().await, ids(&[a, d, e]));
    for gone in [b, c] {
        assert!(!gone.directory.parent().unwrap().exists());
    }
    assert_eq!(fixture.releases(), ["shop"]);
    assert_eq!(fixture.prune(&store, &[a, d], 1).await, 0);
    assert_eq!(store.prune(&"bank".parse().unwrap(), &[], newest(0)).await.unwrap(), 0);
    assert_eq!(fixture.prune(&store, &[], 0).await, 3);
    assert_eq!(fixture.observed().await, []);
}

#[tokio::test]
async fn a_release_that_was_just_prepared_is_kept_and_counts_as_the_newest() {
    let mut fixture = Fixture::new();
    let made = releases_of(&mut fixture, &["a", "b", "c"]).await;
    let [a, b, c] = made.as_slice() else { panic!("three") };
    // All three may be about to be deployed by this controller.
    assert_eq!(fixture.prune(&fixture.store, &[], 0).await, 0);
    // This one will know only the first, which is asked for again.
    let store = fixture.another_store();
    fixture.spec.configuration.env.insert("TEXT".to_owned(), "a".to_owned());
    assert_eq!(store.prepare(&fixture.spec).await.unwrap(), *a);
    assert_eq!(fixture.prune(&store, &[], 2).await, 1);
    assert_eq!(fixture.observed().await, ids(&[a, c]));
    assert_eq!(fixture.prune(&store, &[], 0).await, 1);
    assert_eq!(fixture.observed().await, ids(&[a]));
    assert!(!b.directory.exists());
}

#[tokio::test]
async fn what_a_crash_left_of_a_removal_is_deleted_by_the_next_start_and_the_next_removal() {
    let fixture = Fixture::new();
    let release = fixture.prepare().await;
    let leftover = fixture.directory.path().join("state/releases/.removed-shop-0123456789abcdef");
    let make = || {
        fs::create_dir_all(leftover.join("secrets")).unwrap();
        fs::write(leftover.join("secrets/TOKEN"), "hunter2").unwrap();
    };
    make();
    let store = fixture.another_store();
    assert!(!leftover.exists());
    make();
    assert_eq!(fixture.prune(&store, &[&release], 0).await, 0);
    assert!(!leftover.exists());
    assert_eq!(fixture.observed().await, ids(&[&release]));
}

#[tokio::test]
async fn a_release_that_is_prepared_while_it_is_removed_is_there_afterwards() {
    let fixture = Fixture::new();
    fixture.prepare().await;
    for _ in 0..20 {
        let store = fixture.another_store();
        let (release, _) = tokio::join!(store.prepare(&fixture.spec), fixture.prune(&store, &[], 0));
        assert_eq!(fixture.observed().await, ids(&[&release.unwrap()]));
    }
}

#[tokio::test]
async fn a_controller_that_is_replaced_while_it_removes_old_releases_removes_no_further_one() {
    let mut fixture = Fixture::new();
    let made = releases_of(&mut fixture, &["a", "b", "c"]).await;
    let [a, b, c] = made.as_slice() else { panic!("three") };
    let check = async |times, expected: &[&Release]| {
        let store = fixture.store_with(Asked::times(times)).unwrap();
        let refusal = store.prune(&fixture.spec.service, &[], newest(0)).await.unwrap_err().reason;
        assert_eq!(refusal, "cannot remove old releases of `shop`: another controller has taken over");
        assert_eq!(fixture.observed().await, ids(expected));
    };
    check(0, &[a, b, c]).await;
    check(2, &[a]).await;
    assert_eq!(fixture.releases(), ["shop"]);
}

#[tokio::test]
async fn a_controller_that_was_replaced_before_it_opened_the_store_deletes_nothing_that_another_makes() {
    let fixture = Fixture::new();
    for name in [".unfinished-0123456789abcdef", ".removed-shop-0123456789abcdef"] {
        let path = fixture.directory.path().join("state/releases").join(name);
        fs::create_dir(&path).unwrap();
        assert!(fixture.store_with(Asked::times(0)).is_err());
        assert!(path.exists());
        fixture.store_with(Asked::times(1)).unwrap();
        assert!(!path.exists());
    }
}
