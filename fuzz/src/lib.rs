//! The properties that the fuzz targets assert, and what they begin from: both those of the differential tests, in which
//! they run every day over fewer inputs.

#[path = "../../crates/proxy/tests/differential/properties/mod.rs"]
pub mod properties;

#[path = "../../crates/proxy/tests/differential/inputs.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "shared with tests")]
pub mod inputs;
