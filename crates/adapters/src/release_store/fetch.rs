//! Archives that the controller fetches itself, by their checksum.
//!
//! What was fetched before a connection was cut is kept and continued. The checksum says what is right, so nothing
//! that a server says needs to be believed, and an unencrypted `http://` is no danger to what is deployed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::{ArtifactSource, Checksum};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RANGE};
use ureq::Agent;

use super::room::{self, Watch};
use super::uploads::{UploadError, Uploads};
use super::{host, wrong};
use crate::http_client;

/// A server that is silent for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);
/// All of it; less than a command line waits for its answer.
const WHOLE: Duration = Duration::from_secs(25 * 60);
/// Tries one after another that bring nothing.
const TRIES: u32 = 3;
const REDIRECTS: u32 = 5;

/// Why one try ended.
enum Ended {
    /// Trying again would end alike.
    Refused(PrepareError),
    /// Trying again may bring more.
    Cut(String),
}

/// Fetches an archive into the uploads, and says where it lies. Blocks.
pub(super) fn fetch(url: &str, sha256: &Checksum, uploads: &Uploads) -> Result<PathBuf, PrepareError> {
    let name = ArtifactSource::Url { url: url.to_owned(), sha256: sha256.clone() }.to_string();
    let deadline = Instant::now() + WHOLE;
    let partial = uploads.partial(sha256);
    let mut in_vain = 0;
    let mut begun_anew = false;
    loop {
        if let Some(content) = uploads.content(sha256, None) {
            return Ok(content);
        }
        let before = Uploads::length_of_partial(&partial);
        let ended = attempt(url, &name, &partial, deadline);
        match ended {
            Ok(()) => match uploads.finish(sha256) {
                Ok(()) => {}
                // What was here before may have been another version's beginning.
                Err(UploadError::Changed(_)) if before > 0 && !begun_anew => begun_anew = true,
                Err(UploadError::Changed(_)) => {
                    let reason = format!("what `{name}` answers does not have the SHA-256 checksum {sha256}");
                    return Err(wrong(
                        reason,
                        "correct `sha256` in cutover.toml, or find out who has changed the file",
                    ));
                }
                Err(error) => return Err(host(&partial)(io::Error::other(error))),
            },
            Err(Ended::Refused(error)) => return Err(error),
            Err(Ended::Cut(why)) => {
                let came = Uploads::length_of_partial(&partial) > before;
                in_vain = if came { 0 } else { in_vain + 1 };
                if in_vain >= TRIES || Instant::now() >= deadline {
                    let reason = format!("cannot fetch `{name}`: {why}");
                    return Err(wrong(reason, "deploy again: what has come is kept for a day and continued"));
                }
            }
        }
    }
}

fn attempt(url: &str, name: &str, partial: &Path, deadline: Instant) -> Result<(), Ended> {
    let disk = |error: io::Error| Ended::Refused(host(partial)(error));
    let mut file =
        File::options().create(true).write(true).truncate(false).mode(0o600).open(partial).map_err(disk)?;
    let here = file.metadata().map_err(disk)?.len();
    let left = deadline.saturating_duration_since(Instant::now());
    let mut request = agent(url.starts_with("https:"), left).get(url);
    if here > 0 {
        request = request.header(RANGE, format!("bytes={here}-"));
    }
    let mut response = request.call().map_err(|error| ended(name, &error))?;
    let status = response.status();
    let begins = response.headers().get(CONTENT_RANGE).and_then(|range| begin_of(range.to_str().ok()?));
    let offset = match status {
        StatusCode::PARTIAL_CONTENT if begins == Some(here) => here,
        StatusCode::OK => 0,
        // All of it is here, or what is here is longer than it: the checksum tells.
        StatusCode::RANGE_NOT_SATISFIABLE if here > 0 => return Ok(()),
        _ if status.is_server_error() => return Err(Ended::Cut(format!("it answers {status}"))),
        _ => {
            let reason = format!("cannot fetch `{name}`: it answers {status}");
            return Err(Ended::Refused(wrong(reason, "correct the `url` of `artifact` in cutover.toml")));
        }
    };
    let directory = partial.parent().unwrap_or(partial);
    let length = response.body().content_length();
    if let Some(length) = length {
        room::check(directory, length).map_err(disk)?;
    }
    file.set_len(offset).and_then(|()| file.seek(SeekFrom::Start(offset))).map_err(disk)?;
    let mut watch = Watch::new(directory);
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 64 * 1024];
    let mut came = 0;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Ended::Cut(format!("its answer was cut: {error}"))),
        };
        watch.about_to_write(count as u64).and_then(|()| file.write_all(&buffer[..count])).map_err(disk)?;
        came += count as u64;
    }
    match length {
        Some(length) if came < length => Err(Ended::Cut("its answer was cut".to_owned())),
        _ => Ok(()),
    }
}

fn ended(name: &str, error: &ureq::Error) -> Ended {
    let refused =
        |what: String, hint: &str| Ended::Refused(wrong(format!("cannot fetch `{name}`: {what}"), hint));
    match error {
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => refused(
            format!("it redirects more than {REDIRECTS} times"),
            "name the address where the file itself is",
        ),
        ureq::Error::RequireHttpsOnly(_) => refused(
            "it redirects to an address that is not https".to_owned(),
            "name the address where the file itself is",
        ),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => refused(
            "the address is malformed, or redirects to something that is no http".to_owned(),
            "correct the `url` of `artifact`",
        ),
        ureq::Error::HostNotFound => refused(
            "its host cannot be found".to_owned(),
            "correct the `url` of `artifact`, or this host's DNS",
        ),
        error => Ended::Cut(error.to_string()),
    }
}

/// The first byte of a `Content-Range: bytes 7-99/100` (RFC 9110, section 14.4).
fn begin_of(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn agent(https: bool, left: Duration) -> Agent {
    let config = http_client::builder()
        // Who began encrypted stays so.
        .https_only(https)
        .max_redirects(REDIRECTS)
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_global(Some(left))
        .build();
    config.new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_protocol_writes_it() {
        assert_eq!(begin_of("bytes 7-99/100"), Some(7));
        assert_eq!(begin_of("bytes */100"), None);
        assert_eq!(begin_of("7-99"), None);
    }
}
