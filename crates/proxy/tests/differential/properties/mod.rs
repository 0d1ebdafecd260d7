//! What must hold of everything that strangers send, whatever it is; each `check` panics where it does not.
//!
//! The differential tests feed these from the corpus of hostile requests, the fuzz targets from libFuzzer. Second opinions
//! come from parsers that share no line with ours: `strict` is the reader of the hostile recorder, `hyper_server` and
//! `hyper_client` are hyper's two sides, and the crates `http` and `proxy-header`. Where they may disagree with us, a
//! comment that begins with "Permitted" says so, and why.
#![allow(unreachable_pub, reason = "the fuzz targets, which are a crate of their own, call these")]

#[path = "../../../../load/src/hostile/request.rs"]
mod strict;

mod wire;

mod hyper_server;

mod hyper_client;

mod forwarded;

pub mod requests;

pub mod chunks;

pub mod answers;

pub mod streams;

pub mod targets;

pub mod introductions;

pub mod frames;

pub mod timeouts;

/// Bytes as a message of a failed check shows them.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The first byte of an input chooses what is not bytes of a stranger: a flag or two, and in which pieces they come.
fn knobs(input: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let (knobs, bytes) = input.split_first()?;
    let pieces = match knobs >> 4 {
        0 => vec![],
        length @ 1..=8 => vec![length],
        mixed => vec![1, mixed, 2, 255],
    };
    Some((knobs & 15, pieces, bytes))
}
