//! What rustls is told for each thing that may be asked of clients.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover_core::routing::{ClientCertificates, TlsVersion};
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::tls::Tls;
use crate::tls::files::{Stamp, read, stamp};

/// What a connection may carry, the better first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What authorities speak that only look (RFC 8737, section 6.1).
pub(super) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// All that may be asked of clients, ready for a handshake.
#[derive(Default)]
pub(crate) struct Policies {
    nothing: Option<Arc<ServerConfig>>,
    certificates: HashMap<(PathBuf, Option<PathBuf>), Policy>,
}

/// What is asked of clients with certificates of these authorities.
#[derive(Clone)]
struct Policy {
    stamps: [Stamp; 2],
    /// As the files last were good.
    configs: Option<Configs>,
    problem: Option<String>,
}

#[derive(Clone)]
struct Configs {
    required: Arc<ServerConfig>,
    optional: Arc<ServerConfig>,
}

impl Policies {
    /// For a client that is asked for this. `None` if its authorities cannot be read: then nobody is let in.
    pub(super) fn find(
        &self,
        clients: Option<&ClientCertificates>,
        required: bool,
    ) -> Option<Arc<ServerConfig>> {
        let Some(clients) = clients else { return self.nothing.clone() };
        let policy = self.certificates.get(&(clients.ca.clone(), clients.crl.clone()))?;
        let configs = policy.configs.as_ref()?;
        Some(Arc::clone(if required { &configs.required } else { &configs.optional }))
    }

    /// The same with what these files say now, and with nothing that is not wanted if `prune`; `None` if nothing has
    /// changed.
    pub(super) fn renewed(&self, tls: &Tls, wanted: &[ClientCertificates], prune: bool) -> Option<Self> {
        let mut changed = self.nothing.is_none();
        let nothing =
            self.nothing.clone().unwrap_or_else(|| Arc::new(config(tls, Arc::new(NoClientAuth), true)));
        let mut certificates = if prune { HashMap::new() } else { self.certificates.clone() };
        for ClientCertificates { ca, crl, .. } in wanted {
            let key = (ca.clone(), crl.clone());
            let stamps = [stamp(ca), crl.as_deref().and_then(stamp)];
            let former = self.certificates.get(&key);
            if let Some(former) = former
                && former.stamps == stamps
                && former.configs.is_some()
            {
                certificates.insert(key, former.clone());
                continue;
            }
            changed = true;
            let policy = match configs(tls, ca, crl.as_ref()) {
                Ok(configs) => Policy { stamps, configs: Some(configs), problem: None },
                Err(problem) => {
                    let configs = former.and_then(|former| former.configs.clone());
                    let kept = if configs.is_some() {
                        "what was read before still holds"
                    } else {
                        "nobody is let in where they are asked for"
                    };
                    let problem = format!("{problem}; {kept}");
                    if former.and_then(|former| former.problem.as_ref()) != Some(&problem) {
                        tracing::warn!("clients' certificates cannot be judged: {problem}");
                    }
                    Policy { stamps, configs, problem: Some(problem) }
                }
            };
            certificates.insert(key, policy);
        }
        changed |= certificates.len() != self.certificates.len();
        changed.then_some(Self { nothing: Some(nothing), certificates })
    }

    /// What is wrong with which file.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&Path, &String)> {
        self.certificates
            .iter()
            .filter_map(|((ca, _), policy)| Some((ca.as_path(), policy.problem.as_ref()?)))
    }
}

fn configs(tls: &Tls, ca: &PathBuf, crl: Option<&PathBuf>) -> Result<Configs, String> {
    let of = |path: &PathBuf| {
        let path = path.display().to_string();
        move |error: cutover_tls::PairError| format!("`{path}`: {error}")
    };
    let roots = Arc::new(cutover_tls::pair::authorities(&read(ca)?).map_err(of(ca))?);
    let revoked = match crl {
        Some(crl) => cutover_tls::pair::revocations(&read(crl)?).map_err(of(crl))?,
        None => Vec::new(),
    };
    let verifier = |required: bool| {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), cutover_tls::provider());
        // The client's own certificate is what people revoke; an authority is taken out of the bundle.
        // An authority without a list revokes nothing.
        let builder = builder
            .with_crls(revoked.clone())
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| format!("`{}`: {error}", ca.display()))
    };
    // Who comes back with a ticket is not looked at again, whatever was revoked meanwhile; so nobody gets one.
    let config = |required| Ok::<_, String>(Arc::new(config(tls, verifier(required)?, false)));
    Ok(Configs { required: config(true)?, optional: config(false)? })
}

fn config(tls: &Tls, verifier: Arc<dyn ClientCertVerifier>, resumes: bool) -> ServerConfig {
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.settings.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder =
        ServerConfig::builder_with_provider(cutover_tls::provider()).with_protocol_versions(versions);
    let builder = builder.unwrap_or_else(|error| unreachable!("the provider has both versions: {error}"));
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&tls.names) as Arc<dyn rustls::server::ResolvesServerCert>);
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    // What would be kept for each client is in its ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if resumes {
        config.ticketer = Arc::clone(&tls.tickets) as Arc<dyn ProducesTickets>;
    } else {
        config.send_tls13_tickets = 0;
    }
    config
}

/// For an authority that looks whether a host is ours, and says nothing.
pub(super) fn proof(certified: Arc<CertifiedKey>) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(cutover_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("the provider has all versions: {error}"));
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![ACME_ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config
}
