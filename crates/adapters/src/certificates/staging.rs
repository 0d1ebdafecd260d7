//! Files that somebody else looks after: read when they seem to have changed, and put on the shelf if they are fit for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cutover_controller::ports::{PortError, Staged};
use cutover_core::Timestamp;
use cutover_core::certificates::CertificateFacts;
use cutover_core::tls::CertificateFiles;
use cutover_tls::Pair;

use crate::bounded_file;
use crate::certificates::{Shelf, Stamp, locked, pem};

/// Also files that seem to be the same are read again after this time: times of files can be wrong, and what is fit changes
/// with time too.
const READ_AGAIN: Duration = Duration::from_secs(600);

/// What is known of files since they were read last.
#[derive(Debug)]
pub(super) struct Known {
    looked: Looked,
    read_at: Timestamp,
    found: Result<CertificateFacts, PortError>,
}

/// What was looked at, and how it was; what cannot be looked at has no stamp.
#[derive(Debug, PartialEq, Eq)]
struct Looked {
    files: CertificateFiles,
    hosts: Vec<String>,
    stamps: [Option<Stamp>; 3],
    /// What is on the shelf, as it was left there.
    on_shelf: Option<Stamp>,
}

impl Shelf {
    /// As the port says.
    pub(super) fn stage(
        &self,
        name: &str,
        files: &CertificateFiles,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<Staged, PortError> {
        let mut looked = self.looked(name, files, hosts);
        if let Some(known) = locked(&self.staged).get(name)
            && known.looked == looked
            && now.since(known.read_at) < READ_AGAIN
            && now >= known.read_at
        {
            return known.found.clone().map(Staged::Same);
        }
        let staged = self.stage_anew(name, files, hosts, now);
        looked.on_shelf = stamp(&self.pem(name));
        let found = match &staged {
            Ok(Staged::Same(facts) | Staged::New(facts)) => Ok(facts.clone()),
            Err(error) => Err(error.clone()),
        };
        locked(&self.staged).insert(name.to_owned(), Known { looked, read_at: now, found });
        staged
    }

    /// How everything looks before it is read: what changes meanwhile is read again the next time.
    fn looked(&self, name: &str, files: &CertificateFiles, hosts: &[String]) -> Looked {
        let stamps = [stamp(&files.certificate), stamp(&files.key), files.ocsp.as_deref().and_then(stamp)];
        Looked { files: files.clone(), hosts: hosts.to_vec(), stamps, on_shelf: stamp(&self.pem(name)) }
    }

    fn stage_anew(
        &self,
        name: &str,
        files: &CertificateFiles,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<Staged, PortError> {
        let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
        let whole = pem::whole(&certificate, &key);
        let facts = judge(files, &certificate, &key, hosts, now)?;
        // What is stapled is good for speed alone: without it the certificate is served still.
        let staple = files.ocsp.as_deref().and_then(|path| {
            let read = read(path).and_then(|bytes| match bytes.first() {
                // A sequence in DER.
                Some(0x30) => Ok(bytes),
                _ => Err(PortError::new(format!("`{}` is no OCSP answer in DER", path.display()))),
            });
            read.inspect_err(|error| tracing::warn!(%error, "nothing is stapled to a certificate")).ok()
        });
        let there = |path: &Path| fs::read(path).ok();
        if there(&self.pem(name)).as_ref() == Some(&whole) && there(&self.ocsp(name)) == staple {
            return Ok(Staged::Same(facts));
        }
        self.write(name, &whole, staple.as_deref()).map(Staged::New)
    }
}

/// Whether files are fit to be served for these hosts now.
fn judge(
    files: &CertificateFiles,
    certificate: &[u8],
    key: &[u8],
    hosts: &[String],
    now: Timestamp,
) -> Result<CertificateFacts, PortError> {
    let CertificateFiles { certificate: path, key: key_path, .. } = files;
    let about = |path: &Path, what: String| PortError::new(format!("`{}`: {what}", path.display()));
    cutover_tls::Facts::of_pem(certificate).map_err(|error| about(path, error.to_string()))?;
    // The certificate can be read, so whatever is wrong now is about the key.
    let pair = Pair::from_pem(certificate, key).map_err(|error| about(key_path, error.to_string()))?;
    pair.check_time(now).map_err(|error| about(path, error.to_string()))?;
    let facts = super::facts(&pem::whole(certificate, key)).map_err(|what| about(path, what))?;
    if hosts.is_empty() || hosts.iter().any(|host| facts.concerns(host)) {
        return Ok(facts);
    }
    let list = |names: &[String]| match names {
        [] => "no host".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    Err(about(path, format!("the certificate is for {}, and not for {}", list(&facts.names), list(hosts))))
}

fn read(path: &Path) -> Result<Vec<u8>, PortError> {
    bounded_file::read(path).map_err(PortError::new)
}

/// Of the file that a link leads to, for that is what is changed when links are.
fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|found| Stamp::from(&found))
}
