//! Figures for the README: switching under load, the data plane beside its peers, TLS towards clients, and the journal when it is long.
//!
//! What the binaries share: the programs that are measured, started as children on ports of their own, and
//! what is needed to measure them. The product is used only as its users use it, by its binary and its admin
//! socket; but for the journal, see [`journal`].

pub mod candidate;

pub mod certificate;

pub mod child;

pub mod controller;

pub mod switching;

pub mod request;

pub mod origin;

pub mod closed_loop;

pub mod h2load;

pub mod cpu_time;

pub mod statistics;

pub mod conditions;

pub mod journal;

pub mod memory;

pub mod hostile;

pub mod plane;

pub mod instructions;

pub mod tls;

pub mod bars;

pub mod results;

pub mod ending;

/// Why a figure could not be taken.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
