//! Reports in the form that JUnit began and every test runner and CI service speaks: `testsuites`, `testsuite`,
//! `testcase`, and in it `failure`, `error` or `skipped`.

mod read;
mod write;

pub use read::read;
pub use write::write;
