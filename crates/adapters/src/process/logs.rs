//! What the instances of a service have written, merged by time and followed as they write on.
//!
//! Read are the logs of what runs, of what ended without a stop, and of what was stopped, as long as retention keeps
//! them. However much there is, only the present line of each log is held in memory.

mod cursor;
mod sources;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::ports::{InstanceLogs, LogLine, LogQuery, PortError};
use cutover_core::{InstanceId, Timestamp};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::cursor::Cursor;
use super::record::now;
use super::{Instances, ProcessExecutor, failed, refused};

/// Lines on their way to a reader who is slower than the disk.
const UNDER_WAY: usize = 256;
/// How often a log that is followed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
/// Every so many looks it is asked which logs there are.
const SEARCH: u32 = 4;
/// Lines that are read before somebody has taken them.
const BATCH: usize = 256;
/// Lines of one log that are taken at one look, so that one that writes without end leaves room for the others.
const AT_ONCE: usize = 1000;

#[async_trait]
impl InstanceLogs for ProcessExecutor {
    async fn read(&self, query: LogQuery) -> Result<Receiver<LogLine>, PortError> {
        let (lines, receiver) = channel(UNDER_WAY);
        let (instances, follow) = (Arc::clone(&self.instances), query.follow);
        let mut reading =
            spawn_blocking(move || Reading::begin(instances, query)).await.map_err(refused)??;
        tokio::spawn(async move {
            loop {
                // A reader who is slow is waited for here, and not on a thread that others need.
                let told = spawn_blocking(move || (reading.next_lines(), reading)).await;
                let Ok((told, read_on)) = told else { return };
                reading = read_on;
                let is_full = told.len() == BATCH;
                for line in told {
                    if lines.send(line).await.is_err() {
                        return;
                    }
                }
                if is_full {
                    continue;
                }
                if !follow || lines.is_closed() {
                    return;
                }
                tokio::select! {
                    () = sleep(LOOK_AGAIN) => {}
                    () = lines.closed() => return,
                }
            }
        });
        Ok(receiver)
    }
}

/// One reader's place in every log.
struct Reading {
    instances: Arc<Instances>,
    query: LogQuery,
    cursors: Vec<Cursor>,
    known: HashSet<InstanceId>,
    /// Nothing older is told of what was not wanted at the beginning.
    began: Timestamp,
    /// Older lines than the wanted ones that are still before the cursors.
    surplus: usize,
    looks: u32,
    /// Not all that was found at the last look is told.
    amid_look: bool,
}

impl Reading {
    fn begin(instances: Arc<Instances>, query: LogQuery) -> Result<Self, PortError> {
        let began = now();
        let mut reading = Self {
            instances,
            query,
            cursors: Vec::new(),
            known: HashSet::new(),
            began,
            surplus: 0,
            looks: 0,
            amid_look: false,
        };
        reading.search(true)?;
        if let Some(lines) = reading.query.lines {
            let before = reading.cursors.iter_mut().map(|cursor| cursor.go_back(lines));
            let before: std::io::Result<usize> = before.sum();
            let before = before.map_err(|error| failed("read the logs", error))?;
            reading.surplus = before.saturating_sub(lines);
        }
        Ok(reading)
    }

    /// Finds the logs that are wanted and gives up those that are not any more.
    fn search(&mut self, at_first: bool) -> Result<(), PortError> {
        let found = self.instances.log_sources(&self.query.service)?;
        let wanted = |cursor: &Cursor| (self.query.wanted)(cursor.origin());
        let there =
            |cursor: &Cursor| found.iter().any(|source| source.origin.instance == cursor.origin().instance);
        self.cursors.retain(|cursor| wanted(cursor) && there(cursor));
        self.known = self.cursors.iter().map(|cursor| cursor.origin().instance.clone()).collect();
        for source in found {
            if self.known.contains(&source.origin.instance) || !(self.query.wanted)(&source.origin) {
                continue;
            }
            let since = if at_first { self.query.since } else { Some(self.began) };
            // One that was removed meanwhile has nothing to say.
            if let Ok(cursor) = Cursor::open(source, since) {
                self.known.insert(cursor.origin().instance.clone());
                self.cursors.push(cursor);
            }
        }
        Ok(())
    }

    /// The next lines of what has been written, the oldest first; fewer than [`BATCH`] once that was all of this look.
    fn next_lines(&mut self) -> Vec<LogLine> {
        if !self.amid_look {
            self.look();
        }
        let mut lines = Vec::new();
        self.amid_look = loop {
            if lines.len() == BATCH {
                break true;
            }
            let due = self.cursors.iter_mut().filter(|cursor| cursor.time().is_some());
            let Some(line) = due.min_by_key(|cursor| cursor.time()).and_then(Cursor::take) else {
                break false;
            };
            if self.surplus > 0 {
                self.surplus -= 1;
            } else {
                lines.push(line);
            }
        };
        lines
    }

    fn look(&mut self) {
        if self.looks > 0
            && self.looks.is_multiple_of(SEARCH)
            && let Err(error) = self.search(false)
        {
            tracing::warn!(%error, "the logs cannot be listed");
        }
        let bound = if self.looks == 0 { usize::MAX } else { AT_ONCE };
        self.looks = self.looks.wrapping_add(1).max(1);
        for cursor in &mut self.cursors {
            cursor.look(bound, !self.query.follow);
        }
    }
}
