use std::time::Duration;

use cutover_core::release::SecretValue;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// In the middle of what the certificates here are good for: from 2020 to 2030.
const NOW: Timestamp2025 = Timestamp2025;
struct Timestamp2025;

impl Timestamp2025 {
    fn after(&self, time: Duration) -> Timestamp {
        Timestamp::from_millis(1_735_689_600_000) + time
    }
}

struct Place {
    directory: TempDir,
    shelf: DirectoryShelf,
}

fn issue(hosts: &[&str]) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
    let chain = params.self_signed(&key).unwrap().pem();
    Issued { chain, key: SecretValue::new(key.serialize_pem()) }
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shelf = DirectoryShelf::open(directory.path(), Readers::Owner).unwrap();
        Self { directory, shelf }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn served(&self, name: &str) -> PathBuf {
        self.path("certificates/served").join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn files(&self, issued: &Issued) -> CertificateFiles {
        self.write("c.pem", &issued.chain);
        self.write("k.pem", issued.key.expose());
        CertificateFiles { certificate: self.path("c.pem"), key: self.path("k.pem"), ocsp: None }
    }

    async fn stage_for(&self, files: &CertificateFiles, host: &str) -> Result<Staged, String> {
        self.stage_at(files, host, NOW.after(Duration::ZERO)).await
    }

    async fn stage_at(&self, files: &CertificateFiles, host: &str, now: Timestamp) -> Result<Staged, String> {
        let staged = self.shelf.stage("one", files, &[host.to_owned()], now).await;
        staged.map_err(|error| error.reason.replace(&*self.directory.path().to_string_lossy(), ""))
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o777
    }
}

#[tokio::test]
async fn a_certificate_lies_there_with_its_key_in_one_file_for_its_readers_alone() {
    let place = Place::new();
    let issued = issue(&["a.dev"]);
    let facts = place.shelf.put("one", &issued).await.unwrap();
    assert_eq!(facts.names, ["a.dev"]);
    let text = fs::read_to_string(place.served("one.pem")).unwrap();
    assert!(text.contains("BEGIN CERTIFICATE") && text.contains("PRIVATE KEY"));
    assert_eq!(place.shelf.look().await.unwrap(), BTreeMap::from([("one".to_owned(), facts)]));
    let chain = place.shelf.chain("one").await.unwrap().unwrap();
    assert!(chain.contains("CERTIFICATE") && !chain.contains("KEY"));
    assert_eq!(place.shelf.chain("two").await.unwrap(), None);
    let modes = || {
        ["certificates", "certificates/served", "certificates/served/one.pem"].map(|path| place.mode(path))
    };
    assert_eq!(modes(), [0o700, 0o700, 0o600]);
    DirectoryShelf::open(place.directory.path(), Readers::Group).unwrap();
    assert_eq!(modes(), [0o750, 0o750, 0o640]);
}

#[tokio::test]
async fn what_cannot_be_served_is_neither_put_there_nor_seen_there() {
    let place = Place::new();
    let (one, other) = (issue(&["a.dev"]), issue(&["a.dev"]));
    let mixed = Issued { chain: one.chain.clone(), key: other.key.clone() };
    let error = place.shelf.put("one", &mixed).await.unwrap_err();
    assert!(error.reason.starts_with("`one` cannot be served: "), "{error}");
    place.shelf.put("one", &one).await.unwrap();
    place.write("certificates/served/one.pem", &one.chain);
    place.write("certificates/served/.two.pem.partial", &one.chain);
    assert_eq!(place.shelf.look().await.unwrap(), BTreeMap::new());
    // What was made good again is seen again.
    place.shelf.put("one", &one).await.unwrap();
    assert_eq!(place.shelf.look().await.unwrap().len(), 1);
    place.shelf.take_off("one").await.unwrap();
    place.shelf.take_off("one").await.unwrap();
    assert_eq!(place.shelf.look().await.unwrap(), BTreeMap::new());
}

#[tokio::test]
async fn what_is_remembered_is_read_again_and_what_is_damaged_is_left_out() {
    let place = Place::new();
    let files = CertificateFiles { certificate: "/c".into(), key: "/k".into(), ocsp: None };
    let wanted = cutover_core::certificates::Wanted {
        name: "one".to_owned(),
        hosts: Vec::new(),
        service: "shop".parse().unwrap(),
        source: cutover_core::certificates::Source::Files(files),
    };
    let standing = Standing::new(&wanted);
    place.shelf.record(&standing).await.unwrap();
    place.write("certificates/two.json", "{");
    fs::copy(place.path("certificates/one.json"), place.path("certificates/three.json")).unwrap();
    assert_eq!(place.shelf.recorded().await.unwrap(), [standing]);
    assert_eq!(place.mode("certificates/one.json"), 0o600);
    place.shelf.take_off("one").await.unwrap();
    assert_eq!(place.shelf.recorded().await.unwrap(), []);
}

#[tokio::test]
async fn files_are_put_there_when_they_change() {
    let place = Place::new();
    let files = place.files(&issue(&["a.dev"]));
    assert!(matches!(place.stage_for(&files, "a.dev").await, Ok(Staged::New(_))));
    assert!(matches!(place.stage_for(&files, "a.dev").await, Ok(Staged::Same(_))));
    // A controller that starts finds there what it had put there.
    let reopened = DirectoryShelf::open(place.directory.path(), Readers::Owner).unwrap();
    let again = reopened.stage("one", &files, &["a.dev".to_owned()], NOW.after(Duration::ZERO)).await;
    assert!(matches!(again, Ok(Staged::Same(_))));
    let renewed = issue(&["a.dev"]);
    place.files(&renewed);
    assert!(matches!(place.stage_for(&files, "a.dev").await, Ok(Staged::New(_))));
    let text = fs::read_to_string(place.served("one.pem")).unwrap();
    assert!(text.contains(&renewed.chain));
    // What disappears from the shelf comes back.
    fs::remove_file(place.served("one.pem")).unwrap();
    assert!(matches!(place.stage_for(&files, "a.dev").await, Ok(Staged::New(_))));
}

#[tokio::test]
async fn chain_and_key_may_lie_in_one_file_and_a_staple_beside_them() {
    let place = Place::new();
    let issued = issue(&["a.dev"]);
    place.write("both.pem", format!("{}{}", issued.key.expose(), issued.chain));
    let both = place.path("both.pem");
    let mut files =
        CertificateFiles { certificate: both.clone(), key: both, ocsp: Some(place.path("ocsp.der")) };
    place.stage_for(&files, "a.dev").await.unwrap();
    assert!(!place.served("one.ocsp").exists());
    place.write("ocsp.der", [0x30, 0x03, 0x0a, 0x01, 0x00]);
    assert!(matches!(place.stage_for(&files, "a.dev").await, Ok(Staged::New(_))));
    assert!(place.served("one.ocsp").exists());
    files.ocsp = None;
    place.stage_for(&files, "a.dev").await.unwrap();
    assert!(!place.served("one.ocsp").exists());
    let served = fs::read_to_string(place.served("one.pem")).unwrap();
    assert_eq!((served.matches("BEGIN CERT").count(), served.matches("PRIVATE KEY").count()), (1, 2));
}

/// Changes one of the files of a certificate that is on the shelf, and expects this sentence.
async fn check_refused(change: impl FnOnce(&Place), host: &str, expected: &str) {
    let place = Place::new();
    let good = issue(&["a.dev"]);
    let files = place.files(&good);
    place.stage_for(&files, "a.dev").await.unwrap();
    change(&place);
    assert_eq!(place.stage_for(&files, host).await.unwrap_err(), expected);
    // It is told as long as it is so.
    assert_eq!(place.stage_for(&files, host).await.unwrap_err(), expected);
    let served = fs::read_to_string(place.served("one.pem")).unwrap();
    assert!(served.contains(&good.chain), "the old one is served still");
    place.files(&good);
    place.stage_for(&files, "a.dev").await.unwrap();
}

#[tokio::test]
async fn what_is_not_fit_is_refused_in_a_sentence_that_names_the_file_and_the_old_one_stays() {
    let gone = |place: &Place| fs::remove_file(place.path("c.pem")).unwrap();
    check_refused(gone, "a.dev", "cannot read `/c.pem`: No such file or directory (os error 2)").await;
    let directory = |place: &Place| {
        fs::remove_file(place.path("k.pem")).unwrap();
        fs::create_dir(place.path("k.pem")).unwrap();
    };
    let place = Place::new();
    let files = place.files(&issue(&["a.dev"]));
    directory(&place);
    assert_eq!(place.stage_for(&files, "a.dev").await.unwrap_err(), "cannot read `/k.pem`: it is not a file");

    let text = |place: &Place| place.write("c.pem", "hello");
    check_refused(text, "a.dev", "`/c.pem`: there is no certificate in PEM in it").await;
    let no_key = |place: &Place| place.write("k.pem", &issue(&["a.dev"]).chain);
    check_refused(no_key, "a.dev", "`/k.pem`: there is no private key in PEM in it").await;
    let others_key = |place: &Place| place.write("k.pem", issue(&["a.dev"]).key.expose());
    check_refused(others_key, "a.dev", "`/k.pem`: the private key does not belong to the certificate").await;
    let other_host = |place: &Place| drop(place.files(&issue(&["b.dev", "c.dev"])));
    let expected = "`/c.pem`: the certificate is for `b.dev`, `c.dev`, and not for `a.dev`";
    check_refused(other_host, "a.dev", expected).await;
    let large = |place: &Place| place.write("c.pem", vec![b'x'; 17 << 20]);
    let expected = "cannot read `/c.pem`: it is larger than 16 MiB";
    check_refused(large, "a.dev", expected).await;
}

#[tokio::test]
async fn what_is_out_of_its_time_is_refused_whenever_that_comes() {
    let place = Place::new();
    let files = place.files(&issue(&["a.dev"]));
    let expired = "`/c.pem`: the certificate expired at 2030-01-01T00:00:00Z";
    let late = NOW.after(Duration::from_secs(3600 * 24 * 3650));
    assert_eq!(place.stage_at(&files, "a.dev", late).await.unwrap_err(), expired);
    // Nothing has changed but the time, and a clock may be set right.
    assert!(matches!(place.stage_for(&files, "a.dev").await, Ok(Staged::New(_))));
    let early = "`/c.pem`: the certificate is not valid before 2020-01-01T00:00:00Z";
    assert_eq!(place.stage_at(&files, "a.dev", Timestamp::default()).await.unwrap_err(), early);
    let soon = NOW.after(Duration::from_secs(60));
    place.stage_at(&files, "a.dev", soon).await.unwrap();
    assert_eq!(place.stage_at(&files, "a.dev", late).await.unwrap_err(), expired);
}
