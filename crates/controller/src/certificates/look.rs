//! One look: what is wanted, what there is, and what follows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use cutover_core::Timestamp;
use cutover_core::certificates::{CertificateFacts, Source, SourceKind, Standing, Wanted, stand_ins, wants};
use cutover_core::tls::CertificateSource;
use tokio::task::JoinSet;

use crate::certificates::{Busy, Keeper, Tenant};
use crate::ports::PortError;

impl Keeper {
    /// Looks, has files put on the shelf, takes off what nobody wants, and begins what is due.
    pub(super) async fn look(self: &Arc<Self>, orders: &mut JoinSet<()>) {
        let tenants = self.with.tenants.tenants().await;
        // Of what is being put there meanwhile, the one who does that tells.
        let busy: HashSet<Busy> = self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What cannot be looked at is not absent: nothing is concluded from that.
        let on_shelf = match self.look_at_shelf().await {
            Ok(on_shelf) => on_shelf,
            Err(error) => return tracing::warn!(%error, "the shelf of certificates cannot be looked at"),
        };
        let now = self.now();
        let mut wanted = self.wanted(&tenants);
        let mut changed = self.take_in(&wanted, on_shelf, &busy, now).await;
        if self.with.listeners.tls {
            wanted.extend(stand_ins(&self.book.standings(), &wanted));
        }
        for Standing { name, .. } in self.book.standings() {
            let wanted = wanted.iter().find(|one| one.name == name);
            self.change(&name, |standing| match wanted {
                Some(wanted) => standing.want(wanted),
                None => standing.wanted = false,
            })
            .await;
        }
        for one in &wanted {
            if let Source::Files(files) = &one.source {
                changed |= self.stage(one, files, now).await;
            }
        }
        changed |= self.keep_given().await;
        changed |= self.take_off(&tenants, &wanted, now).await;
        if changed {
            self.tell_front().await;
        }
        self.begin_what_is_due(&wanted, now, orders);
    }

    async fn look_at_shelf(&self) -> Result<BTreeMap<String, CertificateFacts>, PortError> {
        self.book.read().await?;
        self.with.shelf.look().await
    }

    /// What the live releases want.
    fn wanted(&self, tenants: &[Tenant]) -> Vec<Wanted> {
        let hosted: Vec<_> = tenants
            .iter()
            .filter_map(|tenant| tenant.live.as_ref().map(|wish| wish.hosted(&tenant.service)))
            .collect();
        let mut found = wants(&hosted);
        if !self.with.listeners.tls {
            // Nobody is asked for what nobody would be served with.
            found.certificates.retain(|wanted| matches!(wanted.source, Source::Files(_)));
            found.left_out.clear();
        }
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = found.left_out;
        found.certificates
    }

    /// Corrects what is remembered by what is on the shelf, before anything else is concluded from it. Answers whether the
    /// shelf has changed.
    async fn take_in(
        &self,
        wanted: &[Wanted],
        mut on_shelf: BTreeMap<String, CertificateFacts>,
        busy: &HashSet<Busy>,
        now: Timestamp,
    ) -> bool {
        wanted.iter().for_each(|one| self.book.add(Standing::new(one)));
        for Standing { name, .. } in self.book.standings() {
            let served = on_shelf.remove(&name);
            if !busy.contains(&Busy::Name(name.clone())) {
                let fraction = self.chance();
                self.change(&name, |standing| standing.see(served, fraction)).await;
            }
        }
        let mut changed = false;
        // What nobody remembers is of no use to anybody once its time is over.
        for (name, _) in on_shelf.iter().filter(|(_, facts)| facts.not_after <= now) {
            changed |= self.book.take_off(name).await.is_ok();
        }
        changed
    }

    /// Takes off what nobody wants: files at once, what was ordered when it has expired, for somebody may want it again
    /// tomorrow. Answers whether the shelf has changed.
    async fn take_off(&self, tenants: &[Tenant], wanted: &[Wanted], now: Timestamp) -> bool {
        // Of a service whose record cannot be read nobody knows what it wants; and a manager that ends has none.
        if tenants.is_empty() || tenants.iter().any(|tenant| !tenant.is_known) {
            return false;
        }
        let kept: BTreeSet<&str> = wanted.iter().map(|one| one.name.as_str()).collect();
        let held = held_files(tenants);
        let goes = |standing: &Standing| {
            let asked = standing.source == SourceKind::Acme;
            let served = standing.served.as_ref();
            let stays = kept.contains(standing.name.as_str())
                || served.is_some_and(|served| self.stands_in(served, wanted, now))
                || self.is_busy_with(&standing.name)
                || (!asked && held.contains(&standing.name))
                || (asked && served.is_some_and(|served| served.not_after > now));
            !stays
        };
        let mut changed = false;
        for standing in self.book.standings().iter().filter(|standing| goes(standing)) {
            match self.book.take_off(&standing.name).await {
                Ok(()) => {
                    tracing::info!(name = standing.name, "nobody wants a certificate any more");
                    changed |= standing.served.is_some();
                }
                Err(error) => tracing::warn!(name = standing.name, %error, "a certificate cannot be removed"),
            }
        }
        changed
    }

    /// Whether a certificate is all that there is for a host that is wanted, until its successor comes.
    fn stands_in(&self, served: &CertificateFacts, wanted: &[Wanted], now: Timestamp) -> bool {
        let standings = self.book.standings();
        let has_its_own = |one: &Wanted, host: &str| {
            let own = standings.iter().find(|standing| standing.name == one.name);
            own.and_then(|own| own.served.as_ref()).is_some_and(|own| own.covers(host) && own.not_after > now)
        };
        served.not_after > now
            && wanted
                .iter()
                .any(|one| one.hosts.iter().any(|host| served.covers(host) && !has_its_own(one, host)))
    }

    /// Begins one thing for each directory that is free: an order before a question.
    fn begin_what_is_due(self: &Arc<Self>, wanted: &[Wanted], now: Timestamp, orders: &mut JoinSet<()>) {
        let asked = || {
            wanted.iter().filter_map(|one| match &one.source {
                Source::Acme(acme) => Some((self.book.get(&one.name)?, acme.as_ref().clone())),
                Source::Files(_) => None,
            })
        };
        for (standing, acme) in asked() {
            if let Some(why) = standing.due(now)
                && !self.holds(&standing.name, now)
                && let Some(turn) = self.turn(&acme.directory, &standing.name)
            {
                let keeper = Arc::clone(self);
                orders.spawn(async move { keeper.order(turn, standing, acme, why).await });
            }
        }
        for (standing, acme) in asked() {
            if standing.asks_window(now)
                && let Some(turn) = self.turn(&acme.directory, &standing.name)
            {
                let keeper = Arc::clone(self);
                orders.spawn(async move { keeper.ask_window(turn, standing.name, acme).await });
            }
        }
    }
}

/// The names of files that any release in any environment wants.
fn held_files(tenants: &[Tenant]) -> HashSet<String> {
    let sources = tenants.iter().flat_map(|tenant| &tenant.held).map(|wish| &wish.tls.certificates);
    let files = sources.filter_map(|source| match source {
        CertificateSource::Files(files) => Some(files),
        CertificateSource::Usual | CertificateSource::Off | CertificateSource::Acme(_) => None,
    });
    files.flatten().map(Wanted::name_of_files).collect()
}
