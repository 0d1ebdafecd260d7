//! The written form of a record. What an older version has written is read for ever.

use cutover_controller::Record;
use cutover_controller::journal::RECORD_FORMAT;
use cutover_controller::journal::record::UnreadableRecord;
use cutover_core::service::{Deployment, Effect, Event};
use serde_json::{Value, json};

use crate::sample::{RECORD, Story};

/// What format 1 wrote of the same decision.
const RECORD_1: &str = include_str!("record-v1.json");

#[test]
fn a_record_of_format_2_is_read_and_written_again_as_it_was() {
    let record = Record::read(RECORD).expect("`record-v2.json` can be read for ever");
    let again = serde_json::to_string_pretty(&record).unwrap() + "\n";
    assert_eq!(
        again, RECORD,
        "the written form of a record has changed. If what is new has a default, so that this file is still read, \
         add it to `record-v2.json`; if not, it is another format: raise `RECORD_FORMAT` and keep this file"
    );
}

#[test]
fn a_record_of_format_1_is_still_read() {
    let (old, mut new) = (Record::read(RECORD_1).unwrap(), Record::read(RECORD).unwrap());
    // What came later has its default.
    new.state.environments.green.release.as_mut().unwrap().configuration.run.shared.clear();
    assert_eq!((old.format, old.deployment.as_ref(), old.actor.as_str()), (1, None, ""));
    assert_eq!((&old.event, &old.effects, &old.closed), (&new.event, &new.effects, &new.closed));
    let mut state = new.state;
    // What format 1 did not know.
    state.freeze = None;
    state.workers = old.state.workers.clone();
    let live = state.environments.green.release.as_mut().unwrap();
    live.configuration.workers.clear();
    state.commands.clear();
    let open = state.deployment.as_mut().unwrap();
    (open.overrode, open.origin, open.window_closes) = (None, None, None);
    assert_eq!((old.at, &old.decider, &old.state), (new.at, &new.decider, &state));
}

#[test]
fn the_kept_record_is_a_bake_with_effects_and_receipts() {
    let record = Record::read(RECORD).unwrap();
    assert_eq!(record.format, RECORD_FORMAT);
    assert!(matches!(record.event, Event::Answered { .. }));
    assert!(record.effects.iter().any(|pending| matches!(pending.effect, Effect::Drain { .. })));
    let deployment = record.state.deployment.as_ref().unwrap();
    assert!(deployment.is_baking() && !deployment.receipts.is_empty() && !deployment.steps.is_empty());
    assert_eq!(record.state.check_invariants(), Ok(()));
}

#[test]
fn a_record_from_before_the_fields_that_have_a_default_is_still_read() {
    let mut record: Value = serde_json::from_str(RECORD_1).unwrap();
    let expected = Record::read(RECORD_1).unwrap();
    let state = record["state"].as_object_mut().unwrap();
    state.remove("republish_at");
    state.remove("last_switch");
    for field in ["last_lines", "incoming", "undo"] {
        state["deployment"].as_object_mut().unwrap().remove(field);
    }
    state["environments"]["blue"].as_object_mut().unwrap().remove("retry_at");
    let mut read = Record::read(&record.to_string()).unwrap();
    read.state.last_switch = expected.state.last_switch;
    assert_eq!(read, expected);
}

#[test]
fn what_ended_with_a_decision_is_read_as_nothing_one_or_many() {
    let record: Value = serde_json::from_str(RECORD).unwrap();
    let deployment = &record["state"]["deployment"];
    let read = |closed: Value| {
        let mut record = record.clone();
        record["closed"] = closed;
        Record::read(&record.to_string()).map(|record| record.closed)
    };
    let one: Deployment = serde_json::from_value(deployment.clone()).unwrap();
    assert_eq!(read(Value::Null).unwrap(), []);
    assert_eq!(read(deployment.clone()).unwrap(), std::slice::from_ref(&one));
    assert_eq!(read(json!([])).unwrap(), []);
    assert_eq!(read(json!([deployment, deployment])).unwrap(), [one.clone(), one]);
    assert!(read(json!("9m4q8b")).unwrap_err().to_string().contains("null, a deployment, or a list"));
}

#[test]
fn a_record_of_a_newer_format_is_refused_whatever_it_holds() {
    let newer = RECORD.replace("\"format\": 2", "\"format\": 3");
    let other = json!({ "something": "else", "format": 3 }).to_string();
    for text in [&newer, &other] {
        let error = Record::read(text).unwrap_err();
        assert!(matches!(error, UnreadableRecord::Newer(3)), "{error}");
        assert!(error.to_string().contains("format 3, this one reads up to 2"), "{error}");
        assert!(serde_json::from_str::<Record>(text).is_err());
    }
    for text in ["{", "[]", &RECORD.replace("\"format\": 2", "\"format\": 0")] {
        assert!(matches!(Record::read(text), Err(UnreadableRecord::Damaged(_))), "{text}");
    }
}

#[test]
fn a_record_says_who_asked_why_and_about_which_deployment() {
    let story = Story::of("shop");
    let told: Vec<_> = story
        .records
        .iter()
        .map(|record| {
            let deployment = record.deployment.as_ref().map(cutover_core::DeploymentId::as_str);
            (deployment.unwrap_or("-"), record.actor.as_str(), record.reason.as_str())
        })
        .collect();
    for expected in [
        ("shop-v1-good", "alice", "deploy of `v1-good` was asked for"),
        ("shop-v1-good", "cutover", "effect 1 was answered: provisioned"),
        ("shop-v2-good", "alice", "deploy of `v2-good` was asked for"),
        ("shop-v2-good", "bob", "rolled back by hand"),
        ("-", "cutover", "effect 16 was answered: retired"),
    ] {
        assert!(told.contains(&expected), "{expected:?} is not among {told:#?}");
    }
    assert!(told.iter().all(|(_, _, reason)| !reason.is_empty()));
}
