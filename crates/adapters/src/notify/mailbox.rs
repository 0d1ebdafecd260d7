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
    /// Held for moments only, and never while a disk is waited for: whoever asks has no thread to spare.
    inner: Mutex<Inner>,
    /// Held by whoever writes settings or takes news over, on a thread where waiting is allowed. Before `inner`.
    ledger: Mutex<Ledger>,
    /// Told when the settings have changed: what failed by the old ones is tried by the new.
    pub(super) changed: Notify,
}

struct Inner {
    kept: Option<(NotifySettings, Timestamp)>,
    /// Numbers of the messages that wait, the oldest first. What is not here is told no more, even if its file cannot be
    /// removed.
    waiting: BTreeMap<Receiver, VecDeque<u64>>,
    /// Receivers whose queue somebody is emptying.
    running: BTreeSet<Receiver>,
    failing: BTreeMap<Receiver, Failing>,
}

/// What was taken over.
struct Ledger {
    told: VecDeque<String>,
    next: u64,
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
        let mut waiting = BTreeMap::<Receiver, VecDeque<u64>>::new();
        for receiver in Receiver::ALL {
            for number in numbers(&outbox(&directory, receiver))? {
                next = next.max(number + 1);
                if let Some(message) = read::<Message>(&file(&directory, receiver, number))? {
                    told.push_back(message.id);
                    waiting.entry(receiver).or_default().push_back(number);
                }
            }
        }
        let (running, failing) = (BTreeSet::new(), BTreeMap::new());
        let inner = Mutex::new(Inner { kept, waiting, running, failing });
        let ledger = Mutex::new(Ledger { told, next });
        Ok(Arc::new(Self { directory, mandate, inner, ledger, changed: Notify::new() }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_settings(&self) -> bool {
        self.inner().kept.is_some()
    }

    pub(super) fn settings(&self) -> Option<NotifySettings> {
        self.inner().kept.as_ref().map(|(settings, _)| settings.clone())
    }

    /// Makes these the settings; what happened before `since` is not told if there were none before.
    pub(super) fn keep(&self, settings: Option<NotifySettings>, since: Timestamp) -> io::Result<()> {
        let _turn = self.ledger();
        let kept = self.inner().kept.clone();
        if kept.as_ref().map(|(kept, _)| kept) == settings.as_ref() {
            return Ok(());
        }
        let since = kept.map_or(since, |(_, since)| since);
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
        let mut inner = self.inner();
        inner.kept = settings.map(|settings| (settings, since));
        inner.failing.clear();
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Takes news over: they are in the outbox of each receiver when this has returned.
    pub(super) fn take(&self, news: &News, host: &HostName) -> io::Result<()> {
        let mut ledger = self.ledger();
        let Some((settings, since)) = self.inner().kept.clone() else { return Ok(()) };
        let wanted = settings.on.contains(&news.kind) && news.at >= since;
        if !wanted || ledger.told.contains(&news.id) {
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
            durable_file::create_directory_with_mode(&outbox(&self.directory, receiver), 0o700)?;
            let number = ledger.next;
            ledger.next += 1;
            let content = serde_json::to_vec(&message)?;
            durable_file::write(&file(&self.directory, receiver, number), &content, 0o600)?;
            for given_up in self.inner().add(receiver, number) {
                remove(&file(&self.directory, receiver, given_up))?;
            }
        }
        ledger.told.push_back(news.id.clone());
        while ledger.told.len() > REMEMBERED {
            ledger.told.pop_front();
        }
        durable_file::write(&self.directory.join(TOLD), &serde_json::to_vec(&ledger.told)?, 0o600)
    }

    /// Begins to empty every outbox that holds something and that nobody is emptying.
    pub(super) fn start_all(self: &Arc<Self>) {
        for receiver in Receiver::ALL {
            let mut inner = self.inner();
            let holds = inner.waiting.get(&receiver).is_some_and(|waiting| !waiting.is_empty());
            if holds && inner.running.insert(receiver) {
                tokio::spawn(delivery::empty(Arc::clone(self), receiver));
            }
        }
    }

    /// The message that waits longest, with its number; without one, whoever asks is not running any more.
    pub(super) async fn first(&self, receiver: Receiver) -> Option<(u64, Message)> {
        loop {
            let number = {
                let mut inner = self.inner();
                let Some(first) = inner.waiting.get(&receiver).and_then(|waiting| waiting.front()).copied()
                else {
                    inner.running.remove(&receiver);
                    return None;
                };
                first
            };
            let path = file(&self.directory, receiver, number);
            match off_thread(move || read::<Message>(&path)).await {
                Ok(Some(message)) => return Some((number, message)),
                Ok(None) => self.inner().forget(receiver, number),
                Err(error) => {
                    tracing::error!(receiver = receiver.label(), number, %error, "a message cannot be read and is dropped");
                    self.drop_message(receiver, number).await;
                }
            }
        }
    }

    /// Whoever was emptying the outbox has stopped.
    pub(super) fn stopped(&self, receiver: Receiver) {
        self.inner().running.remove(&receiver);
    }

    pub(super) async fn arrived(&self, receiver: Receiver, number: u64) {
        self.inner().failing.remove(&receiver);
        self.drop_message(receiver, number).await;
    }

    /// It is told no more, whatever becomes of its file.
    pub(super) async fn drop_message(&self, receiver: Receiver, number: u64) {
        self.inner().forget(receiver, number);
        let path = file(&self.directory, receiver, number);
        if let Err(error) = off_thread(move || remove(&path)).await {
            tracing::warn!(
                receiver = receiver.label(), number, %error,
                "a message that was told cannot be removed; it is told again after the next start"
            );
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
            waiting: inner.waiting.get(receiver).map_or(0, VecDeque::len),
            given_up: failing.given_up,
        };
        inner.failing.iter().map(trouble).collect()
    }
}

impl Inner {
    /// Lets a message wait, and says which are given up for it.
    fn add(&mut self, receiver: Receiver, number: u64) -> Vec<u64> {
        let waiting = self.waiting.entry(receiver).or_default();
        waiting.push_back(number);
        let given_up: Vec<u64> = waiting.drain(..waiting.len().saturating_sub(LONGEST)).collect();
        if let Some(failing) = self.failing.get_mut(&receiver) {
            failing.given_up += given_up.len();
        }
        given_up
    }

    fn forget(&mut self, receiver: Receiver, number: u64) {
        if let Some(waiting) = self.waiting.get_mut(&receiver) {
            waiting.retain(|other| *other != number);
        }
    }
}

/// Does what waits for a disk where that is allowed.
async fn off_thread<T: Send + 'static>(
    deed: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(deed).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn outbox(directory: &Path, receiver: Receiver) -> PathBuf {
    directory.join(OUTBOX).join(receiver.label())
}

fn file(directory: &Path, receiver: Receiver, number: u64) -> PathBuf {
    outbox(directory, receiver).join(format!("{number:012}.json"))
}

/// The numbers of the messages in an outbox, the oldest first.
fn numbers(outbox: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(outbox) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // A name that is not whole begins with a dot.
        all.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Holds;

    impl Mandate for Holds {
        fn holds(&self) -> Result<(), String> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_message_whose_file_stays_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let written = file(directory.path(), Receiver::Command, 7);
        fs::create_dir_all(written.parent().unwrap()).unwrap();
        let message = r#"{"id":"shop-1-live","event":"live","at":0,"body":"{}"}"#;
        fs::write(&written, message).unwrap();
        let mailbox = Mailbox::open(directory.path().to_owned(), Arc::new(Holds)).unwrap();
        let (number, message) = mailbox.first(Receiver::Command).await.unwrap();
        assert_eq!((number, message.id.as_str()), (7, "shop-1-live"));
        // Nothing can remove a file that is a directory by now, also not as root.
        fs::remove_file(&written).unwrap();
        fs::create_dir_all(written.join("full")).unwrap();
        mailbox.arrived(Receiver::Command, number).await;
        assert!(written.exists());
        assert!(mailbox.first(Receiver::Command).await.is_none());
    }

    #[test]
    fn of_too_many_that_wait_the_oldest_are_given_up_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(directory.path().to_owned(), Arc::new(Holds)).unwrap();
        let at = Timestamp::from_millis(0);
        let message = Message { id: String::new(), event: String::new(), at, body: String::new() };
        mailbox.failed(Receiver::Slack, &message, "down".to_owned(), false);
        let given_up: Vec<u64> = (1..=LONGEST as u64 + 2)
            .flat_map(|number| mailbox.inner().add(Receiver::Slack, number))
            .collect();
        assert_eq!(given_up, [1, 2]);
        assert_eq!((mailbox.trouble()[0].waiting, mailbox.trouble()[0].given_up), (LONGEST, 2));
    }
}
