//! Blue-green deployment in one binary: reverse proxy, controller, command line.
//!
//! Only this crate reads arguments and environment, prints and exits. `wiring` puts the rooms together.

mod api;
mod backup;
mod cli;
mod config;
mod data_plane;
mod doctor;
mod setup;
mod state_directory;
mod upload;
mod wiring;

use std::process::ExitCode;

/// Fewer microseconds per proxied request than the system's allocator, and memory that comes back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
