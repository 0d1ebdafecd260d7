//! What all connections share: who answers, what was asked so far, and what a request is answered with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::goodbye::Farewell;
use super::misdeed::Misdeeds;

const BODY_BYTES: usize = 100;
/// The longest body that is sent back.
pub(super) const ECHO_AT_MOST: usize = 64 * 1024;

/// The application behind the connections.
#[derive(Debug)]
pub(super) struct Application {
    /// The headers that say who answers.
    pub(super) identity: [(&'static str, String); 2],
    /// The answer to an ordinary GET with status 200, head and body, made once.
    pub(super) ready_answer: Vec<u8>,
    body: Vec<u8>,
    pub(super) status: AtomicU16,
    pub(super) requests: AtomicU64,
    /// From `started` to the last request's head, in nanoseconds; 0 before the first. A number, so that no request waits
    /// for another to note it.
    last_request: AtomicU64,
    started: Instant,
    pub(super) received_bytes: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) sessions: AtomicU64,
    pub(super) farewell: Farewell,
    pub(super) misdeeds: Misdeeds,
    /// `/` is counted apart, because it is what the bench asks for, a hundred thousand times a second.
    root: AtomicU64,
    paths: Mutex<HashMap<String, u64>>,
    /// What ends the whole process.
    pub(super) dies_at: OnceLock<String>,
    keys: Mutex<HashMap<String, u64>>,
}

/// An answer that fits into memory.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Application {
    pub(super) fn new(environment: &str, version: &str) -> Self {
        let mut body = format!("{environment} {version} ").into_bytes();
        body.resize(BODY_BYTES - 1, b'.');
        body.push(b'\n');
        let mut application = Self {
            identity: [("x-environment", environment.to_owned()), ("x-version", version.to_owned())],
            ready_answer: Vec::new(),
            body,
            status: AtomicU16::new(200),
            requests: AtomicU64::new(0),
            last_request: AtomicU64::new(0),
            started: Instant::now(),
            received_bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            farewell: Farewell::default(),
            misdeeds: Misdeeds::default(),
            root: AtomicU64::new(0),
            paths: Mutex::default(),
            dies_at: OnceLock::new(),
            keys: Mutex::default(),
        };
        let page = Reply { status: 200, headers: Vec::new(), body: application.body.clone() };
        application.ready_answer = application.wire(&page, false, true);
        application
    }

    /// What a request is answered with that has been read whole; `received` is its body, if it had one, and `key` its
    /// idempotency key. From here on it counts as processed.
    pub(super) fn process(&self, status: u16, received: Option<(u64, Vec<u8>)>, key: Option<&str>) -> Reply {
        let mut headers = Vec::new();
        if let Some(key) = key {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let processed = keys.entry(key.to_owned()).or_default();
            *processed += 1;
            headers.push(("x-processed", processed.to_string()));
        }
        let Some((bytes, kept)) = received else {
            return Reply { status, headers, body: self.body.clone() };
        };
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        headers.push(("x-received-bytes", bytes.to_string()));
        let echoes = bytes <= ECHO_AT_MOST as u64;
        if echoes {
            headers.push(("x-echo", "body".to_owned()));
        }
        Reply { status, headers, body: if echoes { kept } else { Vec::new() } }
    }

    /// A reply as it goes over a connection with HTTP/1.1. A HEAD's answer has the GET's head and no body (RFC 9110
    /// section 9.3.2).
    pub(super) fn wire(&self, reply: &Reply, head_only: bool, keep_alive: bool) -> Vec<u8> {
        let mut headers: Vec<_> = reply.headers.clone();
        if !keep_alive {
            headers.push(("connection", "close".to_owned()));
        }
        headers.push(("content-length", reply.body.len().to_string()));
        let mut wire = self.head(reply.status, &headers);
        if !head_only {
            wire.extend_from_slice(&reply.body);
        }
        wire
    }

    /// The head of an answer.
    pub(super) fn head(&self, status: u16, headers: &[(&'static str, String)]) -> Vec<u8> {
        let reason = match status {
            101 => "Switching Protocols",
            200 => "OK",
            _ => "Status",
        };
        let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
        for (name, value) in self.identity.iter().chain(headers) {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Counts a request by its target; its head has just been read.
    pub(super) fn asked_for(&self, target: &str) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let since = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_request.fetch_max(since.max(1), Ordering::Relaxed);
        if target == "/" {
            self.root.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let path = target.split('?').next().unwrap_or(target);
        if self.dies_at.get().is_some_and(|fatal| fatal == path) {
            die();
        }
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = paths.get_mut(path) {
            *count += 1;
        } else {
            paths.insert(path.to_owned(), 1);
        }
    }

    pub(super) fn last_request_at(&self) -> Option<Instant> {
        let since = self.last_request.load(Ordering::Relaxed);
        (since > 0).then(|| self.started + Duration::from_nanos(since))
    }

    pub(super) fn requests_of(&self, path: &str) -> u64 {
        let exact = if path == "/" { self.root.load(Ordering::Relaxed) } else { 0 };
        exact + self.paths.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied().unwrap_or(0)
    }

    pub(super) fn processed(&self, key: &str) -> u64 {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0)
    }

    pub(super) fn processed_and_keys(&self) -> (u64, u64) {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        (keys.values().sum(), keys.len() as u64)
    }
}

/// Ends as a program does that has a bug.
#[allow(clippy::exit, reason = "it is what was asked for, by a program that is this application")]
fn die() -> ! {
    std::process::exit(3)
}
