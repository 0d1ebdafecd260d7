//! Which certificate is shown for which name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use cutover_tls::Pair;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates by the names in them.
#[derive(Default)]
pub(crate) struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.com` under `example.com`: one label and no more (RFC 6125, section 6.4.3).
    wildcards: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host.
    unnamed: Option<Arc<CertifiedKey>>,
}

impl Names {
    /// Of several for one name, the one that is valid for longest is shown. Clients that name no host get the first.
    pub(crate) fn new<'p>(pairs: impl IntoIterator<Item = &'p Pair>) -> Self {
        let mut pairs: Vec<&Pair> = pairs.into_iter().collect();
        let mut names = Self { unnamed: pairs.first().map(|pair| pair.certified()), ..Self::default() };
        pairs.sort_by_key(|pair| pair.facts().not_after);
        for pair in pairs {
            for name in &pair.facts().names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcards, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                map.insert(key.to_owned(), pair.certified());
            }
        }
        names
    }

    /// The certificate for a host, in whatever case it is written.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return None;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let below = || self.wildcards.get(host.split_once('.')?.1);
        self.exact.get(&host).or_else(below)
    }

    /// The certificate for whoever names this host, or none.
    pub(crate) fn for_client(&self, host: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        match host {
            Some(host) => self.find(host),
            None => self.unnamed.as_ref(),
        }
    }
}

/// What is shown at present.
#[derive(Default)]
pub(super) struct Shown(ArcSwap<Names>);

impl Shown {
    pub(super) fn load(&self) -> Guard<Arc<Names>> {
        self.0.load()
    }

    pub(super) fn store(&self, names: Names) {
        self.0.store(Arc::new(names));
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.load().for_client(client.server_name()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Pair::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_host_finds_the_certificate_that_names_it_before_one_with_a_star() {
        let pairs = [pair(&["a.example", "www.a.example"]), pair(&["*.a.example"]), pair(&["Other.example"])];
        let names = Names::new(&pairs);
        let check = |host: Option<&str>, expected: Option<usize>| {
            let found = names
                .for_client(host)
                .map(|found| pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified(), found)).unwrap());
            assert_eq!(found, expected, "{host:?}");
        };
        check(Some("a.example"), Some(0));
        check(Some("WWW.A.Example."), Some(0));
        check(Some("shop.a.example"), Some(1));
        check(Some("b.shop.a.example"), None);
        check(Some("other.example"), Some(2));
        check(Some("unknown.example"), None);
        check(None, Some(0));
    }
}
