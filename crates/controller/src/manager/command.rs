//! Commands that people run with a release: recorded before they begin, and when they have ended.

use cutover_core::service::{CommandEnd, CommandRun, Event};
use cutover_core::{CommandId, ServiceName};

use crate::manager::{DeploymentManager, RequestError};
use crate::ports::{Ending, Invocation};

impl DeploymentManager {
    /// An id for a command.
    #[must_use]
    pub fn new_command_id() -> CommandId {
        let text = Self::new_deployment_id().to_string();
        CommandId::try_from(text)
            .unwrap_or_else(|_| unreachable!("what is a deployment's id is valid here too"))
    }

    /// Records that a command is about to begin; durable once this has returned.
    ///
    /// # Errors
    /// [`RequestError`]; it must not begin then.
    pub async fn command_started(
        &self,
        wanted: &Invocation,
        actor: &str,
    ) -> Result<CommandRun, RequestError> {
        self.known(&wanted.service).await?;
        let run = CommandRun {
            id: wanted.id.clone(),
            actor: actor.to_owned(),
            environment: wanted.environment,
            release: wanted.release.id.clone(),
            version: wanted.release.version.clone(),
            command: wanted.command.clone(),
            started_at: self.clock().now(),
            ended: None,
        };
        self.request(&wanted.service, Event::CommandStarted { run: run.clone() }).await?;
        Ok(run)
    }

    /// Records how it has ended.
    ///
    /// # Errors
    /// If that cannot be recorded now.
    pub async fn command_ended(
        &self,
        service: &ServiceName,
        run: CommandRun,
        ending: &Ending,
    ) -> Result<(), RequestError> {
        let ended =
            CommandEnd { at: self.clock().now(), how: ending.how.clone(), status: Some(ending.status) };
        let run = CommandRun { ended: Some(ended), ..run };
        self.request(service, Event::CommandEnded { run }).await.map(drop)
    }
}
