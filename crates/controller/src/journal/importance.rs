//! What is recorded even when the disk is full.

/// Whether a record may use what is kept for rescue (I9).
///
/// Every record on the way back counts, to its end: a rollback that was recorded and whose receipt cannot be is no
/// rescue. `core` says which steps are part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Refused with advice when the disk is full.
    Ordinary,
    /// Part of a way back, or of a start without which there is none.
    Rescue,
}
