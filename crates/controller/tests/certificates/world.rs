//! What is outside of a keeper, and its life in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::certificates::tenants::Wish;
use cutover_controller::certificates::{Listeners, Tenant, Tenants};
use cutover_controller::ports::{
    CertificateAuthority, CertificateFront, CertificateShelf, ChallengeAnswer, ChallengeAnswers, Issued,
    NotIssued, Order, PortError, RenewalWindow, Staged,
};
use cutover_controller::{CertificateKeeper, Clock, Keeping};
use cutover_core::Timestamp;
use cutover_core::certificates::{CertificateFacts, Standing};
use cutover_core::release::SecretValue;
use cutover_core::tls::{Acme, CertificateFiles, CertificateSource, Tls};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// What an authority here gives lives so long.
pub(crate) const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// What an authority does with an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Give,
    Refuse(Option<Duration>),
    /// It answers after so long, and gives.
    GiveAfter(Duration),
    /// It is silent for ever.
    Hang,
}

/// One order as the authority got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) after: Duration,
    pub(crate) hosts: Vec<String>,
    pub(crate) directory: String,
    pub(crate) challenge: &'static str,
    pub(crate) replaces: bool,
}

#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) tenants: Vec<Tenant>,
    /// By name: what is served.
    pub(crate) shelf: BTreeMap<String, CertificateFacts>,
    pub(crate) recorded: BTreeMap<String, Standing>,
    /// Whether the disk takes nothing.
    pub(crate) full: bool,
    /// Whether no certificates can be written, although they can be remembered.
    pub(crate) unputtable: bool,
    /// Whether nothing can be remembered, although certificates can be written.
    pub(crate) forgetful: bool,
    /// Whether the shelf cannot be looked at.
    pub(crate) unreadable: bool,
    /// Files of others: by path, or why they are not fit.
    pub(crate) files: BTreeMap<String, Result<CertificateFacts, String>>,
    /// Paths on disks that do not answer any more.
    pub(crate) dead: BTreeSet<String>,
    /// How often files were read.
    pub(crate) stagings: usize,
    /// By directory; nothing said is [`Answer::Give`].
    pub(crate) answers: BTreeMap<String, Answer>,
    /// Hosts that are always refused.
    pub(crate) refused: Vec<String>,
    pub(crate) window: Option<RenewalWindow>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) windows_asked: usize,
    /// Orders that an authority works on, and how many at once it ever did, by directory.
    at_work: BTreeMap<String, (usize, usize)>,
    pub(crate) looks: usize,
    pub(crate) records: usize,
    given: u32,
}

/// Everything outside, shared by the ports.
#[derive(Clone)]
pub(crate) struct World {
    outside: Arc<Mutex<Outside>>,
    started: Instant,
}

/// A keeper that runs until it is dropped, as its process would end.
pub(crate) struct Life {
    pub(crate) keeper: CertificateKeeper,
    task: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn at(after: Duration) -> Timestamp {
    // Not the beginning of time: what was before can be said too.
    Timestamp::from_millis(1_000_000_000_000) + after
}

pub(crate) fn facts(hosts: &[&str], from: Duration, fingerprint: &str) -> CertificateFacts {
    CertificateFacts {
        names: hosts.iter().map(|&host| host.to_owned()).collect(),
        not_before: at(from),
        not_after: at(from) + LIFE,
        issuer: "CN=authority".to_owned(),
        fingerprint: fingerprint.to_owned(),
    }
}

pub(crate) fn acme(directory: &str) -> Acme {
    Acme { directory: directory.to_owned(), ..Acme::default() }
}

pub(crate) fn by(acme: Acme) -> CertificateSource {
    CertificateSource::Acme(Box::new(acme))
}

pub(crate) fn files(path: &str) -> CertificateSource {
    CertificateSource::Files(vec![CertificateFiles {
        certificate: path.into(),
        key: "/key.pem".into(),
        ocsp: None,
    }])
}

pub(crate) fn wish(hosts: &[&str], source: CertificateSource) -> Wish {
    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    Wish { hosts, tls: Tls { certificates: source, ..Tls::default() } }
}

pub(crate) fn tenant(service: &str, hosts: &[&str], source: CertificateSource) -> Tenant {
    let live = wish(hosts, source);
    Tenant { service: service.parse().unwrap(), held: vec![live.clone()], live: Some(live), is_known: true }
}

impl World {
    pub(crate) fn with(tenants: Vec<Tenant>) -> Self {
        let outside = Outside { tenants, ..Outside::default() };
        Self { outside: Arc::new(Mutex::new(outside)), started: Instant::now() }
    }

    pub(crate) fn outside(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap()
    }

    pub(crate) fn live(&self, every: Duration) -> Life {
        self.live_with(every, Listeners { tls: true, plain: true })
    }

    pub(crate) fn live_with(&self, every: Duration, listeners: Listeners) -> Life {
        let world = Arc::new(self.clone());
        let keeper = CertificateKeeper::new(Keeping {
            tenants: world.clone(),
            shelf: world.clone(),
            authority: world.clone(),
            front: world.clone(),
            clock: world,
            random: Arc::new(|| 0.0),
            listeners,
            every,
        });
        let task = tokio::spawn({
            let keeper = keeper.clone();
            async move { keeper.run().await }
        });
        Life { keeper, task }
    }

    /// When orders came, in whole minutes.
    pub(crate) fn minutes(&self) -> Vec<u64> {
        self.outside().asked.iter().map(|asked| asked.after.as_secs() / 60).collect()
    }

    pub(crate) fn most_at_once(&self, directory: &str) -> usize {
        self.outside().at_work.get(directory).map_or(0, |(_, most)| *most)
    }

    pub(crate) fn served(&self) -> Vec<String> {
        self.outside().shelf.keys().cloned().collect()
    }

    fn no_room(&self) -> Result<(), PortError> {
        if self.outside().full { Err(PortError::new("no space left on device")) } else { Ok(()) }
    }
}

impl Life {
    pub(crate) fn standing(&self, name: &str) -> Standing {
        self.keeper.standings().into_iter().find(|standing| standing.name == name).unwrap()
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        at(self.started.elapsed())
    }
}

#[async_trait]
impl Tenants for World {
    async fn tenants(&self) -> Vec<Tenant> {
        self.outside().tenants.clone()
    }
}

/// Ends the work of an authority, also if nobody waits for it any more.
struct Working<'a>(&'a World, String);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.outside().at_work.entry(self.1.clone()).and_modify(|(now, _)| *now -= 1);
    }
}

#[async_trait]
impl CertificateAuthority for World {
    async fn obtain(&self, order: &Order, _: &dyn ChallengeAnswers) -> Result<Issued, NotIssued> {
        let directory = order.acme.directory.clone();
        let answer = {
            let mut outside = self.outside();
            outside.asked.push(Asked {
                after: self.started.elapsed(),
                hosts: order.hosts.clone(),
                directory: directory.clone(),
                challenge: order.challenge.label(),
                replaces: order.replaces.is_some(),
            });
            let work = outside.at_work.entry(directory.clone()).or_default();
            *work = (work.0 + 1, work.1.max(work.0 + 1));
            outside.answers.get(&directory).cloned().unwrap_or(Answer::Give)
        };
        let _working = Working(self, directory);
        match answer {
            Answer::Give => {}
            Answer::Refuse(retry_after) => {
                return Err(NotIssued { reason: "refused".to_owned(), retry_after });
            }
            Answer::GiveAfter(pause) => tokio::time::sleep(pause).await,
            Answer::Hang => std::future::pending().await,
        }
        let mut outside = self.outside();
        if order.hosts.iter().any(|host| outside.refused.contains(host)) {
            return Err(NotIssued::new("refused"));
        }
        outside.given += 1;
        let hosts: Vec<&str> = order.hosts.iter().map(String::as_str).collect();
        let given = facts(&hosts, self.started.elapsed(), &outside.given.to_string());
        let chain = serde_json::to_string(&given).unwrap();
        Ok(Issued { chain, key: SecretValue::new("key".to_owned()) })
    }

    async fn renewal_window(&self, _: &Acme, _: &str) -> Result<Option<RenewalWindow>, NotIssued> {
        let mut outside = self.outside();
        outside.windows_asked += 1;
        Ok(outside.window)
    }
}

#[async_trait]
impl CertificateShelf for World {
    async fn look(&self) -> Result<BTreeMap<String, CertificateFacts>, PortError> {
        let outside = self.outside();
        if outside.unreadable { Err(PortError::new("cannot look")) } else { Ok(outside.shelf.clone()) }
    }

    async fn put(&self, name: &str, issued: &Issued) -> Result<CertificateFacts, PortError> {
        self.no_room()?;
        if self.outside().unputtable {
            return Err(PortError::new("read-only file system"));
        }
        let facts: CertificateFacts = serde_json::from_str(&issued.chain).unwrap();
        self.outside().shelf.insert(name.to_owned(), facts.clone());
        Ok(facts)
    }

    async fn chain(&self, name: &str) -> Result<Option<String>, PortError> {
        Ok(self.outside().shelf.get(name).map(|facts| serde_json::to_string(facts).unwrap()))
    }

    async fn stage(
        &self,
        name: &str,
        files: &CertificateFiles,
        _: &[String],
        _: Timestamp,
    ) -> Result<Staged, PortError> {
        let path = files.certificate.display().to_string();
        self.outside().stagings += 1;
        while self.outside().dead.contains(&path) {
            tokio::time::sleep(MINUTE).await;
        }
        let mut outside = self.outside();
        let found =
            outside.files.get(&path).cloned().unwrap_or_else(|| Err(format!("`{path}` is not there")));
        let found = found.map_err(PortError::new)?;
        let former = outside.shelf.insert(name.to_owned(), found.clone());
        Ok(if former.as_ref() == Some(&found) { Staged::Same(found) } else { Staged::New(found) })
    }

    async fn take_off(&self, name: &str) -> Result<(), PortError> {
        let mut outside = self.outside();
        outside.shelf.remove(name);
        outside.recorded.remove(name);
        Ok(())
    }

    async fn recorded(&self) -> Result<Vec<Standing>, PortError> {
        Ok(self.outside().recorded.values().cloned().collect())
    }

    async fn record(&self, standing: &Standing) -> Result<(), PortError> {
        self.no_room()?;
        let mut outside = self.outside();
        if outside.forgetful {
            return Err(PortError::new("cannot write"));
        }
        outside.records += 1;
        outside.recorded.insert(standing.name.clone(), standing.clone());
        Ok(())
    }
}

#[async_trait]
impl ChallengeAnswers for World {
    async fn show(&self, _: &[ChallengeAnswer]) -> Result<(), PortError> {
        Ok(())
    }

    async fn withdraw(&self, _: &[ChallengeAnswer]) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl CertificateFront for World {
    async fn look_again(&self) -> Result<(), PortError> {
        self.outside().looks += 1;
        Ok(())
    }
}
