//! What came back for a request.

use std::time::Duration;

/// An answer to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Such as 200.
    pub status: u16,
    /// Fields in the order they came, repeated ones too; names in any case.
    pub headers: &'a [(String, String)],
    /// The body, or its beginning.
    pub body: &'a [u8],
    /// Whether that is all of it; not if it went on and was cut.
    pub whole: bool,
    /// From the first byte of the request to the last one of the answer.
    pub took: Duration,
}
