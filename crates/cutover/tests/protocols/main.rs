//! Real clients drive each protocol through the real binary's data plane, also while traffic is switched.
//!
//! Each scenario is written once, against a [`site::Site`]: two application servers, blue and green, that say in each
//! answer which of them they are. The module of a scenario holds one test for each way in which the clients reach
//! them: `directly` has no proxy in between, and shows that clients, servers and expectations are right in
//! themselves; the other ways go through `cutover proxy`.
//!
//! What is tested here is what arrives at the two ends. How the proxy does it is the business of its own tests.
#![allow(unreachable_pub, reason = "one binary, many rooms")]
#![allow(clippy::print_stderr, reason = "where the output of a failed test is looked at")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

/// `name: way, way;` makes a module of each scenario, and in it a test of each way to reach the site.
macro_rules! scenarios {
    ($($name:ident: $($way:ident),+;)+) => {$(
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $way() {
                    super::$name($crate::site::Site::$way().await).await;
                }
            )+
        }
    )+};
}

mod application;
mod grpc_client;
mod h1_client;
mod h2_client;
#[path = "../support/patience.rs"]
mod patience;
mod pattern;
mod played;
mod program;
mod proxy;
#[path = "../support/proxy_process.rs"]
mod proxy_process;
mod site;

mod curl;
mod events;
mod first_bytes;
mod grpc;
mod grpc_own_answers;
mod grpc_switch;
mod interim;
mod nghttp2;
mod probes;
mod python;
mod shutdown;
mod streams;
mod trailers;
mod translation;
mod veil;
mod web_socket;
mod web_socket_h2;
