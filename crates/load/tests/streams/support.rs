//! Servers that do one thing, and loads that are held against them.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use cutover_load::{Backend, Client, FailureClass, Load, Plan, Report};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Nothing waits this long unless it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn backend() -> Backend {
    Backend::start(anywhere(), "blue", "v1").unwrap()
}

/// Gives every connection to `serve`, one task each.
pub(crate) async fn serving<F, S>(serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads up to the end of a head, so that closing afterwards sends a FIN and no reset.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Makes the end of this connection a reset.
pub(crate) fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A load of this one client.
pub(crate) fn load(target: SocketAddr, client: Client) -> Load {
    Load::start(Plan::new(target).with(1, client))
}

/// Waits for what must come.
pub(crate) async fn until(load: &Load, condition: impl Fn(&Report) -> bool) -> Report {
    load.wait_for(DEADLINE, condition).await.unwrap()
}

/// Waits for what must come of the backend.
pub(crate) async fn poll(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Three sessions or requests must all fail in this way.
pub(crate) async fn check(target: SocketAddr, client: Client, expected: FailureClass) {
    check_within(DEADLINE, target, client, expected).await;
}

pub(crate) async fn check_within(
    timeout: Duration,
    target: SocketAddr,
    client: Client,
    expected: FailureClass,
) {
    let mut plan = Plan::new(target).with(1, client);
    plan.max_requests = Some(3);
    plan.timeout = timeout;
    let report = tokio::time::timeout(DEADLINE, Load::start(plan).finish()).await.unwrap();
    assert_eq!((report.requests, report.failed, report.failed_as(expected)), (3, 3, 3), "{report}");
    assert_eq!(report.waves, []);
}
