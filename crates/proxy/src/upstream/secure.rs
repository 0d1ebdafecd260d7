//! TLS towards instances: whom they are believed by, and what they are shown. Looked at again as all files are.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use cutover_core::routing::{Protocol, UpstreamTls};
use cutover_tls::client::{name_of_instance, towards_instances};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::stream::Stream;
use crate::tls::files::{Stamp, read, stamp};

/// Everything that services say of TLS towards their instances, ready to be spoken.
#[derive(Default)]
pub(crate) struct Secured {
    by: HashMap<Arc<UpstreamTls>, Way>,
}

/// How TLS is spoken to some instances.
#[derive(Clone)]
struct Way {
    stamps: [Stamp; 3],
    /// As the files last were good.
    configs: Option<Arc<Configs>>,
    problem: Option<String>,
}

struct Configs {
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
}

impl Secured {
    /// The same with what these files say now, and with nothing that is not wanted if `prune`; `None` if nothing has
    /// changed.
    pub(crate) fn renewed(&self, wanted: &[Arc<UpstreamTls>], prune: bool) -> Option<Self> {
        let mut by = if prune { HashMap::new() } else { self.by.clone() };
        let mut changed = false;
        for tls in wanted {
            let stamp = |path: &Option<std::path::PathBuf>| path.as_deref().and_then(stamp);
            let stamps = [stamp(&tls.ca), stamp(&tls.certificate), stamp(&tls.key)];
            let former = self.by.get(tls);
            if let Some(former) = former
                && former.stamps == stamps
                && former.configs.is_some()
            {
                by.insert(Arc::clone(tls), former.clone());
                continue;
            }
            let way = match Configs::new(tls) {
                Ok(configs) => Way { stamps, configs: Some(Arc::new(configs)), problem: None },
                Err(problem) => {
                    if former.and_then(|former| former.problem.as_ref()) != Some(&problem) {
                        tracing::warn!("TLS towards instances: {problem}");
                    }
                    let configs = former.and_then(|former| former.configs.clone());
                    Way { stamps, configs, problem: Some(problem) }
                }
            };
            changed = true;
            by.insert(Arc::clone(tls), way);
        }
        changed |= by.len() != self.by.len();
        changed.then_some(Self { by })
    }

    /// What is wrong with the files of which of them.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&Path, &String)> {
        self.by.iter().filter_map(|(tls, way)| {
            let file = tls.ca.as_deref().or(tls.certificate.as_deref()).unwrap_or(Path::new(""));
            Some((file, way.problem.as_ref()?))
        })
    }

    /// Speaks TLS on a connection to an instance.
    pub(crate) async fn shake_hands(
        &self,
        tls: &Arc<UpstreamTls>,
        protocol: Protocol,
        address: SocketAddr,
        socket: TcpStream,
    ) -> io::Result<Stream> {
        let way = self.by.get(tls).ok_or_else(|| io::Error::other("nobody has read its files yet"))?;
        let configs = way.configs.as_ref();
        let configs = configs.ok_or_else(|| io::Error::other(way.problem.clone().unwrap_or_default()))?;
        let config = match protocol {
            Protocol::H1 => &configs.h1,
            Protocol::H2 | Protocol::H2c => &configs.h2,
            Protocol::Auto => &configs.either,
        };
        let name = name_of_instance(tls, address.ip()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, socket).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if matches!(protocol, Protocol::H2 | Protocol::H2c) && agreed != Some(b"h2") {
            return Err(io::Error::other("it does not agree to HTTP/2"));
        }
        Ok(Stream::tls(stream))
    }
}

impl Configs {
    fn new(tls: &UpstreamTls) -> Result<Self, String> {
        let new = |alpn: &[&[u8]]| towards_instances(tls, alpn, read, host_authorities).map(Arc::new);
        Ok(Self { h1: new(&[b"http/1.1"])?, h2: new(&[b"h2"])?, either: new(&[b"h2", b"http/1.1"])? })
    }
}

/// The authorities that this host trusts.
fn host_authorities() -> RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    let found = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    ROOTS.get_or_init(found).clone()
}

/// Tells connections apart that were secured differently. Never 0, which is that of connections without TLS.
pub(crate) fn mark(tls: &UpstreamTls) -> u64 {
    let mut hasher = DefaultHasher::new();
    tls.hash(&mut hasher);
    hasher.finish() | 1
}
