//! The journal's file as another program sees it: Python's SQLite, not the code that wrote it.

use std::path::Path;

use serde_json::Value;

/// The sequences of a service's records in the order in which they were written.
pub fn sequences(journal: &Path, service: &str) -> Vec<u64> {
    let select =
        format!("SELECT service_sequence FROM journal WHERE service = '{service}' ORDER BY sequence");
    rows(journal, &select).iter().map(|text| text.parse().unwrap()).collect()
}

/// The records of a service, the first first.
pub fn records(journal: &Path, service: &str) -> Vec<Value> {
    let select = format!("SELECT record FROM journal WHERE service = '{service}' ORDER BY service_sequence");
    rows(journal, &select).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// The last record of a service, if it has one.
pub fn latest(journal: &Path, service: &str) -> Option<Value> {
    let select = "SELECT record FROM journal WHERE service = 'NAME' ORDER BY service_sequence DESC LIMIT 1";
    rows(journal, &select.replace("NAME", service)).first().map(|text| serde_json::from_str(text).unwrap())
}

/// Fails the test unless the records of a service follow one another without a gap, none of them twice.
#[track_caller]
pub fn assert_contiguous(journal: &Path, service: &str) {
    let sequences = sequences(journal, service);
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert!(!sequences.is_empty() && sequences == expected, "{sequences:?}");
}

/// Changes one row, as no controller does.
pub fn damage(journal: &Path, statement: &str) {
    let script = "import sqlite3, sys\n\
                  database = sqlite3.connect(sys.argv[1], timeout=30)\n\
                  assert database.execute(sys.argv[2]).rowcount == 1\n\
                  database.commit()";
    let done =
        std::process::Command::new("python3").args(["-c", script]).arg(journal).arg(statement).status();
    assert!(done.unwrap().success());
}

/// The single column of a query.
fn rows(journal: &Path, select: &str) -> Vec<String> {
    let script = "import json, sqlite3, sys\n\
                  database = sqlite3.connect(sys.argv[1], timeout=30)\n\
                  print(json.dumps([str(row[0]) for row in database.execute(sys.argv[2])]))";
    let said = std::process::Command::new("python3").args(["-c", script]).arg(journal).arg(select).output();
    let said = said.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}
