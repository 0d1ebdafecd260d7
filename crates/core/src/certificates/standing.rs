//! How one certificate stands: what is remembered of it over restarts, shown to people, and decided by.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificates::facts::{CertificateFacts, Window};
use crate::certificates::retry::{LONGEST, pause};
use crate::certificates::wanted::{Source, Wanted};
use crate::names::ServiceName;
use crate::release::SecretSource;
use crate::timestamp::Timestamp;
use crate::tls::Acme;

/// After a certificate was had, it is not ordered again for this long whatever becomes of it on the shelf: authorities give
/// only a few of the same in a week. One that lives only for hours rests for a sixth of its life at most.
const REST: Duration = Duration::from_secs(3600);
/// One that was given but lost before it was on the shelf is not ordered again for this long, however often that happens:
/// Let's Encrypt gives five of the same in a week.
pub const LOST: Duration = Duration::from_secs(36 * 3600);
/// How often an authority is asked for its window, whatever it says itself (RFC 9773, section 4.3).
const ASK_WINDOW: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
/// When one is asked again that could not answer.
const ASK_WINDOW_AFTER_FAILURE: Duration = Duration::from_secs(6 * 3600);

/// From whom a certificate comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// From an authority that speaks ACME.
    Acme,
    /// From files that somebody else looks after.
    Files,
}

impl SourceKind {
    /// The word used in JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Files => "files",
        }
    }
}

/// Why a certificate is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Absent,
    /// Its time is over.
    Expired,
    /// It is not for all hosts that are wanted.
    OtherHosts,
    /// Another authority gave it.
    OtherAuthority,
    /// It is time to renew it.
    Renewal,
    /// A person wants it now.
    Asked,
}

impl Why {
    /// For logs and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Absent => "there is none",
            Self::Expired => "it has expired",
            Self::OtherHosts => "the hosts have changed",
            Self::OtherAuthority => "the authority has changed",
            Self::Renewal => "it is time to renew it",
            Self::Asked => "somebody asked for it",
        }
    }
}

/// How a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it is called.
    pub name: String,
    /// The first service that wants it, or wanted it last.
    pub service: ServiceName,
    /// The hosts that it shall be for; of files: empty for every host.
    pub hosts: Vec<String>,
    /// From whom it comes.
    pub source: SourceKind,
    /// The address of the authority's directory, or the path of the certificate.
    pub from: String,
    /// Whether anybody wants it still.
    #[serde(default)]
    pub wanted: bool,
    /// What is on the shelf.
    #[serde(default)]
    pub served: Option<CertificateFacts>,
    /// The directory of the authority that gave it.
    #[serde(default)]
    pub issued_by: Option<String>,
    /// When it is renewed if nothing happens before.
    #[serde(default)]
    pub renew_at: Option<Timestamp>,
    /// When its authority would like it to be renewed.
    #[serde(default)]
    pub window: Option<Window>,
    /// When the authority is asked for that again.
    #[serde(default)]
    pub ask_window_at: Option<Timestamp>,
    /// When it was last ordered, or its files were last found to be wrong.
    #[serde(default)]
    pub last_attempt: Option<Timestamp>,
    /// What came of it, if that was not good.
    #[serde(default)]
    pub last_error: Option<String>,
    /// It is not ordered before then, because the last time it failed or was not answered.
    #[serde(default)]
    pub next_attempt: Option<Timestamp>,
    /// The authority itself wants to be left in peace until then, whatever else has a pause forgiven.
    #[serde(default)]
    pub peace_until: Option<Timestamp>,
    /// How often it failed in a row; an order counts from its beginning, so that one that nobody survives counts too.
    #[serde(default)]
    pub failures: u32,
    /// It is not ordered before then, because there was one a short while ago.
    #[serde(default)]
    pub rests_until: Option<Timestamp>,
    /// A person wants it to be ordered now.
    #[serde(default)]
    pub asked_for: bool,
    /// Digest of what was ordered, and how: a change is a new beginning.
    #[serde(default)]
    pub order: Option<String>,
}

impl Standing {
    /// Of what has never been ordered.
    #[must_use]
    pub fn new(wanted: &Wanted) -> Self {
        let (source, from, order) = described(wanted);
        Self {
            name: wanted.name.clone(),
            service: wanted.service.clone(),
            hosts: wanted.hosts.clone(),
            source,
            from,
            wanted: true,
            served: None,
            issued_by: None,
            renew_at: None,
            window: None,
            ask_window_at: None,
            last_attempt: None,
            last_error: None,
            next_attempt: None,
            peace_until: None,
            failures: 0,
            rests_until: None,
            asked_for: false,
            order,
        }
    }

    /// Takes in what is wanted now. If that is not what was ordered, or is to be had otherwise, nothing is waited for but the
    /// peace that the same authority wants.
    pub fn want(&mut self, wanted: &Wanted) {
        let (source, from, order) = described(wanted);
        if self.from != from {
            self.peace_until = None;
        }
        if self.order != order || self.source != source {
            self.forgive();
        }
        self.wanted = true;
        self.service.clone_from(&wanted.service);
        self.hosts.clone_from(&wanted.hosts);
        (self.source, self.from, self.order) = (source, from, order);
    }

    /// Has it ordered now, whatever it waits for but the peace that the authority wants.
    pub fn ask(&mut self) {
        self.forgive();
        self.asked_for = true;
    }

    fn forgive(&mut self) {
        (self.failures, self.next_attempt, self.rests_until) = (0, self.peace_until, None);
    }

    /// Takes in what is really on the shelf. One that is new there, of which it was not recorded how it came, is what was
    /// ordered last: that order did not fail.
    pub fn see(&mut self, served: Option<CertificateFacts>, fraction: f64) {
        if self.served == served {
            return;
        }
        (self.window, self.ask_window_at) = (None, None);
        let ordered = served.as_ref().filter(|_| self.source == SourceKind::Acme);
        self.issued_by = ordered.map(|_| self.from.clone());
        self.renew_at = ordered.map(|facts| facts.renew_at(fraction));
        if ordered.is_some() {
            (self.failures, self.last_error) = (0, None);
        }
        self.served = served;
    }

    /// Why it should be ordered, if anything but a pause stands in the way.
    #[must_use]
    pub fn why(&self, now: Timestamp) -> Option<Why> {
        let Some(served) = &self.served else { return Some(Why::Absent) };
        if self.asked_for {
            Some(Why::Asked)
        } else if served.not_after <= now {
            Some(Why::Expired)
        } else if !self.hosts.iter().all(|host| served.covers(host)) {
            Some(Why::OtherHosts)
        } else if self.issued_by.as_ref().is_some_and(|directory| *directory != self.from) {
            Some(Why::OtherAuthority)
        } else {
            self.renew_at.is_some_and(|at| at <= now).then_some(Why::Renewal)
        }
    }

    /// Why it is ordered now; `None` while there is no reason, or a pause.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Why> {
        // What was begun in the future was begun before the clock was set back; nobody knows how long ago.
        let clock_holds = self.last_attempt.is_none_or(|at| at <= now);
        let waits = |until: Option<Timestamp>| clock_holds && until.is_some_and(|at| at > now);
        if waits(self.next_attempt) || waits(self.rests_until) {
            return None;
        }
        self.why(now)
    }

    /// Whether the authority is asked now when it would like a renewal.
    #[must_use]
    pub fn asks_window(&self, now: Timestamp) -> bool {
        let asked = self.source == SourceKind::Acme && self.wanted;
        let by_them = self.issued_by.as_ref() == Some(&self.from);
        asked && by_them && self.served.is_some() && self.ask_window_at.is_none_or(|at| at <= now)
    }

    /// Before it is ordered: if nobody records an answer, it is as if there was none.
    pub fn begin(&mut self, now: Timestamp, fraction: f64) {
        self.failures = self.failures.saturating_add(1);
        self.last_attempt = Some(now);
        self.next_attempt = Some(now + pause(self.failures, fraction, None));
        self.asked_for = false;
    }

    /// The authority has given it, and it is not on the shelf yet: if nobody records that it is, it is lost.
    pub fn hold(&mut self, now: Timestamp) {
        self.next_attempt = Some(now + LOST);
        self.last_error = Some("it was given, but was lost before it was kept".to_owned());
    }

    /// The authority with this directory has given it, and it is on the shelf.
    pub fn succeed(&mut self, served: CertificateFacts, directory: &str, now: Timestamp, fraction: f64) {
        self.peace_until = None;
        self.forgive();
        self.last_error = None;
        self.rests_until = Some(now + REST.min(served.not_after.since(served.not_before) / 6));
        self.served = None;
        self.see(Some(served), fraction);
        self.issued_by = Some(directory.to_owned());
    }

    /// It was not given. That was counted when it began.
    pub fn fail(&mut self, reason: String, retry_after: Option<Duration>, now: Timestamp, fraction: f64) {
        self.failures = self.failures.max(1);
        self.last_attempt = Some(now);
        self.last_error = Some(reason);
        self.next_attempt = Some(now + pause(self.failures, fraction, retry_after));
        self.peace_until = retry_after.map(|asked| now + asked.min(LONGEST));
    }

    /// Its files are not fit to be served; what is on the shelf stays there.
    pub fn refuse(&mut self, reason: String, now: Timestamp) {
        if self.last_error.as_ref() != Some(&reason) {
            self.failures = self.failures.saturating_add(1);
            self.last_attempt = Some(now);
            self.last_error = Some(reason);
        }
    }

    /// Its files are on the shelf.
    pub fn accept(&mut self, served: CertificateFacts) {
        self.failures = 0;
        self.last_error = None;
        self.see(Some(served), 0.0);
    }

    /// The authority has said when it would like a renewal, and when to ask again; or that it has no opinion, or nothing.
    pub fn hear(&mut self, answer: Option<(Option<Window>, Duration)>, now: Timestamp, fraction: f64) {
        let Some((window, ask_again)) = answer else {
            self.ask_window_at = Some(now + ASK_WINDOW_AFTER_FAILURE);
            return;
        };
        self.ask_window_at = Some(now + ask_again.clamp(ASK_WINDOW.0, ASK_WINDOW.1));
        // One that stays the same does not make the dice be thrown again.
        if window != self.window {
            self.window = window;
            self.renew_at = self.served.as_ref().map(|served| match window {
                Some(window) => served.renew_within(window, fraction),
                None => served.renew_at(fraction),
            });
        }
    }
}

fn described(wanted: &Wanted) -> (SourceKind, String, Option<String>) {
    match &wanted.source {
        Source::Acme(acme) => (SourceKind::Acme, acme.directory.clone(), Some(digest(&wanted.hosts, acme))),
        Source::Files(files) => (SourceKind::Files, files.certificate.display().to_string(), None),
    }
}

/// Over all that an order depends on. A key is in it, but cannot be found out from it.
fn digest(hosts: &[String], acme: &Acme) -> String {
    let mut hash = Sha256::new();
    let mut add = |what: &str, text: &[u8]| {
        hash.update(what.as_bytes());
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    let mut sorted: Vec<&String> = hosts.iter().collect();
    sorted.sort_unstable();
    sorted.iter().for_each(|host| add("host", host.as_bytes()));
    add("directory", acme.directory.as_bytes());
    acme.contact.iter().for_each(|contact| add("contact", contact.as_bytes()));
    acme.ca.iter().for_each(|path| add("ca", path.as_os_str().as_encoded_bytes()));
    acme.challenge.iter().for_each(|challenge| add("challenge", challenge.label().as_bytes()));
    acme.dns_command.iter().flatten().for_each(|word| add("dns command", word.as_bytes()));
    add("dns wait", &acme.dns_wait.as_millis().to_be_bytes());
    if let Some(account) = &acme.external_account {
        add("key id", account.key_id.as_bytes());
        match &account.key {
            SecretSource::Value(value) => add("key", value.expose().as_bytes()),
            SecretSource::File(path) => add("key file", path.as_os_str().as_encoded_bytes()),
            SecretSource::Command(words) => words.iter().for_each(|word| add("key command", word.as_bytes())),
        }
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
