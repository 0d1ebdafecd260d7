//! The written form of a record. What an older version has written is read for ever.

use cutover_controller::Record;
use cutover_controller::journal::RECORD_FORMAT;
use cutover_core::service::{Effect, Event};

use crate::sample::RECORD;

#[test]
fn a_record_of_format_1_is_read_and_written_again_as_it_was() {
    let record: Record = serde_json::from_str(RECORD).expect("`record-v1.json` can be read for ever");
    let again = serde_json::to_string_pretty(&record).unwrap() + "\n";
    assert_eq!(
        again, RECORD,
        "the written form of a record has changed. If what is new has a default, so that this file is still read, \
         add it to `record-v1.json`; if not, it is another format: raise `RECORD_FORMAT` and keep this file"
    );
}

#[test]
fn the_kept_record_is_a_bake_with_effects_and_receipts() {
    let record: Record = serde_json::from_str(RECORD).unwrap();
    assert_eq!(record.format, RECORD_FORMAT);
    assert!(matches!(record.event, Event::Answered { .. }));
    assert!(record.effects.iter().any(|pending| matches!(pending.effect, Effect::Drain { .. })));
    let deployment = record.state.deployment.as_ref().unwrap();
    assert!(deployment.is_baking() && !deployment.receipts.is_empty() && !deployment.steps.is_empty());
    assert_eq!(record.state.check_invariants(), Ok(()));
}

#[test]
fn a_record_from_before_the_fields_that_have_a_default_is_still_read() {
    let mut record: serde_json::Value = serde_json::from_str(RECORD).unwrap();
    let expected: Record = serde_json::from_value(record.clone()).unwrap();
    let state = record["state"].as_object_mut().unwrap();
    state.remove("republish_at");
    state.remove("last_switch");
    for field in ["last_lines", "incoming", "undo"] {
        state["deployment"].as_object_mut().unwrap().remove(field);
    }
    state["environments"]["blue"].as_object_mut().unwrap().remove("retry_at");
    let mut read: Record = serde_json::from_value(record).unwrap();
    read.state.last_switch = expected.state.last_switch;
    assert_eq!(read, expected);
}
