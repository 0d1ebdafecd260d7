//! One release to several hosts: validated everywhere, then switched everywhere.
//!
//! No consensus is pretended. Each host has a deployment of its own that holds before its switch; until the first of
//! them is promoted any failure takes all of them back. A client that dies leaves each host to the end of its own hold;
//! the same command run again goes on from what it finds.

mod member;
mod partial;
mod undo;

use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use hyper::StatusCode;
use serde_json::json;

use super::{Order, submit};
use crate::api::VERSION;
use crate::api::client::ClientError;
use crate::api::views::{
    Accepted, ControllerView, DeployAnswer, DeploymentView, PromoteRequest, ServiceView,
};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Following, Until};
use crate::cli::place::Controller;
use crate::cli::printer::Printer;
use crate::cli::several;
use crate::config::AcrossHosts;
use member::{Member, Stand, any_failed, any_trouble, how_it_stands, names, status};

/// A deployment to several hosts.
pub(super) struct Everywhere<'a> {
    pub(super) order: Order,
    pub(super) across: AcrossHosts,
    pub(super) controllers: &'a [Controller],
    pub(super) printer: &'a Printer,
    pub(super) begun: Instant,
}

impl Everywhere<'_> {
    pub(super) async fn run(mut self) -> Result<Exit, Failure> {
        let controllers = self.controllers;
        let mut members: Vec<_> = controllers.iter().map(|one| Member::new(one, self.printer)).collect();
        self.look(&members).await?;
        let held_for_a_person = self.order.request.spec.rollout.hold.is_some();
        self.order.request.spec.rollout.hold.get_or_insert(self.across.hold);

        self.each(&mut members, async |member| self.open(member).await).await;
        if !any_trouble(&members) {
            self.validate(&mut members).await;
        }
        if !any_trouble(&members) && members.iter().any(|member| matches!(member.stand, Stand::Open)) {
            return Ok(self.detached(&members));
        }
        if !any_trouble(&members) && !held_for_a_person {
            // A host that was lost since it was validated is found before the first one is switched.
            self.each(&mut members, async |member| self.still_holds(member).await).await;
        }
        if any_trouble(&members) {
            self.take_back(&mut members).await;
            return Ok(self.conclude(&members, &how_it_stands(&members)));
        }
        if held_for_a_person && members.iter().any(|member| matches!(member.stand, Stand::Held)) {
            let how = format!(
                "validated everywhere; `cutover promote {}` switches all of them",
                self.order.service
            );
            return Ok(self.conclude(&members, &how));
        }
        self.each(&mut members, async |member| self.promote(member).await).await;
        if !any_trouble(&members) && self.order.until == Until::Done {
            self.bake(&mut members).await;
        }
        if any_failed(&members) {
            return self.partial(members).await;
        }
        let version = &self.order.request.spec.version;
        let unknown = names(&members, |stand| matches!(stand, Stand::Unknown(_)));
        if !unknown.is_empty() {
            let live = names(&members, Stand::is_live);
            let on = if live.is_empty() { String::new() } else { format!("{version} is live on {live}; ") };
            return Ok(
                self.conclude(&members, &format!("{on}not known on {unknown}: `cutover status` tells"))
            );
        }
        Ok(self.conclude(&members, &format!("{version} is live on all {} hosts", members.len())))
    }

    /// Asks every host before anything is done to one, and says if they do not agree.
    async fn look(&self, members: &[Member<'_>]) -> Result<(), Failure> {
        let path = format!("/v1/services/{}", self.order.service);
        let look = async |controller: &Controller, printer: &Printer| {
            controller.client.get::<ControllerView>("/v1/controller").await?;
            match controller.client.get::<ServiceView>(&path).await {
                Ok(view) => printer.result(&view, String::new),
                Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
                    printer.result(&json!({ "live": null }), String::new);
                }
                Err(error) => return Err(error.into()),
            }
            Ok(Exit::Done)
        };
        let parts = several::all(self.controllers, self.printer, look).await;
        if let Some(disagreement) = several::disagreement(&parts) {
            self.printer.talk(&format!("note: {disagreement}"));
        }
        let mut failures = Vec::new();
        for (member, part) in members.iter().zip(&parts) {
            if let Err(failure) = &part.result {
                member.complain(failure);
                failures.push((member.name.as_str(), failure.exit));
            }
        }
        let Some((_, exit)) = failures.first() else { return Ok(()) };
        let names: Vec<_> = failures.iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(Failure::new(*exit, format!("nothing was done, because {} cannot be asked", names.join(", ")))
            .hint("leave a host out by naming the others with `--host`"))
    }

    /// Does something for each host at the same time.
    async fn each<'m>(
        &self,
        members: &mut [Member<'m>],
        deed: impl AsyncFn(&mut Member<'m>) -> Result<(), Failure>,
    ) {
        let deed = &deed;
        join_all(members.iter_mut().map(async |member| {
            if let Err(failure) = deed(member).await {
                member.complain(&failure);
                member.stand = Stand::after(failure);
            }
        }))
        .await;
    }

    async fn open(&self, member: &mut Member<'_>) -> Result<(), Failure> {
        let (client, printer) = (&member.controller.client, &member.printer);
        (member.stand, member.deployment) = match submit(client, printer, &self.order).await? {
            DeployAnswer::AlreadyLive { version, .. } => {
                printer.talk(&format!("{version} is live there already, with identical content"));
                (Stand::WasLive, None)
            }
            DeployAnswer::Following { deployment } => {
                printer.talk("the same release is being deployed there already: following it");
                (Stand::Open, Some(deployment))
            }
            DeployAnswer::Opened { deployment, notes } => {
                for note in notes {
                    printer.talk(&format!("note: {note}"));
                }
                (Stand::Open, Some(deployment))
            }
        };
        Ok(())
    }

    /// Follows all until they hold, or until the first of them has failed.
    async fn validate(&self, members: &mut [Member<'_>]) {
        let open = members.iter_mut().filter(|member| matches!(member.stand, Stand::Open));
        until_one_fails(open, async |member| self.follow_to_hold(member).await).await;
    }

    /// Follows the bakes of all, until the first of them has ended badly.
    async fn bake(&self, members: &mut [Member<'_>]) {
        let live = members.iter_mut().filter(|member| matches!(member.stand, Stand::Live));
        until_one_fails(live, async |member| {
            let Some(deployment) = &member.deployment else { return Ok(None) };
            let ended = self.following(member).follow(deployment.as_str(), Until::Done).await?;
            match ended.exit {
                Exit::Done => Ok(None),
                // Nothing is wrong with it but that nobody looks any more.
                exit @ (Exit::Unfinished | Exit::Unreachable) => {
                    Ok(Some(Stand::Baking(Failure::new(exit, "live; its bake goes on"))))
                }
                exit => Err(Failure::new(exit, ended.message)),
            }
        })
        .await;
    }

    async fn follow_to_hold(&self, member: &Member<'_>) -> Result<Option<Stand>, Failure> {
        let Some(deployment) = &member.deployment else { return Ok(None) };
        let ended = self.following(member).follow(deployment.as_str(), Until::Live).await?;
        let holds = ended.view.as_ref().is_some_and(|view| view.hold_until.is_some());
        match ended.exit {
            Exit::Done => Ok(Some(Stand::Live)),
            Exit::Unfinished if holds => {
                member.printer.talk("validated: it waits for the others");
                Ok(Some(Stand::Held))
            }
            Exit::Unfinished => Ok(None),
            exit => Err(Failure::new(exit, ended.message)),
        }
    }

    fn following<'m>(&'m self, member: &'m Member<'_>) -> Following<'m> {
        Following {
            client: &member.controller.client,
            printer: &member.printer,
            service: &self.order.service,
            timeout: self.order.timeout,
        }
    }

    async fn still_holds(&self, member: &mut Member<'_>) -> Result<(), Failure> {
        let (Stand::Held, Some(deployment)) = (&member.stand, &member.deployment) else { return Ok(()) };
        let path = format!("/v1/services/{}/deployments/{deployment}", self.order.service);
        let view: DeploymentView = member.controller.client.get(&path).await?;
        if view.hold_until.is_none() && view.cutover_at.is_none() {
            let why = view.reason.unwrap_or_else(|| "no reason is known".to_owned());
            return Err(Failure::new(Exit::TakenBack, format!("it holds no longer: {why}")));
        }
        Ok(())
    }

    async fn promote(&self, member: &mut Member<'_>) -> Result<(), Failure> {
        let Some(deployment) = member.deployment.clone() else { return Ok(()) };
        if matches!(member.stand, Stand::Held) {
            let path = format!("/v1/services/{}/promote", self.order.service);
            let request = PromoteRequest { deployment: Some(deployment.clone()) };
            let _: Accepted = match member.controller.client.post(&path, Some(&request)).await {
                // Told again it is no mistake.
                Err(ClientError::Lost(_)) => member.controller.client.post(&path, Some(&request)).await?,
                answer => answer?,
            };
        }
        let ended = self.following(member).follow(deployment.as_str(), Until::Live).await?;
        match ended.exit {
            Exit::Done => {
                member.stand = Stand::Live;
                Ok(())
            }
            exit => Err(Failure::new(exit, ended.message)),
        }
    }

    /// Somebody looks away before all have been validated.
    fn detached(&self, members: &[Member<'_>]) -> Exit {
        let hold = self.order.request.spec.rollout.hold.unwrap_or(self.across.hold);
        let hold = humantime::format_duration(hold);
        self.printer.talk(&format!(
            "no host was switched; each takes its deployment back by itself {hold} after it was validated\n  hint: the \
             same command goes on from there, `cutover abort {}` takes them back at once",
            self.order.service
        ));
        self.conclude(members, "not finished: no host was switched")
    }

    /// Says how it stands on each host; the worst exit code.
    fn conclude(&self, members: &[Member<'_>], message: &str) -> Exit {
        let exit = members.iter().map(Member::exit).fold(Exit::Done, Exit::worse);
        let object = json!({
            "v": VERSION, "success": exit == Exit::Done, "status": status(members), "message": message,
            "duration_seconds": crate::cli::follow::milliseconds(self.begun.elapsed()),
            // Each host has one of its own.
            "deployment": null,
            "version": self.order.request.spec.version,
            "hosts": members.iter().map(Member::object).collect::<Vec<_>>(),
        });
        self.printer.result(&object, || {
            let mut text = format!("{}   {message}", self.order.service);
            for member in members {
                text.push_str(&format!("\n  {:<24} {}", member.name, member.stand.text()));
            }
            text
        });
        exit
    }
}

/// Does something for each of them at the same time, and waits for all, or for the first that fails.
async fn until_one_fails<'a, 'm: 'a>(
    members: impl Iterator<Item = &'a mut Member<'m>>,
    deed: impl AsyncFn(&Member<'m>) -> Result<Option<Stand>, Failure>,
) {
    let deed = &deed;
    let mut going: FuturesUnordered<_> = members
        .map(async |member| match deed(member).await {
            Ok(stand) => {
                if let Some(stand) = stand {
                    member.stand = stand;
                }
                true
            }
            Err(failure) => {
                member.complain(&failure);
                member.stand = Stand::after(failure);
                false
            }
        })
        .collect();
    while let Some(true) = going.next().await {}
}
