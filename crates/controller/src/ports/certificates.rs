//! Who gives certificates, where they are kept, and who answers an authority that asks whether a host is ours.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use cutover_core::Timestamp;
use cutover_core::certificates::{CertificateFacts, Standing};
use cutover_core::release::SecretValue;
use cutover_core::tls::{Acme, CertificateFiles, Challenge};

use crate::ports::PortError;

/// What an authority is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The names that shall stand in the certificate, lower case, `*.` in front for all sub-domains; at least one.
    pub hosts: Vec<String>,
    /// Who is asked, and how.
    pub acme: Acme,
    /// How the hosts are proved to be ours, each of them.
    pub challenge: Challenge,
    /// The chain in PEM that it shall replace, so that the authority knows (RFC 9773, section 5).
    pub replaces: Option<String>,
}

/// A certificate as an authority gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// In PEM, the hosts' own certificate first.
    pub chain: String,
    /// Its private key in PEM.
    pub key: SecretValue,
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotIssued {
    /// One sentence without a full stop: which host, what the authority said.
    pub reason: String,
    /// The authority said when it may be asked again, as with its rate limits.
    pub retry_after: Option<Duration>,
}

/// When an authority would like a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalWindow {
    /// From then on.
    pub start: Timestamp,
    /// Until then.
    pub end: Timestamp,
    /// When to ask again.
    pub ask_again: Duration,
}

impl NotIssued {
    /// Without a word on when to ask again.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None }
    }
}

/// Gives certificates. Talks to nobody but the order's directory; keeps its accounts, with mode 0600, in files.
///
/// After a crash nothing of an order needs to be cleaned up: what the authority still has open runs out by itself, and
/// the next order begins anew with the same account.
#[async_trait]
pub trait CertificateAuthority: Send + Sync {
    /// Orders a certificate with a new key, and stays until there is one or there will be none. Shows `answers` what the
    /// authority will look for, and has it taken away again whatever came of it.
    ///
    /// # Errors
    /// [`NotIssued`], within ten minutes.
    async fn obtain(&self, order: &Order, answers: &dyn ChallengeAnswers) -> Result<Issued, NotIssued>;

    /// When the certificate of this chain in PEM should be renewed; `None` if the authority has no opinion.
    ///
    /// # Errors
    /// If it could not be asked.
    async fn renewal_window(&self, acme: &Acme, chain: &str) -> Result<Option<RenewalWindow>, NotIssued>;
}

/// Whether what lies in somebody's files is on the shelf now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staged {
    /// It was there before.
    Same(CertificateFacts),
    /// It was put there.
    New(CertificateFacts),
}

/// Keeps certificates where whoever serves them looks, and what is remembered of them.
///
/// What is on it is whole, chain and key together, also after a crash, and it is the truth: what is remembered may be older.
#[async_trait]
pub trait CertificateShelf: Send + Sync {
    /// What is on it, by name; cheap enough for every other second. What cannot be read is not on it.
    ///
    /// # Errors
    /// If it cannot be looked at.
    async fn look(&self) -> Result<BTreeMap<String, CertificateFacts>, PortError>;

    /// Puts a certificate there in place of the former one. Durable on return.
    ///
    /// # Errors
    /// If it cannot be used, or not be written; then the former one is there still.
    async fn put(&self, name: &str, issued: &Issued) -> Result<CertificateFacts, PortError>;

    /// The chain in PEM that is there, without its key; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    async fn chain(&self, name: &str) -> Result<Option<String>, PortError>;

    /// Has there what lies in these files, for services with these hosts (empty for every host). The files are read
    /// when they seem to have changed, and now and then.
    ///
    /// # Errors
    /// In one sentence that names the file: it cannot be read, the key is another's, its time is not now, it is for none
    /// of the hosts. What was there stays there.
    async fn stage(
        &self,
        name: &str,
        files: &CertificateFiles,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<Staged, PortError>;

    /// Takes a certificate off, and forgets what is remembered of it. What is not there is not missed.
    ///
    /// # Errors
    /// If it cannot be removed.
    async fn take_off(&self, name: &str) -> Result<(), PortError>;

    /// What is remembered. What cannot be read any more is left out.
    ///
    /// # Errors
    /// If it cannot be looked for.
    async fn recorded(&self) -> Result<Vec<Standing>, PortError>;

    /// Remembers. Durable on return.
    ///
    /// # Errors
    /// If it cannot be written; then the former is remembered still.
    async fn record(&self, standing: &Standing) -> Result<(), PortError>;
}

/// What an authority looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeAnswer {
    /// The content of `/.well-known/acme-challenge/TOKEN` of a host.
    Http {
        /// The host.
        host: String,
        /// The last part of the path.
        token: String,
        /// The content.
        content: String,
    },
    /// The certificate for `acme-tls/1` connections to a host, with its key, both in PEM.
    TlsAlpn {
        /// The host.
        host: String,
        /// The certificate.
        certificate: String,
        /// Its key.
        key: SecretValue,
    },
}

/// Answers an authority in the name of hosts.
#[async_trait]
pub trait ChallengeAnswers: Send + Sync {
    /// Answers so from now on, besides what it answers already. In force on return; lost when the answering side dies.
    ///
    /// # Errors
    /// If it cannot be reached.
    async fn show(&self, answers: &[ChallengeAnswer]) -> Result<(), PortError>;

    /// Answers so no more. What it did not know is not missed.
    ///
    /// # Errors
    /// If it cannot be reached.
    async fn withdraw(&self, answers: &[ChallengeAnswer]) -> Result<(), PortError>;
}

/// Serves clients with the certificates that were put on the shelf.
#[async_trait]
pub trait CertificateFront: ChallengeAnswers {
    /// Has the shelf looked at now, instead of within a few seconds.
    ///
    /// # Errors
    /// If it cannot be reached.
    async fn look_again(&self) -> Result<(), PortError>;
}
