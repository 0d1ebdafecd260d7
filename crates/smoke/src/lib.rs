//! What a smoke suite says, and how an answer is judged by it: the language of assertions and captures, the names that
//! are filled in, the mask that keeps secrets out of what is told, and reports in JUnit's form.
//!
//! Texts, bytes and times come in, findings go out: this room sends no request, reads no file and no clock. An
//! [`Assertion`] is a line such as
//!
//! ```text
//! jsonpath "$.items[0].name" starts with "Tea"
//! ```
//!
//! that is read once, when a configuration is checked, and judged as often as an answer comes. `{{NAME}}` in it is
//! filled in only then, after the line was read: whatever a secret or an answer holds, it is never taken for a part of
//! the language.

mod answer;
mod assertion;
mod capture;

mod cursor;
mod judge;
mod mistake;
mod path;
mod pattern;
mod predicate;
mod query;
mod value;

pub mod junit;
mod mask;
pub mod template;

pub use answer::Answer;
pub use assertion::Assertion;
pub use capture::Capture;
pub use mask::Mask;
pub use mistake::Mistake;
pub use pattern::literal as regex_literal;
pub use value::quoted;

/// Finds the text that a name stands for; `None` if it stands for none.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
