//! Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt.
//!
//! The protocol is instant-acme's; what is ours is how an authority is reached, what of an account is kept, how hosts are
//! proved, and what people are told when one refuses. Whoever has a certificate ordered agrees to the authority's terms of
//! service; its account lies in the state directory.
//!
//! Reading order: `order` is one certificate from beginning to end, `proof` how hosts are proved and `dns` one way to do
//! that, `account` who we are, `client` how bytes travel, `trouble` what is said when it did not work.

mod account;
mod client;
mod dns;
mod order;
mod proof;
mod trouble;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::ports::{
    CertificateAuthority, ChallengeAnswers, Issued, NotIssued, Order, RenewalWindow,
};
use cutover_core::Timestamp;
use cutover_core::tls::Acme;
use instant_acme::{CertificateIdentifier, Error};

use crate::acme::account::Accounts;
use crate::acme::client::Connection;
use crate::acme::proof::Proofs;
use crate::acme::trouble::Trouble;

/// An order takes no longer than this, and what was shown for it is withdrawn within [`WITHDRAWAL`].
const LIMIT: Duration = Duration::from_secs(8 * 60);
const WITHDRAWAL: Duration = Duration::from_secs(2 * 60);

/// Orders certificates, each from the authority that the order names.
#[derive(Debug)]
pub struct AcmeAuthority {
    accounts: Accounts,
}

impl AcmeAuthority {
    /// Keeps its accounts in this state directory.
    #[must_use]
    pub fn new(state_directory: &Path) -> Self {
        let directory: PathBuf = state_directory.join("certificates").join("accounts");
        Self { accounts: Accounts::in_directory(directory) }
    }

    async fn order(&self, order: &Order, proofs: &Proofs<'_>) -> Result<Issued, Trouble> {
        let connection = Connection::to(&order.acme)?;
        let ended = self.order_over(&connection, order, proofs).await;
        ended.map_err(|trouble| trouble.with_pause(connection.retry_after()))
    }

    /// An account that the authority has forgotten is made anew, once.
    async fn order_over(
        &self,
        connection: &Connection,
        order: &Order,
        proofs: &Proofs<'_>,
    ) -> Result<Issued, Trouble> {
        let account = self.accounts.account(&order.acme, connection).await?;
        match order::certificate(&account, order, proofs).await {
            Err(Trouble::Protocol(error)) if trouble::account_is_unknown(&error) => {
                tracing::warn!(
                    directory = order.acme.directory,
                    "the authority does not know the account any more"
                );
                let account = self.accounts.register(&order.acme, connection).await?;
                order::certificate(&account, order, proofs).await
            }
            ended => ended,
        }
    }
}

#[async_trait]
impl CertificateAuthority for AcmeAuthority {
    async fn obtain(&self, order: &Order, answers: &dyn ChallengeAnswers) -> Result<Issued, NotIssued> {
        let proofs = Proofs::new(order, answers);
        let ended = match tokio::time::timeout(LIMIT, self.order(order, &proofs)).await {
            Ok(ended) => ended.map_err(|trouble| trouble.told(&order.hosts)),
            Err(_) => Err(NotIssued::new(format!("it took longer than {} min", LIMIT.as_secs() / 60))),
        };
        if tokio::time::timeout(WITHDRAWAL, proofs.withdraw()).await.is_err() {
            tracing::warn!(hosts = ?order.hosts, "what proved the hosts could not be withdrawn in time");
        }
        ended
    }

    async fn renewal_window(&self, acme: &Acme, chain: &str) -> Result<Option<RenewalWindow>, NotIssued> {
        let told = |error: Error| Trouble::Protocol(error).told(&[]);
        let certificate = trouble::first_certificate(chain)?;
        // One without what names its issuer cannot be asked about.
        let Ok(id) = CertificateIdentifier::try_from(&certificate) else { return Ok(None) };
        let connection = Connection::to(acme).map_err(|trouble| trouble.told(&[]))?;
        let nobody = account::nobody(acme, &connection).await.map_err(told)?;
        match nobody.renewal_info(&id).await {
            Ok((found, ask_again)) => {
                let window = found.suggested_window;
                let [start, end] = [window.start, window.end].map(|moment| {
                    let millis = moment.unix_timestamp_nanos() / 1_000_000;
                    Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
                });
                Ok(Some(RenewalWindow { start, end, ask_again }))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }
}
