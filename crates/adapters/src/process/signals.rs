//! The names of signals, as configuration and messages have them.

use nix::sys::signal::Signal as Named;
use rustix::process::Signal;

/// The signal of this name, such as `SIGTERM` or `TERM`; `None` if there is none.
pub(super) fn parse(name: &str) -> Option<Signal> {
    let name = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    Signal::from_named_raw(name.parse::<Named>().ok()? as i32)
}

/// The name of a signal; its number if it has none.
pub(super) fn name(number: i32) -> String {
    Named::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_with_and_without_their_prefix() {
        assert_eq!(parse("SIGQUIT"), Some(Signal::QUIT));
        assert_eq!(parse("INT"), Some(Signal::INT));
        assert_eq!(parse("SIGNONSENSE"), None);
        assert_eq!((name(9), name(40)), ("SIGKILL".to_owned(), "signal 40".to_owned()));
    }
}
