//! Figures for the README: switching under load, and CPU per request beside HAProxy.
//!
//! What both binaries share: the programs that are measured, started as children on ports of their own, and
//! what is needed to measure them. The product is used only as its users use it, by its binary and its admin
//! socket.

pub mod candidate;

pub mod child;

pub mod switching;

pub mod closed_loop;

pub mod cpu_time;

pub mod statistics;

pub mod conditions;
