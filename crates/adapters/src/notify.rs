//! Tells people: webhooks, Slack-compatible receivers, commands.
//!
//! `notify/SERVICE/` of the state directory holds `settings.json` (who is told, with the secrets, mode 0600),
//! `told.json` (the ids that were taken over) and `outbox/RECEIVER/`, one file for each message that waits. A message
//! is written there before it counts as taken over and removed when its receiver has answered, so that a crash tells
//! it twice rather than never. Each receiver has its own queue with an order and a length that is bounded; what
//! waits is on the disk, so a receiver that is down costs no memory, and nobody waits for one that is slow.

mod delivery;
mod mailbox;
mod message;
mod receiver;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cutover_controller::ports::{
    Mandate, News, Notifier, NotifySettings, NotifyTrouble, PortError, PrepareError,
};
use cutover_core::release::{NotifySpec, SecretSource, SecretValue};
use cutover_core::{ServiceName, Timestamp};

use self::mailbox::Mailbox;
use self::message::HostName;
use crate::{durable_file, secret_source};

/// Tells what each service's settings say.
pub struct Receivers {
    root: PathBuf,
    mandate: Arc<dyn Mandate>,
    host: HostName,
    mailboxes: Mutex<HashMap<ServiceName, Arc<Mailbox>>>,
}

impl Receivers {
    /// The receivers of a state directory; what waited there is tried again at once. To be called within a runtime.
    /// Nothing is sent any more when the mandate holds no longer.
    ///
    /// # Errors
    /// If the directory cannot be made or read. Settings that cannot be read are told in the log, and nobody hears
    /// of that service.
    pub fn new(state_directory: &Path, mandate: Arc<dyn Mandate>) -> io::Result<Self> {
        let root = state_directory.join("notify");
        durable_file::create_directory_with_mode(&root, 0o700)?;
        let host = HostName::of_this_host();
        let mut mailboxes = HashMap::new();
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            let Some(service) = entry.file_name().to_str().and_then(|name| name.parse::<ServiceName>().ok())
            else {
                continue;
            };
            match Mailbox::open(entry.path(), Arc::clone(&mandate)) {
                Ok(mailbox) => {
                    mailbox.start_all();
                    mailboxes.insert(service, mailbox);
                }
                Err(error) => tracing::error!(%service, %error, "who is told of it cannot be read"),
            }
        }
        Ok(Self { root, mandate, host, mailboxes: Mutex::new(mailboxes) })
    }

    fn mailbox(&self, service: &ServiceName) -> Option<Arc<Mailbox>> {
        let mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.get(service).cloned()
    }
}

#[async_trait]
impl Notifier for Receivers {
    async fn resolve(&self, spec: &NotifySpec) -> Result<NotifySettings, PrepareError> {
        let webhook = match &spec.webhook {
            None => None,
            Some(webhook) => {
                let secret = match &webhook.secret {
                    None => None,
                    Some(source) => Some(text("webhook.secret", source).await?),
                };
                Some((webhook.url.clone(), secret))
            }
        };
        let slack = match &spec.slack {
            None => None,
            Some(source) => {
                let url = text("slack.url", source).await?;
                let is_address =
                    ["https://", "http://"].iter().any(|scheme| url.expose().starts_with(scheme));
                if !is_address || url.expose().contains(char::is_whitespace) {
                    let reason = "`slack.url` of `[notify]` is not an address".to_owned();
                    let hint = Some("it begins with `https://` and stands alone in its file".to_owned());
                    return Err(PrepareError::Wrong { reason, hint });
                }
                Some(url)
            }
        };
        Ok(NotifySettings { webhook, slack, command: spec.command.clone(), on: spec.on.clone() })
    }

    async fn keep(
        &self,
        service: &ServiceName,
        settings: Option<NotifySettings>,
        since: Timestamp,
    ) -> Result<(), PortError> {
        let mailbox = match (self.mailbox(service), &settings) {
            (Some(mailbox), _) => mailbox,
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                let directory = self.root.join(service.as_str());
                let mandate = Arc::clone(&self.mandate);
                let opened = tokio::task::spawn_blocking(move || Mailbox::open(directory, mandate)).await;
                let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
                let opened = opened.map_err(|error| failed(service, &error))?;
                let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(mailboxes.entry(service.clone()).or_insert(opened))
            }
        };
        let kept = Arc::clone(&mailbox);
        let written = tokio::task::spawn_blocking(move || kept.keep(settings, since)).await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| failed(service, &error))?;
        mailbox.start_all();
        Ok(())
    }

    fn wants(&self, service: &ServiceName) -> bool {
        self.mailbox(service).is_some_and(|mailbox| mailbox.has_settings())
    }

    async fn tell(&self, news: &News) -> Result<(), PortError> {
        let Some(mailbox) = self.mailbox(&news.service) else { return Ok(()) };
        let (taker, news, host) = (Arc::clone(&mailbox), news.clone(), self.host.clone());
        let service = news.service.clone();
        let taken = tokio::task::spawn_blocking(move || taker.take(&news, &host)).await;
        taken
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| failed(&service, &error))?;
        mailbox.start_all();
        Ok(())
    }

    fn trouble(&self, service: &ServiceName) -> Vec<NotifyTrouble> {
        self.mailbox(service).map(|mailbox| mailbox.trouble()).unwrap_or_default()
    }
}

async fn text(name: &str, source: &SecretSource) -> Result<SecretValue, PrepareError> {
    let value = secret_source::value(name, source).await?;
    String::from_utf8(value).map(SecretValue::new).map_err(|_| PrepareError::Wrong {
        reason: format!("the secret `{name}` is not UTF-8"),
        hint: Some("encode it, for example with base64".to_owned()),
    })
}

fn failed(service: &ServiceName, error: &io::Error) -> PortError {
    PortError::new(format!("cannot keep what shall be told of `{service}`: {error}"))
}
