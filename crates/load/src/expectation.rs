//! Which environment must answer, and since when: the proof that no request goes to the old one after a
//! switch.
//!
//! A request notes the expectation immediately before its head is written. Its answer is judged only if
//! nobody has changed the expectation in the meantime, because otherwise a further switch may have begun
//! while it was in flight.

use std::sync::{Arc, Mutex, PoisonError};

/// What holds at one moment; taken before the head is written, compared after the last byte.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note {
    generation: u64,
    environment: Option<Arc<str>>,
}

/// The present expectation, shared by all clients of a load.
#[derive(Debug, Default)]
pub(crate) struct Expectation {
    present: Mutex<Note>,
}

/// What the expectation says about one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing was expected, or the expectation changed while the request was in flight.
    NotJudged,
    /// The expected environment answered.
    Right,
    /// Another environment than this one answered.
    Stale { expected: Arc<str> },
}

impl Expectation {
    /// Sets what is expected from now on; every call counts as a change, also to the same value.
    pub(crate) fn set(&self, environment: Option<&str>) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.generation += 1;
        present.environment = environment.map(Arc::from);
    }

    /// The note for a request whose head is written next.
    pub(crate) fn note(&self) -> Note {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judges an answer by the note of its request. An answer that does not say who sent it is not taken for
    /// right.
    pub(crate) fn judge(&self, note: &Note, answered_by: Option<&str>) -> Judgement {
        let Some(expected) = &note.environment else {
            return Judgement::NotJudged;
        };
        let generation = self.present.lock().unwrap_or_else(PoisonError::into_inner).generation;
        if generation != note.generation {
            Judgement::NotJudged
        } else if answered_by == Some(expected) {
            Judgement::Right
        } else {
            Judgement::Stale { expected: Arc::clone(expected) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_only_by_an_expectation_that_held_from_head_to_last_byte() {
        let expectation = Expectation::default();
        assert_eq!(expectation.judge(&expectation.note(), Some("blue")), Judgement::NotJudged);

        expectation.set(Some("green"));
        let note = expectation.note();
        assert_eq!(expectation.judge(&note, Some("green")), Judgement::Right);
        assert_eq!(expectation.judge(&note, Some("blue")), Judgement::Stale { expected: "green".into() });

        expectation.set(Some("green"));
        assert_eq!(expectation.judge(&note, Some("blue")), Judgement::NotJudged);
    }

    #[test]
    fn an_answer_that_names_no_environment_is_not_taken_for_right() {
        let expectation = Expectation::default();
        expectation.set(Some("green"));
        let note = expectation.note();
        assert_eq!(expectation.judge(&note, None), Judgement::Stale { expected: "green".into() });
    }
}
