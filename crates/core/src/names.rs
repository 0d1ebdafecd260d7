//! Names that travel: checked where they enter, trusted afterwards.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that may not be used as a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, text: String, rule: &'static str) -> Self {
        Self { what, text, rule }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(InvalidName { what: $what, text, rule: $rule }) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_version(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    (1..=128).contains(&text.len())
        && text.chars().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_printable(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic())
}

name!(
    /// The name of a service: a DNS label, so that it can be a file, a unit and a host name.
    ServiceName,
    "service name",
    "it has 1 to 63 lower-case letters, digits and inner hyphens",
    is_label
);
name!(
    /// The name that people give a release; not its identity.
    Version,
    "version",
    "it starts with a letter or digit and has up to 128 letters, digits, `.`, `_`, `+` and `-`",
    is_version
);
name!(
    /// The identity of a release: the hexadecimal content hash of its artifact, configuration and secrets.
    ReleaseId,
    "release id",
    "it is a lower-case hexadecimal hash",
    |text| (8..=64).contains(&text.len()) && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
);
name!(
    /// A kind of worker of a service.
    WorkerName,
    "name of a worker",
    "it has 1 to 63 lower-case letters, digits and inner hyphens",
    is_label
);
name!(
    /// One running copy of a release; unique on its host.
    InstanceId,
    "instance id",
    "it has up to 255 printable characters without spaces",
    is_printable
);
name!(
    /// One run that takes a release to the idle environment and traffic to it.
    DeploymentId,
    "deployment id",
    "it has 1 to 63 lower-case letters, digits and inner hyphens",
    is_label
);

name!(
    /// A command that a person runs with a release.
    CommandId,
    "command id",
    "it has 1 to 63 lower-case letters, digits and inner hyphens",
    is_label
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_is_a_dns_label() {
        for good in ["shop", "a", "shop-2"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "Shop", "-shop", "shop-", "sh op", "../etc", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_can_be_a_git_commit_or_a_semantic_version_but_never_a_path() {
        for good in ["v1", "1.2.3-rc.1+build", "7f3k2"] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "a b", "-x"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_name_says_the_rule() {
        let message = "Shop".parse::<ServiceName>().unwrap_err().to_string();
        assert!(message.starts_with("`Shop` is not a valid service name: it has 1 to 63"), "{message}");
    }
}
