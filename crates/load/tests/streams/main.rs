//! What outlives a switch, and what HTTP/2 and TLS add: right counts as right, and each way of failing is named by its
//! class.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helpers")]

mod support;

mod transfers;

mod web_socket;

mod event_stream;

mod grpc;

mod http2;

mod everything;

mod misdeeds;

mod tls;
