//! Our parsers beside others: the same properties that the fuzz targets (`fuzz/`) assert, over the corpus of hostile requests,
//! its mutations and heads made up from parts, in seconds.
//!
//! A failure prints the input and the seed. `CUTOVER_DIFFERENTIAL_CASES=1000000` sweeps wider, by default as many cases of
//! each property as take about a second; `CUTOVER_DIFFERENTIAL_SEED=…` begins at another seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod properties;

mod inputs;

mod sweep;

use properties::{answers, chunks, frames, introductions, requests, streams, targets, timeouts};
use sweep::sweep;

#[test]
fn a_request_means_the_same_to_every_reader_before_and_after() {
    sweep(6_000, &inputs::requests(), inputs::REQUEST_PARTS, requests::check);
}

#[test]
fn a_body_in_chunks_is_the_same_to_every_reader_before_and_after() {
    sweep(10_000, &inputs::chunks(), inputs::CHUNK_PARTS, chunks::check);
}

#[test]
fn an_answer_means_the_same_to_every_reader_before_and_after() {
    sweep(6_000, &inputs::answers(), inputs::ANSWER_PARTS, answers::check);
}

#[test]
fn a_request_over_http_2_is_one_request_in_http_1_1() {
    sweep(6_000, &inputs::streams(), inputs::STREAM_PARTS, streams::check);
}

#[test]
fn a_target_or_host_is_one_to_every_reader() {
    sweep(30_000, &inputs::targets(), inputs::TARGET_PARTS, targets::check);
}

#[test]
fn a_header_of_the_proxy_protocol_names_the_same_client_to_every_reader() {
    sweep(10_000, &inputs::introductions(), inputs::INTRODUCTION_PARTS, introductions::check);
}

#[test]
fn the_meter_counts_frames_in_whatever_pieces_they_come() {
    sweep(10_000, &inputs::frames(), inputs::FRAME_PARTS, frames::check);
}

#[test]
fn a_grpc_timeout_is_read_as_its_grammar_says() {
    sweep(30_000, &inputs::timeouts(), inputs::TIMEOUT_PARTS, timeouts::check);
}
