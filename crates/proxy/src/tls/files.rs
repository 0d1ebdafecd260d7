//! Certificates as they lie in files: looked at again and again, taken when they are good, kept when what comes after is not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cutover_core::Timestamp;
use cutover_core::routing::TlsListeners;
use cutover_core::statistics::CertificateReport;
use cutover_core::tls::CertificateFiles;
use cutover_tls::Pair;
use rustix::fs::OFlags;

/// What tells that a file is another one than before: nanosecond of its last change, size, inode.
pub(crate) type Stamp = Option<(i64, i64, u64, u64)>;

/// The stamp of a file; `None` if it cannot be asked.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let data = fs::metadata(path).ok()?;
    Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
}

/// More than any list of revoked certificates that is worth reading.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads a file, with its name in the error. Never waits: whoever names a pipe or a device must not hold up the thread on
/// which traffic is moved.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let refused = |why: &str| format!("cannot read `{}`: {why}", path.display());
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "; the proxy's user must be able to read it",
            _ => "",
        };
        refused(&format!("{error}{hint}"))
    };
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = fs::File::options().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(refused("it is no file"));
    }
    if found.len() > LARGEST {
        return Err(refused("it is larger than 16 MiB"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The certificates of all files.
#[derive(Default)]
pub(super) struct Files {
    held: BTreeMap<PathBuf, Held>,
    /// The routed hosts, as they were at the last look.
    hosts: Hosts,
}

struct Held {
    files: CertificateFiles,
    stamps: [Stamp; 3],
    /// The last one that was good.
    pair: Option<Pair>,
    problem: Option<String>,
    /// Its place among those that are listed; others come after them.
    place: usize,
    is_listed: bool,
}

/// The hosts that are routed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// A service takes every host, or nothing is routed yet.
    pub(super) any: bool,
    pub(super) named: Vec<String>,
}

impl Hosts {
    fn have_use_for(&self, pair: &Pair) -> bool {
        self.any || self.named.iter().any(|host| pair.facts().is_for(host))
    }
}

impl Files {
    /// Looks at all files; whether what is shown has to change.
    pub(super) fn look(&mut self, settings: &TlsListeners, hosts: Hosts, now: Timestamp) -> bool {
        let other_hosts = self.hosts != hosts;
        self.hosts = hosts;
        let mut wanted: Vec<(CertificateFiles, bool)> =
            settings.certificates.iter().map(|files| (files.clone(), true)).collect();
        if let Some(directory) = &settings.directory {
            wanted.extend(bundles(directory).into_iter().map(|files| (files, false)));
        }
        let gone = |path: &PathBuf| !wanted.iter().any(|(files, _)| files.certificate == *path);
        let before = self.held.len();
        // What is listed is never taken away; what lay in the directory was taken off by whoever put it there.
        self.held.retain(|path, held| held.is_listed || !gone(path));
        let mut changed = self.held.len() != before;
        for (place, (files, is_listed)) in wanted.into_iter().enumerate() {
            let held = self.held.entry(files.certificate.clone()).or_insert_with(|| Held {
                files: files.clone(),
                stamps: [None; 3],
                pair: None,
                problem: None,
                place,
                is_listed,
            });
            held.place = place;
            if held.files != files {
                // What is stapled has come or gone.
                (held.files, held.stamps) = (files, [None; 3]);
            }
            let again = held.problem.is_some() && (other_hosts || held.pair.is_none());
            changed |= held.look(&self.hosts, now, again);
        }
        changed
    }

    /// Those that are shown, what is listed first.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        let mut held: Vec<&Held> = self.held.values().collect();
        held.sort_by_key(|held| (!held.is_listed, held.place));
        held.into_iter().filter_map(|held| held.pair.as_ref())
    }

    pub(super) fn reports(&self) -> Vec<CertificateReport> {
        let report = |held: &Held| CertificateReport {
            file: held.files.certificate.clone(),
            names: held.pair.as_ref().map(|pair| pair.facts().names.clone()).unwrap_or_default(),
            not_after: held.pair.as_ref().map(|pair| pair.facts().not_after),
            fingerprint: held.pair.as_ref().map(|pair| pair.facts().fingerprint.clone()),
            problem: held.problem.clone(),
        };
        self.held.values().map(report).collect()
    }
}

impl Held {
    fn look(&mut self, hosts: &Hosts, now: Timestamp, again: bool) -> bool {
        let CertificateFiles { certificate, key, ocsp } = &self.files;
        let stamps = [stamp(certificate), stamp(key), ocsp.as_deref().and_then(stamp)];
        if stamps == self.stamps && !again {
            return false;
        }
        self.stamps = stamps;
        let outcome = self.read(hosts, now);
        let path = certificate.display();
        match outcome {
            Ok(pair) => {
                self.problem = None;
                tracing::info!(%path, names = ?pair.facts().names, until = %pair.facts().not_after, "this certificate is shown from now on");
                self.pair = Some(pair);
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    let kept = if self.pair.is_some() { "; the one before it is still shown" } else { "" };
                    tracing::warn!(%path, "a certificate is not used: {problem}{kept}");
                }
                self.problem = Some(problem);
            }
        }
        true
    }

    fn read(&self, hosts: &Hosts, now: Timestamp) -> Result<Pair, String> {
        let CertificateFiles { certificate, key, ocsp } = &self.files;
        let chain = read(certificate)?;
        let secret = if key == certificate { chain.clone() } else { read(key)? };
        // Without it the certificate is as good.
        let staple = ocsp.as_deref().map(read).transpose().unwrap_or_else(|problem| {
            tracing::warn!("nothing is stapled to `{}`: {problem}", certificate.display());
            None
        });
        let staple = staple.filter(|staple| !staple.is_empty());
        let of = |error: cutover_tls::PairError| {
            let keys = if key == certificate { String::new() } else { format!(" with `{}`", key.display()) };
            format!("`{}`{keys}: {error}", certificate.display())
        };
        let pair = Pair::with_staple(&chain, &secret, staple).map_err(of)?;
        // Who put a bundle into the directory has seen to it, and one that expires there is shown until there is a better.
        if !self.is_listed {
            return Ok(pair);
        }
        pair.check_time(now).map_err(of)?;
        if !hosts.have_use_for(&pair) {
            let names = pair.facts().names.join("`, `");
            return Err(format!(
                "`{}`: the certificate is for `{names}`, and no routed host is one of these",
                certificate.display()
            ));
        }
        Ok(pair)
    }
}

/// Every `NAME.pem` of the directory, in the order of their names. One that cannot be read has none.
fn bundles(directory: &Path) -> Vec<CertificateFiles> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .collect();
    paths.sort();
    let bundle = |path: PathBuf| {
        let ocsp = Some(path.with_extension("ocsp")).filter(|staple| staple.exists());
        CertificateFiles { certificate: path.clone(), key: path, ocsp }
    };
    paths.into_iter().map(bundle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        files: Files,
        hosts: Hosts,
    }

    impl Place {
        fn new() -> Self {
            let hosts = Hosts { any: false, named: vec!["a.example".to_owned()] };
            Self { directory: tempfile::tempdir().unwrap(), files: Files::default(), hosts }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn settings(&self) -> TlsListeners {
            let certificates = vec![CertificateFiles {
                certificate: self.path("cert.pem"),
                key: self.path("key.pem"),
                ocsp: None,
            }];
            TlsListeners { certificates, ..TlsListeners::default() }
        }

        fn write(&self, host: &str, days: i64) -> rcgen::KeyPair {
            let mut parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
            parameters.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(10);
            parameters.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
            let key = rcgen::KeyPair::generate().unwrap();
            fs::write(self.path("cert.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
            fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
            key
        }

        fn look(&mut self) -> (Option<Vec<String>>, Option<String>) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let now = Timestamp::from_millis(u64::try_from(now.as_millis()).unwrap());
            self.files.look(&self.settings(), self.hosts.clone(), now);
            let report = self.files.reports().remove(0);
            (self.files.pairs().next().map(|pair| pair.facts().names.clone()), report.problem)
        }

        /// What is shown is still that of `a.example`, and the problem says this.
        fn check_refused(&mut self, expected: &str) {
            let (names, problem) = self.look();
            assert_eq!(names, Some(vec!["a.example".to_owned()]));
            let problem = problem.expect(expected);
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn whatever_is_wrong_with_new_files_is_told_and_the_old_certificate_stays() {
        let mut place = Place::new();
        place.write("a.example", 10);
        assert_eq!(place.look(), (Some(vec!["a.example".to_owned()]), None));
        fs::write(place.path("key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        place.check_refused("the private key does not belong to the certificate");
        place.write("a.example", -1);
        place.check_refused("the certificate expired at");
        place.write("b.example", 10);
        place.check_refused("is for `b.example`, and no routed host is one of these");
        fs::write(place.path("cert.pem"), "nothing").unwrap();
        place.check_refused("there is no certificate in PEM in it");
        place.write("a.example", 10);
        fs::write(place.path("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .unwrap();
        place.check_refused("the private key cannot be used");
        fs::remove_file(place.path("cert.pem")).unwrap();
        place.check_refused("cannot read");
        place.write("a.example", 20);
        assert_eq!(place.look(), (Some(vec!["a.example".to_owned()]), None));
    }

    #[test]
    fn a_certificate_for_a_host_that_is_routed_later_is_taken_then() {
        let mut place = Place::new();
        place.write("b.example", 10);
        assert_eq!(place.look().0, None);
        place.hosts.named.push("b.example".to_owned());
        assert_eq!(place.look(), (Some(vec!["b.example".to_owned()]), None));
    }

    #[test]
    fn what_is_no_file_holds_up_nobody() {
        let place = Place::new();
        let pipe = place.path("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(read(&pipe).unwrap_err().contains("it is no file"));
        assert!(read(Path::new("/dev/zero")).unwrap_err().contains("it is no file"));
        assert!(read(place.directory.path()).unwrap_err().contains("it is no file"));
    }

    #[test]
    fn an_answer_to_be_stapled_comes_and_goes_with_its_file() {
        let mut place = Place::new();
        place.write("a.example", 10);
        let served = place.path("served");
        fs::create_dir(&served).unwrap();
        let bundle = |place: &Place| {
            let both = ["cert.pem", "key.pem"].map(|name| fs::read_to_string(place.path(name)).unwrap());
            fs::write(served.join("a.pem"), both.concat()).unwrap();
        };
        bundle(&place);
        let settings = TlsListeners { directory: Some(served.clone()), ..TlsListeners::default() };
        let stapled = |place: &mut Place| {
            place.files.look(&settings, place.hosts.clone(), Timestamp::default());
            let shown = place.files.pairs().next().unwrap();
            (shown.certified().ocsp.clone(), shown.facts().fingerprint.clone())
        };
        let (none, first) = stapled(&mut place);
        assert_eq!(none, None);
        fs::write(served.join("a.ocsp"), b"answer").unwrap();
        assert_eq!(stapled(&mut place), (Some(b"answer".to_vec()), first.clone()));
        fs::remove_file(served.join("a.ocsp")).unwrap();
        place.write("a.example", 20);
        bundle(&place);
        let (none, second) = stapled(&mut place);
        assert_eq!(none, None);
        assert_ne!(second, first);
    }

    #[test]
    fn the_key_is_never_told() {
        let mut place = Place::new();
        let key = place.write("a.example", 10);
        let damaged = key.serialize_pem().replace("-----END", "!-----END");
        fs::write(place.path("key.pem"), &damaged).unwrap();
        let problem = place.look().1.unwrap();
        let secret: String = damaged.lines().nth(1).unwrap().to_owned();
        assert!(!problem.contains(&secret[..8]), "{problem}");
    }
}
