//! Whether a request that failed before its answer began is sent once more.
//!
//! What was never sent goes on whatever it is. What was sent and lost may have been done: it goes on only if doing it twice
//! does no harm (RFC 9110, section 9.2.2), or if the application knows it again. That happens once, and once more if the first
//! loss can be taken for the end of an idle connection, so that a request which ends whatever it is given to ends two or three
//! instances at most.

use cutover_core::statistics::Failure;

use crate::carry::Fault;

/// Tries of one request at most.
const TRIES: usize = 5;

/// What one try was like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Try {
    /// Its connection had carried a request before: the end of it may have crossed this one.
    pub(crate) reused: bool,
    /// Others send their requests on that connection too.
    pub(crate) shared: bool,
    /// Nobody minds if it is done twice.
    pub(crate) repeatable: bool,
}

/// How a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Wherever it is its turn: nothing is wrong with the instance.
    Anywhere,
    /// To another instance, if there is one.
    Rather,
    /// Not to this instance again.
    Elsewhere,
}

/// What was tried so far.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    made: usize,
    /// What others did on a shared connection was excused once.
    excused: bool,
    /// It was lost by an instance, and sent once more for that.
    lost: bool,
}

impl Tries {
    /// What follows from a fault; nothing if the request has failed with it.
    pub(crate) fn after(&mut self, fault: &Fault, tried: Try) -> Option<Again> {
        self.made += 1;
        if fault.refusal.is_some() || self.made == TRIES {
            return None;
        }
        let unreached = matches!(fault.failure, Failure::Connect | Failure::ConnectTimeout);
        if fault.unsent {
            // An instance that refuses each time is no race with the end of a connection.
            let is_last = self.made + 1 == TRIES;
            return Some(match (unreached, is_last) {
                (true, _) => Again::Elsewhere,
                (false, true) => Again::Rather,
                (false, false) => Again::Anywhere,
            });
        }
        if fault.failure != Failure::Reset || !tried.repeatable {
            return None;
        }
        // The end of a connection that was idle crossed the request. So may what others did on one that is shared; once,
        // or a request that ends its instance would end several.
        if tried.reused && !tried.shared || tried.shared && !std::mem::replace(&mut self.excused, true) {
            return Some(Again::Anywhere);
        }
        (!std::mem::replace(&mut self.lost, true)).then_some(Again::Elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Try = Try { reused: false, shared: false, repeatable: true };

    fn lost() -> Fault {
        Fault { failure: Failure::Reset, refusal: None, unsent: false }
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_if_that_does_no_harm() {
        assert_eq!(Tries::default().after(&lost(), FRESH), Some(Again::Elsewhere));
        assert_eq!(Tries::default().after(&lost(), Try { repeatable: false, ..FRESH }), None);
        let late = Fault { failure: Failure::FirstByteTimeout, ..lost() };
        assert_eq!(Tries::default().after(&late, FRESH), None);
        let strange = Fault { failure: Failure::Malformed, ..lost() };
        assert_eq!(Tries::default().after(&strange, FRESH), None);
    }

    #[test]
    fn what_was_never_sent_goes_on_whatever_it_is() {
        let never = Try { repeatable: false, ..FRESH };
        let refused = Fault { failure: Failure::Connect, unsent: true, ..lost() };
        assert_eq!(Tries::default().after(&refused, never), Some(Again::Elsewhere));
        let declined = Fault { unsent: true, ..lost() };
        assert_eq!(Tries::default().after(&declined, never), Some(Again::Anywhere));
    }

    #[test]
    fn an_instance_that_declines_each_time_is_left_for_another_in_the_end() {
        let declined = Fault { unsent: true, ..lost() };
        let mut tries = Tries::default();
        let all: Vec<_> = std::iter::repeat_with(|| tries.after(&declined, FRESH)).take(TRIES).collect();
        let [.., before, last, end] = all[..] else { unreachable!("there are some") };
        assert_eq!((before, last, end), (Some(Again::Anywhere), Some(Again::Rather), None));
    }

    #[test]
    fn a_request_that_ends_its_instance_ends_two_at_most() {
        for tried in [FRESH, Try { shared: true, ..FRESH }, Try { shared: true, reused: true, ..FRESH }] {
            let mut tries = Tries::default();
            let real = std::iter::repeat_with(|| tries.after(&lost(), tried)).take(TRIES);
            let real = real.filter(|again| *again == Some(Again::Elsewhere)).count();
            assert_eq!(real, 1, "{tried:?}");
        }
        // Connections that were idle say nothing of the instance, until a fresh one does.
        let mut tries = Tries::default();
        let reused = Try { reused: true, ..FRESH };
        assert_eq!(tries.after(&lost(), reused), Some(Again::Anywhere));
        assert_eq!(tries.after(&lost(), FRESH), Some(Again::Elsewhere));
        assert_eq!(tries.after(&lost(), FRESH), None);
    }

    #[test]
    fn nobody_tries_for_ever() {
        let mut tries = Tries::default();
        let refused = Fault { failure: Failure::Connect, unsent: true, ..lost() };
        let made = std::iter::from_fn(|| tries.after(&refused, FRESH)).take(100).count();
        assert_eq!(made, TRIES - 1);
    }
}
