//! One certificate, from the order to the chain.

use std::time::{Duration, SystemTime};

use cutover_controller::ports::{Issued, Order};
use cutover_core::Timestamp;
use cutover_core::release::SecretValue;
use cutover_core::tls::Challenge;
use cutover_tls::{Pair, PairError};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::acme::proof::{Proof, Proofs};
use crate::acme::trouble::{self, Trouble};

/// How an authority is asked whether it is done: soon, then less and less often, unless it says itself when.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.2)
    .timeout(Duration::from_secs(180));

/// Orders, proves the hosts, and takes what is given, with a new key.
pub(super) async fn certificate(
    account: &Account,
    order: &Order,
    proofs: &Proofs<'_>,
) -> Result<Issued, Trouble> {
    let mut ordered = place(account, order).await?;
    let to_prove = collect(&mut ordered, order).await?;
    if !to_prove.is_empty() {
        proofs.show(to_prove.iter().map(|(_, proof)| proof.clone()).collect()).await?;
        say_ready(&mut ordered, &to_prove, order.challenge).await?;
    }
    // An order whose hosts were all proved before may be ready at once.
    if ordered.state().status == OrderStatus::Pending {
        let ended = ordered.poll_ready(&PATIENCE).await;
        if !matches!(ended, Ok(OrderStatus::Ready)) {
            // Why is written at the host that was not believed, if at any.
            let about_host = refused(&mut ordered).await;
            let order_is_invalid = Error::Str("a reason why the order is invalid");
            return Err(
                about_host.unwrap_or_else(|| Trouble::Protocol(ended.err().unwrap_or(order_is_invalid)))
            );
        }
    }
    let own = |error: rcgen::Error| Trouble::Own(format!("no key or request could be made: {error}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(own)?;
    let mut wanted = CertificateParams::new(order.hosts.clone()).map_err(own)?;
    wanted.distinguished_name = DistinguishedName::new();
    let request = wanted.serialize_request(&key).map_err(own)?;
    ordered.finalize_csr(request.der()).await?;
    let chain = ordered.poll_certificate(&PATIENCE).await?;
    let key = key.serialize_pem();
    let pair = Pair::from_pem(chain.as_bytes(), key.as_bytes());
    let facts =
        pair.map_err(|error| Trouble::Own(format!("what the authority gave is of no use: {error}")))?;
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
    if let Err(error @ PairError::Expired(_)) = facts.check_time(now) {
        return Err(Trouble::Own(format!("what the authority gave is of no use: {error}")));
    }
    match order.hosts.iter().find(|host| !facts.facts().covers(host)) {
        Some(host) => Err(Trouble::Own(format!("what the authority gave is not for `{host}`"))),
        None => Ok(Issued { chain, key: SecretValue::new(key) }),
    }
}

/// Places the order. That it replaces something is a courtesy: where it makes trouble it is left out.
async fn place(account: &Account, order: &Order) -> Result<instant_acme::Order, Error> {
    let hosts: Vec<Identifier> = order.hosts.iter().map(|host| Identifier::Dns(host.clone())).collect();
    let former = order.replaces.as_deref().and_then(|chain| trouble::first_certificate(chain).ok());
    if let Some(id) = former.as_ref().and_then(|former| CertificateIdentifier::try_from(former).ok()) {
        match account.new_order(&NewOrder::new(&hosts).replaces(id)).await {
            Err(error) if trouble::dislikes_replacement(&error) => {}
            ended => return ended,
        }
    }
    account.new_order(&NewOrder::new(&hosts)).await
}

/// What has to be shown for each host that is not proved yet, with the host as the authority calls it.
async fn collect(ordered: &mut instant_acme::Order, order: &Order) -> Result<Vec<(String, Proof)>, Trouble> {
    let challenge = order.challenge;
    let mut found = Vec::new();
    let mut authorizations = ordered.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next?;
        let name = authorization.identifier().to_string();
        if !is_ordered(order, &name) {
            // Nothing is proved, and no program called, for whom nobody has ordered anything.
            return Err(Trouble::Own(format!(
                "the authority wants `{}` proved, which nobody has ordered",
                name.escape_default()
            )));
        }
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => {
                let reason =
                    format!("the authority's proof for `{name}` has ended before it began: {status:?}");
                return Err(Trouble::Own(reason));
            }
        }
        let Some(asked) = authorization.challenge(kind(challenge)) else {
            let reason = format!("the authority does not prove `{name}` by `{}`", challenge.label());
            return Err(Trouble::Own(reason));
        };
        let proof = Proof::of(challenge, &name, &asked.token, &asked.key_authorization())?;
        found.push((name, proof));
    }
    Ok(found)
}

/// Whether a name is one of the order's hosts; that of a wildcard may be told without its star (RFC 8555, section 7.1.3).
fn is_ordered(order: &Order, name: &str) -> bool {
    let plain = |host: &str| host.trim_start_matches("*.").to_owned();
    order.hosts.iter().any(|host| plain(host) == plain(name))
}

/// Tells the authority to look.
async fn say_ready(
    ordered: &mut instant_acme::Order,
    shown: &[(String, Proof)],
    challenge: Challenge,
) -> Result<(), Trouble> {
    let mut authorizations = ordered.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next?;
        let name = authorization.identifier().to_string();
        if shown.iter().any(|(host, _)| *host == name)
            && let Some(mut asked) = authorization.challenge(kind(challenge))
        {
            asked.set_ready().await.map_err(|error| match error {
                Error::Api(problem) => Trouble::Host(name, problem),
                error => Trouble::Protocol(error),
            })?;
        }
    }
    Ok(())
}

/// The first host in whose proof the authority does not believe.
async fn refused(ordered: &mut instant_acme::Order) -> Option<Trouble> {
    let mut authorizations = ordered.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next.ok()?;
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return Some(Trouble::Host(name, problem));
        }
    }
    None
}

fn kind(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::tls::Acme;

    use super::*;

    #[test]
    fn only_what_was_ordered_is_proved() {
        let order = Order {
            hosts: vec!["a.example".to_owned(), "*.b.example".to_owned()],
            acme: Acme::default(),
            challenge: Challenge::Dns01,
            replaces: None,
        };
        let check = |name: &str, expected: bool| assert_eq!(is_ordered(&order, name), expected, "{name}");
        check("a.example", true);
        check("b.example", true);
        check("*.b.example", true);
        check("x.b.example", false);
        check("bank.example $(touch x)", false);
        check("", false);
    }
}
