//! Takes back on each host what this command has begun there, and nothing that anybody else has.

use std::time::Duration;

use cutover_core::DeploymentId;
use cutover_core::service::Status;
use futures_util::future::join_all;

use super::{Everywhere, Member, Stand};
use crate::api::views::{DeploymentView, ServiceView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::rollback::{Back, take_back_on};

/// Long enough for any undo.
const UNDONE_WITHIN: Duration = Duration::from_secs(600);

impl Everywhere<'_> {
    /// Takes back what has not been switched. What was switched by somebody else's word meanwhile stays.
    pub(super) async fn take_back(&self, members: &mut [Member<'_>]) {
        join_all(members.iter_mut().map(async |member| {
            if !matches!(member.stand, Stand::Open | Stand::Held | Stand::Unknown(_)) {
                return;
            }
            // Whatever has begun where no answer came ends with its own hold.
            let Some(deployment) = member.deployment.clone() else { return };
            member.stand = self.taken_back(member, &deployment).await.unwrap_or_else(|failure| {
                member.complain(&failure);
                Stand::after(failure)
            });
        }))
        .await;
    }

    async fn taken_back(&self, member: &Member<'_>, deployment: &DeploymentId) -> Result<Stand, Failure> {
        let path = format!("/v1/services/{}/deployments/{deployment}", self.order.service);
        let view: DeploymentView = member.controller.client.get(&path).await?;
        if view.status == Status::Live {
            return Ok(Stand::Live);
        }
        if view.ended_at.is_some() {
            let why = view.reason.unwrap_or_else(|| "no reason is known".to_owned());
            return Ok(Stand::TakenBack(format!("taken back: {why}")));
        }
        self.back(member, &Back::Abort(Some(deployment.clone()))).await?;
        Ok(Stand::TakenBack("taken back, because another host has failed".to_owned()))
    }

    /// Goes back on hosts that have switched.
    pub(super) async fn go_back(&self, members: &mut [Member<'_>]) {
        let switched = members.iter_mut().filter(|member| member.stand.is_live());
        join_all(switched.map(async |member| {
            member.stand = self.gone_back(member).await.unwrap_or_else(|failure| {
                member.complain(&failure);
                Stand::after(failure)
            });
        }))
        .await;
    }

    async fn gone_back(&self, member: &Member<'_>) -> Result<Stand, Failure> {
        let path = format!("/v1/services/{}", self.order.service);
        let view: ServiceView = member.controller.client.get(&path).await?;
        let open = view.deployment.filter(|newest| newest.ended_at.is_none());
        let how = match open {
            None => Back::Rollback,
            Some(open) if Some(&open.deployment) == member.deployment.as_ref() => {
                Back::Abort(Some(open.deployment))
            }
            Some(other) => {
                let why = format!(
                    "not rolled back: deployment `{}` of `{}` by {} is open there by now",
                    other.deployment, other.version, other.actor
                );
                return Err(Failure::new(Exit::Refused, why));
            }
        };
        self.back(member, &how).await?;
        Ok(Stand::TakenBack("rolled back, because another host could not switch".to_owned()))
    }

    async fn back(&self, member: &Member<'_>, how: &Back) -> Result<(), Failure> {
        let client = &member.controller.client;
        match take_back_on(client, &self.order.service, UNDONE_WITHIN, how, &member.printer).await? {
            Exit::Done => Ok(()),
            exit => Err(Failure::new(exit, "it could not be taken back yet")),
        }
    }
}
