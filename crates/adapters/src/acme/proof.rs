//! How it is proved that hosts are ours: what is shown, and that it does not stay.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cutover_controller::ports::{ChallengeAnswer, ChallengeAnswers, Order};
use cutover_core::release::SecretValue;
use cutover_core::tls::Challenge;
use instant_acme::KeyAuthorization;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::acme::dns::{DnsCommand, Record};
use crate::acme::trouble::Trouble;

/// What an authority looks for, of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// Something that the front answers.
    Answer(ChallengeAnswer),
    /// A record of DNS.
    Record(Record),
}

impl Proof {
    /// What proves a host, as the authority calls it, by the text that only we can know.
    pub(super) fn of(
        challenge: Challenge,
        name: &str,
        token: &str,
        text: &KeyAuthorization,
    ) -> Result<Self, Trouble> {
        let host = name.to_owned();
        Ok(match challenge {
            Challenge::Http01 => {
                let (token, content) = (token.to_owned(), text.as_str().to_owned());
                Self::Answer(ChallengeAnswer::Http { host, token, content })
            }
            Challenge::TlsAlpn01 => Self::Answer(certificate(host, text.digest().as_ref())?),
            Challenge::Dns01 => {
                let domain = name.strip_prefix("*.").unwrap_or(name);
                let value = text.dns_value();
                Self::Record(Record { name: format!("_acme-challenge.{domain}"), value })
            }
        })
    }
}

/// A certificate that says by its extension that its maker knows the text (RFC 8737, section 3).
fn certificate(host: String, digest: &[u8]) -> Result<ChallengeAnswer, Trouble> {
    let own = |error: rcgen::Error| {
        Trouble::Own(format!("no certificate could be made to prove `{host}`: {error}"))
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(own)?;
    let mut made = CertificateParams::new(vec![host.clone()]).map_err(own)?;
    made.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let certificate = made.self_signed(&key).map_err(own)?.pem();
    Ok(ChallengeAnswer::TlsAlpn { host, certificate, key: SecretValue::new(key.serialize_pem()) })
}

/// What is shown for one order.
pub(super) struct Proofs<'a> {
    answers: &'a dyn ChallengeAnswers,
    dns: Option<DnsCommand>,
    dns_wait: Duration,
    /// What may be there, and has to go.
    shown: Mutex<Vec<Proof>>,
}

impl<'a> Proofs<'a> {
    /// Nothing yet.
    pub(super) fn new(order: &Order, answers: &'a dyn ChallengeAnswers) -> Self {
        let dns = order.acme.dns_command.clone().map(DnsCommand::new);
        Self { answers, dns, dns_wait: order.acme.dns_wait, shown: Mutex::default() }
    }

    /// Shows all of these, and waits until an authority may look.
    pub(super) async fn show(&self, proofs: Vec<Proof>) -> Result<(), Trouble> {
        // What is begun may be there, however it ends.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).extend(proofs.iter().cloned());
        let (answers, records) = apart(proofs);
        if !answers.is_empty() {
            self.answers.show(&answers).await?;
        }
        if records.is_empty() {
            return Ok(());
        }
        let no_command =
            || Trouble::Own("`dns-01` needs `dns_command`, which sets records of DNS".to_owned());
        let command = self.dns.as_ref().ok_or_else(no_command)?;
        // One after the other: programs that change a zone read it first.
        for record in &records {
            command.set(record).await.map_err(Trouble::Own)?;
        }
        tokio::time::sleep(self.dns_wait).await;
        Ok(())
    }

    /// Takes away what was shown. What cannot be taken away is told in the log: it harms nobody.
    pub(super) async fn withdraw(&self) {
        let shown = std::mem::take(&mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        let (answers, records) = apart(shown);
        if !answers.is_empty()
            && let Err(error) = self.answers.withdraw(&answers).await
        {
            tracing::warn!(%error, "answers for an authority could not be withdrawn");
        }
        let Some(command) = &self.dns else { return };
        for record in &records {
            if let Err(reason) = command.remove(record).await {
                tracing::warn!(record = record.name, reason, "a record of DNS could not be removed");
            }
        }
    }
}

fn apart(proofs: Vec<Proof>) -> (Vec<ChallengeAnswer>, Vec<Record>) {
    let (mut answers, mut records) = (Vec::new(), Vec::new());
    for proof in proofs {
        match proof {
            Proof::Answer(answer) => answers.push(answer),
            Proof::Record(record) => records.push(record),
        }
    }
    (answers, records)
}
