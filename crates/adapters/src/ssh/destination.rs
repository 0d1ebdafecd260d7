//! `user@host[:port]`, or `ssh://user@host[:port]`, as a person names a host.

use std::fmt;
use std::str::FromStr;

/// Where ssh is to go. A name of ssh's own configuration will do for the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The user over there; ssh's own default if absent.
    pub user: Option<String>,
    /// The host, without the brackets of an IPv6 address.
    pub host: String,
    /// The port; ssh's own default if absent.
    pub port: Option<u16>,
}

/// What does not name a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{typed}` does not name a host: {why}; write it like `deploy@box`, `deploy@box:2222` or `ssh://deploy@box`"
)]
pub struct InvalidDestination {
    typed: String,
    why: &'static str,
}

impl Destination {
    /// What is said to ssh; the port is said apart.
    #[must_use]
    pub fn login(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// The words behind `ssh` with which a person gets there by hand.
    #[must_use]
    pub fn by_hand(&self) -> String {
        match self.port {
            Some(port) => format!("-p {port} {}", self.login()),
            None => self.login(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let invalid = |why| InvalidDestination { typed: typed.to_owned(), why };
        let text = typed.strip_prefix("ssh://").unwrap_or(typed);
        if text.contains("://") {
            return Err(invalid("it is another kind of address"));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        // A user may hold an `@`, a host may not.
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                (host, Some(rest.strip_prefix(':').ok_or_else(|| invalid("`]` is not the end"))?))
            }
            // More than one colon without brackets is an IPv6 address.
            None if place.matches(':').count() == 1 => {
                place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
            }
            None => (place, None),
        };
        let port = match port {
            Some(port) => match port.parse() {
                Ok(port @ 1..) => Some(port),
                _ => return Err(invalid("its port is no number from 1 to 65535")),
            },
            None => None,
        };
        // ssh would take a leading `-` for an option, and a shell reads what a ProxyCommand is made of.
        let is_plain = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_alphanumeric() || more.contains(c))
        };
        if !is_plain(host, "._-:") {
            return Err(invalid("the host is empty or holds what no name holds"));
        }
        if user.is_some_and(|user| !is_plain(user, "._-+@\\")) {
            return Err(invalid("the user is empty or holds what no name holds"));
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, user: Option<&str>, host: &str, port: Option<u16>, shown: &str) {
        let parsed: Destination = typed.parse().unwrap();
        let expected = Destination { user: user.map(str::to_owned), host: host.to_owned(), port };
        assert_eq!(parsed, expected, "{typed}");
        assert_eq!(parsed.to_string(), shown, "{typed}");
        assert_eq!(shown.parse::<Destination>().unwrap(), expected, "{shown}");
    }

    #[test]
    fn a_host_is_named_as_for_ssh_or_as_an_address() {
        check("box", None, "box", None, "box");
        check("deploy@box", Some("deploy"), "box", None, "deploy@box");
        check("deploy@box:2222", Some("deploy"), "box", Some(2222), "deploy@box:2222");
        check(
            "ssh://deploy@box.example.com:22/",
            Some("deploy"),
            "box.example.com",
            Some(22),
            "deploy@box.example.com:22",
        );
        check("anna@corp.example@box", Some("anna@corp.example"), "box", None, "anna@corp.example@box");
        check("deploy@[fe80::1]:22", Some("deploy"), "fe80::1", Some(22), "deploy@[fe80::1]:22");
        check("::1", None, "::1", None, "::1");
    }

    #[test]
    fn what_ssh_or_a_shell_would_take_for_something_else_is_refused() {
        for typed in [
            "",
            "@box",
            "deploy@",
            "-oProxyCommand=id",
            "deploy@-oProxyCommand=id",
            "-l@box",
            "box name",
            "box;id",
            "$(id)@box",
            "box:0",
            "box:70000",
            "box:",
            "tcp://box",
            "ssh://box/var/lib",
            "[::1]x",
            "a\nb",
            "`id`",
        ] {
            assert!(typed.parse::<Destination>().is_err(), "{typed}");
        }
    }
}
