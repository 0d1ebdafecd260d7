//! Hooks that are asked over HTTP. Nobody is followed elsewhere, and only the beginning of an answer is looked at.

use std::io::Read;
use std::time::Duration;

use cutover_core::gates::Verdict;
use cutover_smoke::template;
use tokio::sync::oneshot;
use tokio::time::Instant;
use ureq::Agent;

use super::Run;
use super::program::Outcome;
use crate::http_client;

/// Read of an answer that is no pass.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// What a message gets on top of the time of the request, so that the better one comes first.
const MARGIN: Duration = Duration::from_millis(500);

/// Sends the context. When this is dropped, nobody waits for the answer any more.
pub(super) async fn send(
    run: &Run<'_>,
    url: &str,
    headers: &[(String, String)],
    deadline: Instant,
    timeout: Duration,
) -> Outcome {
    let started = Instant::now();
    let lookup = |name: &str| run.secrets.get(name).map(str::to_owned);
    let filled = headers.iter().map(|(name, text)| Ok((name.clone(), template::fill(text, &lookup)?)));
    let outcome = match filled.collect::<Result<Vec<_>, template::Unknown>>() {
        Err(unknown) => Outcome::not_yet(unknown.to_string()),
        Ok(headers) => {
            let request = Request { url: url.to_owned(), headers, body: run.told() };
            ask(request, deadline, timeout).await
        }
    };
    Outcome { took: started.elapsed(), ..outcome }
}

struct Request {
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A thread of its own, so that the end of the controller waits for nobody who is slow.
async fn ask(request: Request, deadline: Instant, timeout: Duration) -> Outcome {
    let left = deadline.saturating_duration_since(Instant::now());
    let late = || {
        let time = humantime::format_duration(timeout);
        Outcome::not_yet(format!("no answer within {time}"))
    };
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("hook".to_owned());
    let started = thread.spawn(move || {
        let _ = tell.send(post(&request, left));
    });
    if let Err(error) = started {
        return Outcome::not_yet(format!("no thread can be started: {error}"));
    }
    match tokio::time::timeout_at(deadline + MARGIN, told).await {
        Ok(Ok(Some(outcome))) => outcome,
        Ok(Ok(None)) | Err(_) => late(),
        Ok(Err(_)) => Outcome::not_yet("the request was given up"),
    }
}

/// Where an address is, without what may let somebody in: its path and query.
fn place(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    let user = url[host..end].rfind('@').map_or(host, |at| host + at + 1);
    &url[user..end]
}

/// `None` if its time was over.
fn post(request: &Request, time: Duration) -> Option<Outcome> {
    let config = http_client::builder()
        .timeout_global(Some(time))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build();
    let mut post =
        Agent::new_with_config(config).post(&request.url).header("content-type", "application/json");
    for (name, value) in &request.headers {
        post = post.header(name, value);
    }
    let mut answer = match post.send(&request.body) {
        Ok(answer) => answer,
        Err(ureq::Error::Timeout(_)) => return None,
        Err(error) => {
            return Some(Outcome::not_yet(format!("`{}` could not be asked: {error}", place(&request.url))));
        }
    };
    let status = answer.status();
    if status.is_success() {
        let verdict = Verdict::Pass;
        return Some(Outcome { verdict, reason: String::new(), output: Vec::new(), took: Duration::ZERO });
    }
    let mut beginning = Vec::new();
    // What does not come is not shown.
    let _ = answer.body_mut().as_reader().take(LONGEST_ANSWER).read_to_end(&mut beginning);
    let output = String::from_utf8_lossy(&beginning).lines().map(str::to_owned).take(20).collect();
    let reason = format!("answered {status}");
    Some(Outcome { verdict: Verdict::Fail, reason, output, took: Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_no_more_than_host_and_port() {
        for (url, expected) in [
            ("https://hooks.example.com/T0/secret", "hooks.example.com"),
            ("http://user:word@127.0.0.1:8080?token=1", "127.0.0.1:8080"),
            ("http://[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(place(url), expected);
        }
    }
}
