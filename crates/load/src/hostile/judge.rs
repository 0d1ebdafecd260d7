//! Plays a case against a proxy and compares what came out on both sides with its fate.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::answers::Answers;
use super::canonical::meaning;
use super::case::{Case, Fate, Step};
use super::conversation::{Conversation, End};
use super::recorder::{Recorder, Recording};
use super::verdict::{Finding, Verdict};

/// Proves that a connection still carries requests.
const FOLLOW_UP: &[u8] = b"GET /follow-up HTTP/1.1\r\nHost: a\r\n\r\n";
const FOLLOW_UP_TARGET: &[u8] = b"/follow-up";
/// Proves that the next client is served, and that whatever the proxy was about to forward has arrived.
const FENCE: &[u8] = b"GET /fence HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const FENCE_TARGET: &[u8] = b"/fence";
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A longer input is not divided: a packet for each byte of it would prove no more.
const DIVIDED_AT_MOST: usize = 4096;

/// How the client's bytes are written. What becomes of them must not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As much as the kernel takes.
    Whole,
    /// Byte by byte, if there are few.
    Bytewise,
}

/// Judges one proxy, one case at a time.
#[derive(Debug)]
pub struct Judge<'a> {
    proxy: SocketAddr,
    recorder: &'a Recorder,
    /// How long a proxy may take for a case. One that does what it should never lets it pass.
    pub patience: Duration,
    /// How the client's bytes are written.
    pub delivery: Delivery,
}

/// What the client of a case has heard.
struct Heard {
    answers: Answers,
    end: End,
    /// Everything was sent and no write met an end.
    sent_all: bool,
    /// Statuses for which the client waited in vain.
    in_vain: Vec<u16>,
    /// Whether another request was answered on the same connection, if that was asked.
    kept: Option<bool>,
}

impl<'a> Judge<'a> {
    /// A judge of the proxy that listens there and has the recorder as its only upstream.
    #[must_use]
    pub fn new(proxy: SocketAddr, recorder: &'a Recorder) -> Self {
        Self { proxy, recorder, patience: PATIENCE, delivery: Delivery::Whole }
    }

    /// Plays the case. Nobody else may use the proxy meanwhile.
    pub async fn judge(&self, case: &Case) -> Verdict {
        let mark = self.recorder.mark();
        let heard = match self.play(case).await {
            Ok(heard) => heard,
            Err(error) => {
                let findings = vec![Finding::NotReached(error.to_string())];
                return Verdict { happened: "not reached".to_owned(), findings };
            }
        };
        let fence = self.pass_fence().await;
        let mut recording = self.recorder.since(&mark);
        if matches!(case.fate, Fate::RefusedInBody { .. }) {
            let deadline = Instant::now() + self.patience;
            while recording.begun.iter().any(|(_, open)| *open) && Instant::now() < deadline {
                tokio::time::sleep(LOOK_EVERY).await;
                recording = self.recorder.since(&mark);
            }
        }

        let mut findings = Vec::new();
        findings
            .extend(fence.and_then(|number| check_fence(&recording, number)).err().map(Finding::NextClient));
        recording.requests.retain(|request| request.target != FENCE_TARGET);
        compare_answers(case, &heard, &recording, &mut findings);
        recording.requests.retain(|request| request.target != FOLLOW_UP_TARGET);
        compare_upstream(case, &recording, &mut findings);
        Verdict { happened: happened(case, &heard, &recording), findings }
    }

    async fn play(&self, case: &Case) -> std::io::Result<Heard> {
        let deadline = Instant::now() + self.patience;
        let length: usize =
            case.send.iter().map(|step| if let Step::Send(bytes) = step { bytes.len() } else { 0 }).sum();
        let divided = self.delivery == Delivery::Bytewise && length <= DIVIDED_AT_MOST;
        let mut conversation =
            Conversation::open(self.proxy, if divided { 1 } else { usize::MAX / 2 }).await?;
        let head_only: Vec<bool> =
            case.fate.requests().iter().map(|request| request.starts_with(b"HEAD ")).collect();
        let answers = |conversation: &Conversation| {
            Answers::read(&conversation.received, &head_only, conversation.end != End::Open)
        };

        let mut in_vain = Vec::new();
        for step in &case.send {
            match step {
                Step::Send(bytes) => conversation.say(bytes),
                Step::End => conversation.finish(deadline).await,
                Step::Await(status) => {
                    conversation.go_on_until(deadline, |so_far| answers(so_far).has(*status)).await;
                    if !answers(&conversation).has(*status) {
                        in_vain.push(*status);
                    }
                }
            }
        }
        let due = case.fate.answers();
        let is_settled = |so_far: &Conversation| {
            let answers = answers(so_far);
            answers.malformed.is_some()
                || answers.last.len() >= due
                || !may_go_on(&case.fate, &answers.statuses())
        };
        conversation.go_on_until(deadline, is_settled).await;
        let right_so_far = may_go_on(&case.fate, &answers(&conversation).statuses());
        let mut kept = None;
        let refused = answers(&conversation).last.last().is_some_and(|answer| answer.status >= 400);
        // Also after another refusal than was due, the end belongs to the story.
        if case.fate.closes() && (right_so_far || refused) {
            conversation.go_on_until(deadline, |_| false).await;
        } else if right_so_far {
            conversation.go_on_until(deadline, Conversation::has_said_all).await;
            conversation.say(FOLLOW_UP);
            conversation.go_on_until(deadline, |so_far| answers(so_far).last.len() > due).await;
            kept = Some(answers(&conversation).last.len() > due);
        }
        let answers = answers(&conversation);
        let sent_all = conversation.has_said_all() && !conversation.cut_off;
        Ok(Heard { answers, end: conversation.end, sent_all, in_vain, kept })
    }

    /// The number under which the recorder has the fence's request.
    async fn pass_fence(&self) -> Result<usize, String> {
        let deadline = Instant::now() + self.patience;
        let read = |so_far: &Conversation| Answers::read(&so_far.received, &[], so_far.end != End::Open);
        let mut conversation =
            Conversation::open(self.proxy, usize::MAX / 2).await.map_err(|error| error.to_string())?;
        conversation.say(FENCE);
        conversation.go_on_until(deadline, |so_far| !read(so_far).last.is_empty()).await;
        match read(&conversation).last.first() {
            Some(answer) if answer.status == 200 => answer.recorded.ok_or("an answer of nobody's".to_owned()),
            Some(answer) => Err(format!("answered {}", answer.status)),
            None => Err("no answer".to_owned()),
        }
    }
}

impl Fate {
    /// Whether the connection is closed after the last answer.
    fn closes(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::RefusedInBody { .. } => true,
            Self::Forwarded { closed, .. } => *closed,
        }
    }

    /// The statuses of the final answers.
    fn statuses(&self) -> Vec<u16> {
        match self {
            Self::Refused { status, before } => [vec![200; before.len()], vec![*status]].concat(),
            Self::RefusedInBody { before } => [vec![200; before.len()], vec![400]].concat(),
            Self::Forwarded { answers, .. } => answers.clone(),
        }
    }
}

/// Whether these answers can still become the right ones.
fn may_go_on(fate: &Fate, so_far: &[u16]) -> bool {
    fate.statuses().starts_with(so_far)
}

fn check_fence(recording: &Recording, number: usize) -> Result<(), String> {
    let mut fences = recording.requests.iter().filter(|request| request.target == FENCE_TARGET);
    match (fences.next(), fences.next()) {
        (Some(fence), None) if fence.number == number => Ok(()),
        (Some(_), None) => Err("it got another one's answer".to_owned()),
        (None, _) => Err("its request did not arrive".to_owned()),
        (Some(_), Some(_)) => Err("its request arrived twice".to_owned()),
    }
}

fn compare_answers(case: &Case, heard: &Heard, recording: &Recording, findings: &mut Vec<Finding>) {
    findings.extend(heard.in_vain.iter().map(|status| Finding::NotAwaited(*status)));
    findings.extend(heard.answers.malformed.clone().map(Finding::NoAnswer));
    let (mut got, mut expected) = (heard.answers.statuses(), case.fate.statuses());
    if heard.kept == Some(true) {
        expected.push(200);
    }
    // A body that breaks off may end the connection without a word.
    let wordless = matches!(case.fate, Fate::RefusedInBody { .. }) && got.len() + 1 == expected.len();
    if wordless && heard.end != End::Open && !heard.answers.cut {
        expected.pop();
    }
    let right = got == expected;
    if !right {
        findings.push(Finding::Answers { expected, got: std::mem::take(&mut got) });
    }
    if right && case.fate.closes() && heard.end == End::Open {
        findings.push(Finding::LeftOpen);
    }
    if heard.kept == Some(false) {
        findings.push(Finding::NotKept);
    }
    if case.orderly && (heard.end == End::Reset || !heard.sent_all) {
        findings.push(Finding::Reset);
    }
    let answered = heard.answers.last.iter().filter_map(|answer| answer.recorded);
    if !answered.eq(recording.requests.iter().map(|request| request.number).take(answered_count(heard))) {
        findings.push(Finding::AnswersMixed);
    }
}

fn answered_count(heard: &Heard) -> usize {
    heard.answers.last.iter().filter(|answer| answer.recorded.is_some()).count()
}

fn compare_upstream(case: &Case, recording: &Recording, findings: &mut Vec<Finding>) {
    findings.extend(recording.deviations.iter().cloned().map(Finding::Ambiguous));
    let got: Vec<&[u8]> = recording.requests.iter().map(|request| request.canonical.as_slice()).collect();
    let expected = case.fate.requests();
    if got != expected {
        let same_meaning =
            got.iter().map(|request| meaning(request)).eq(expected.iter().map(|request| meaning(request)));
        let (expected, got) = (shown(expected.iter().map(Vec::as_slice)), shown(got.into_iter()));
        findings.push(if same_meaning {
            Finding::OtherForm { expected, got }
        } else {
            Finding::Upstream { expected, got }
        });
    }
    for (begun, open) in &recording.begun {
        match case.fate {
            Fate::RefusedInBody { .. } if *open => findings.push(Finding::NotCutOff),
            Fate::RefusedInBody { .. } => {}
            // It is told as a deviation already.
            _ if !recording.deviations.is_empty() => {}
            _ => findings.push(Finding::Begun(shortened(begun))),
        }
    }
    for text in &case.unseen {
        if recording.bytes.windows(text.len().max(1)).any(|window| window.eq_ignore_ascii_case(text)) {
            findings.push(Finding::Seen(text.escape_ascii().to_string()));
        }
    }
}

fn shown<'a>(requests: impl Iterator<Item = &'a [u8]>) -> String {
    let requests: Vec<String> = requests.map(|request| format!("\"{}\"", shortened(request))).collect();
    if requests.is_empty() { "nothing".to_owned() } else { requests.join(" and ") }
}

fn shortened(bytes: &[u8]) -> String {
    const SHOWN: usize = 160;
    let more = if bytes.len() > SHOWN { format!(" … {} bytes", bytes.len()) } else { String::new() };
    format!("{}{more}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// The whole story in a few words: what the upstream received, what the client was told, how it ended.
fn happened(case: &Case, heard: &Heard, recording: &Recording) -> String {
    let got = recording.requests.iter().map(|request| request.canonical.as_slice());
    let expected = case.fate.requests();
    let forwarded_all = matches!(case.fate, Fate::Forwarded { .. });
    let mut parts = Vec::new();
    if !recording.deviations.is_empty() {
        parts.push("forwarded ambiguously".to_owned());
    } else if got.len() > expected.len() && !forwarded_all {
        parts.push("forwarded".to_owned());
    } else if forwarded_all && got.len() > 0 {
        let same = got.map(meaning).eq(expected.iter().map(|request| meaning(request)));
        parts.push(if same { "forwarded" } else { "forwarded differently" }.to_owned());
    } else if !recording.begun.is_empty() {
        parts.push("forwarded in part".to_owned());
    }
    let refusal = heard.answers.last.iter().map(|answer| answer.status).find(|status| *status != 200);
    parts.extend(refusal.map(|status| status.to_string()));
    let nothing_said = heard.answers.last.is_empty() && heard.answers.malformed.is_none();
    let mut text = parts.join(", ");
    let ending = match heard.end {
        End::Closed if refusal.is_some() || nothing_said => "close",
        End::Reset => "reset",
        End::Open if nothing_said => "silence",
        End::Open if refusal.is_some() && case.fate.closes() => "stays open",
        End::Open | End::Closed => "",
    };
    if !text.is_empty() && !ending.is_empty() {
        text.push_str(" + ");
    }
    text.push_str(ending);
    if text.is_empty() { "answered by the proxy itself".to_owned() } else { text }
}
