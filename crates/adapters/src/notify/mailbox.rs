//! What is known and waits for one service, in memory and on the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cutover_controller::ports::{Mandate, News, NotifySettings, NotifyTrouble};
use cutover_core::Timestamp;
use cutover_core::release::{NewsKind, SecretValue};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::message::{self, HostName};
use super::receiver::Receiver;
use super::{delivery, durable_file};

const SETTINGS: &str = "settings.json";
const TOLD: &str = "told.json";
const OUTBOX: &str = "outbox";
/// Ids that are remembered: many more than deployments that are looked at for news.
const REMEMBERED: usize = 1000;
/// Messages that wait for one receiver; the oldest is given up for a newer one.
const LONGEST: usize = 500;

/// One service's settings, and what waits for its receivers.
pub(super) struct Mailbox {
    directory: PathBuf,
    pub(super) mandate: Arc<dyn Mandate>,
    inner: Mutex<Inner>,
    /// Told when the settings have changed: what failed by the old ones is tried by the new.
    pub(super) changed: Notify,
}

struct Inner {
    kept: Option<(NotifySettings, Timestamp)>,
    told: VecDeque<String>,
    next: u64,
    /// Receivers whose queue somebody is emptying.
    running: BTreeSet<Receiver>,
    failing: BTreeMap<Receiver, Failing>,
}

/// That a receiver has failed and not answered since.
#[derive(Debug, Clone)]
struct Failing {
    since: Timestamp,
    reason: String,
    given_up: usize,
}

/// A message that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) event: String,
    /// When it happened.
    pub(super) at: Timestamp,
    pub(super) body: String,
}

/// The settings as they are written down.
#[derive(Serialize, Deserialize)]
struct Written {
    webhook: Option<(String, Option<SecretValue>)>,
    slack: Option<SecretValue>,
    command: Option<Vec<String>>,
    on: Vec<NewsKind>,
    since: Timestamp,
}

impl Mailbox {
    pub(super) fn open(directory: PathBuf, mandate: Arc<dyn Mandate>) -> io::Result<Arc<Self>> {
        durable_file::create_directory_with_mode(&directory, 0o700)?;
        let kept = read::<Written>(&directory.join(SETTINGS))?.map(|written| {
            let Written { webhook, slack, command, on, since } = written;
            (NotifySettings { webhook, slack, command, on }, since)
        });
        let mut told: VecDeque<String> = read(&directory.join(TOLD))?.unwrap_or_default();
        let mut next = 1;
        for receiver in Receiver::ALL {
            for (number, path) in waiting(&directory, receiver)? {
                next = next.max(number + 1);
                if let Some(message) = read::<Message>(&path)? {
                    told.push_back(message.id);
                }
            }
        }
        let (running, failing) = (BTreeSet::new(), BTreeMap::new());
        let inner = Mutex::new(Inner { kept, told, next, running, failing });
        Ok(Arc::new(Self { directory, mandate, inner, changed: Notify::new() }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_settings(&self) -> bool {
        self.inner().kept.is_some()
    }

    pub(super) fn settings(&self) -> Option<NotifySettings> {
        self.inner().kept.as_ref().map(|(settings, _)| settings.clone())
    }

    /// Makes these the settings; what happened before `since` is not told if there were none before.
    pub(super) fn keep(&self, settings: Option<NotifySettings>, since: Timestamp) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.kept.as_ref().map(|(kept, _)| kept) == settings.as_ref() {
            return Ok(());
        }
        let since = inner.kept.as_ref().map_or(since, |(_, since)| *since);
        let path = self.directory.join(SETTINGS);
        match &settings {
            Some(NotifySettings { webhook, slack, command, on }) => {
                let (webhook, slack) = (webhook.clone(), slack.clone());
                let written = Written { webhook, slack, command: command.clone(), on: on.clone(), since };
                durable_file::write(&path, &serde_json::to_vec(&written)?, 0o600)?;
            }
            None => {
                remove(&path)?;
                durable_file::sync_directory(&self.directory)?;
            }
        }
        inner.kept = settings.map(|settings| (settings, since));
        inner.failing.clear();
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Takes news over: they are in the outbox of each receiver when this has returned.
    pub(super) fn take(&self, news: &News, host: &HostName) -> io::Result<()> {
        let mut inner = self.inner();
        let Some((settings, since)) = inner.kept.clone() else { return Ok(()) };
        let wanted = settings.on.contains(&news.kind) && news.at >= since;
        if !wanted || inner.told.contains(&news.id) {
            return Ok(());
        }
        for receiver in Receiver::ALL.into_iter().filter(|receiver| receiver.is_set(&settings)) {
            let body = match receiver {
                Receiver::Slack => message::slack(news, host),
                Receiver::Webhook | Receiver::Command => message::object(news, host),
            };
            let message = Message {
                id: news.id.clone(),
                event: news.kind.label().to_owned(),
                at: news.at,
                body: body.to_string(),
            };
            let outbox = self.outbox(receiver);
            durable_file::create_directory_with_mode(&outbox, 0o700)?;
            let number = inner.next;
            inner.next += 1;
            let content = serde_json::to_vec(&message)?;
            durable_file::write(&outbox.join(format!("{number:012}.json")), &content, 0o600)?;
            self.bound(&mut inner, receiver)?;
        }
        inner.told.push_back(news.id.clone());
        while inner.told.len() > REMEMBERED {
            inner.told.pop_front();
        }
        durable_file::write(&self.directory.join(TOLD), &serde_json::to_vec(&inner.told)?, 0o600)
    }

    fn bound(&self, inner: &mut Inner, receiver: Receiver) -> io::Result<()> {
        let all = waiting(&self.directory, receiver)?;
        for (_, path) in all.iter().take(all.len().saturating_sub(LONGEST)) {
            remove(path)?;
            if let Some(failing) = inner.failing.get_mut(&receiver) {
                failing.given_up += 1;
            }
        }
        Ok(())
    }

    fn outbox(&self, receiver: Receiver) -> PathBuf {
        self.directory.join(OUTBOX).join(receiver.label())
    }

    /// Begins to empty every outbox that holds something and that nobody is emptying.
    pub(super) fn start_all(self: &Arc<Self>) {
        for receiver in Receiver::ALL {
            let mut inner = self.inner();
            let holds = waiting(&self.directory, receiver).is_ok_and(|waiting| !waiting.is_empty());
            if holds && inner.running.insert(receiver) {
                tokio::spawn(delivery::empty(Arc::clone(self), receiver));
            }
        }
    }

    /// The message that waits longest; without one, whoever asks is not running any more.
    pub(super) fn first(&self, receiver: Receiver) -> Option<(PathBuf, Message)> {
        let mut inner = self.inner();
        for (_, path) in waiting(&self.directory, receiver).unwrap_or_default() {
            match read::<Message>(&path) {
                Ok(Some(message)) => return Some((path, message)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a message cannot be read and is dropped");
                    let _ = remove(&path);
                }
            }
        }
        inner.running.remove(&receiver);
        None
    }

    /// Whoever was emptying the outbox has stopped.
    pub(super) fn stopped(&self, receiver: Receiver) {
        self.inner().running.remove(&receiver);
    }

    pub(super) fn arrived(&self, receiver: Receiver, path: &Path) {
        self.inner().failing.remove(&receiver);
        self.drop_message(path);
    }

    pub(super) fn drop_message(&self, path: &Path) {
        if let Err(error) = remove(path) {
            tracing::warn!(path = %path.display(), %error, "a message that was told cannot be removed");
        }
    }

    /// Notes a try that failed; `given_up` if it was the last of its message.
    pub(super) fn failed(&self, receiver: Receiver, message: &Message, reason: String, given_up: bool) {
        let mut inner = self.inner();
        let failing = inner.failing.entry(receiver);
        let failing =
            failing.or_insert_with(|| Failing { since: message.at, reason: String::new(), given_up: 0 });
        failing.reason = reason;
        failing.given_up += usize::from(given_up);
    }

    pub(super) fn trouble(&self) -> Vec<NotifyTrouble> {
        let inner = self.inner();
        let trouble = |(receiver, failing): (&Receiver, &Failing)| NotifyTrouble {
            receiver: receiver.label(),
            since: failing.since,
            reason: failing.reason.clone(),
            waiting: waiting(&self.directory, *receiver).map_or(0, |waiting| waiting.len()),
            given_up: failing.given_up,
        };
        inner.failing.iter().map(trouble).collect()
    }
}

/// The messages for a receiver, the oldest first.
fn waiting(directory: &Path, receiver: Receiver) -> io::Result<Vec<(u64, PathBuf)>> {
    let outbox = directory.join(OUTBOX).join(receiver.label());
    let entries = match fs::read_dir(&outbox) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // A name that is not whole begins with a dot.
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")?.parse().ok());
        all.extend(number.map(|number| (number, path)));
    }
    all.sort_unstable();
    Ok(all)
}

/// The content of a file; `None` if there is none.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
