//! Who is measured: a proxy, and the way in which it is told to move traffic.

use clap::ValueEnum;

use crate::candidate::{Candidate, Setting};

/// A proxy and a way of moving its traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// `cutover proxy`, by the weights of both services in one PATCH
    Cutover,
    /// HAProxy, by weights over its runtime API
    HaproxyRuntime,
    /// HAProxy with a master, by a new file and SIGUSR2; listeners are handed over
    HaproxyReload,
    /// nginx with a master, by a new file and SIGHUP
    NginxReload,
    /// Caddy, by a new configuration to its admin API
    CaddyApi,
    /// Envoy, by a new file of routes, moved over the old one
    EnvoyFile,
}

impl Contender {
    /// The name on the command line, in file names and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::HaproxyRuntime => "haproxy-runtime",
            Self::HaproxyReload => "haproxy-reload",
            Self::NginxReload => "nginx-reload",
            Self::CaddyApi => "caddy-api",
            Self::EnvoyFile => "envoy-file",
        }
    }

    /// The name in tables for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::HaproxyRuntime => "HAProxy, runtime API",
            Self::HaproxyReload => "HAProxy, reload",
            Self::NginxReload => "nginx, reload",
            Self::CaddyApi => "Caddy, admin API",
            Self::EnvoyFile => "Envoy, routes by file",
        }
    }

    /// The program.
    #[must_use]
    pub fn candidate(self) -> Candidate {
        match self {
            Self::Cutover => Candidate::Cutover,
            Self::HaproxyRuntime | Self::HaproxyReload => Candidate::Haproxy,
            Self::NginxReload => Candidate::Nginx,
            Self::CaddyApi => Candidate::Caddy,
            Self::EnvoyFile => Candidate::Envoy,
        }
    }

    /// Whether its program is here.
    #[must_use]
    pub fn is_installed(self, setting: &Setting) -> bool {
        self.candidate().program(setting).is_file()
    }

    /// Whether a shift is answered, and so can be held to what was answered. A signal and a file that is moved are not.
    #[must_use]
    pub fn answers(self) -> bool {
        matches!(self, Self::Cutover | Self::HaproxyRuntime | Self::CaddyApi)
    }
}
