//! Reports in JUnit's form.

use std::fs;

use cutover_core::gates::{Finding, Gate, SuiteKind, Verdict};

use crate::bench::Bench;
use crate::proxy::{Proxy, idle};

const GOOD: &str = r#"<testsuite><testcase name="a"/><testcase name="b"/></testsuite>"#;
const BAD: &str = r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="1 is not 2">here</failure></testcase></testsuite>"#;

/// A program that writes this report, and ends so.
async fn ask(before: Option<&str>, write: Option<&str>, status: u8) -> Finding {
    let proxy = Proxy::start(|_| idle("200 OK", "", "")).await;
    let mut bench = Bench::before(proxy.address);
    if let Some(text) = before {
        fs::write(bench.files().join("report.xml"), text).unwrap();
    }
    let write = write.map_or_else(String::new, |text| format!("cat > report.xml <<'END'\n{text}\nEND\n"));
    let command = bench.script(&format!("{write}echo ran\nexit {status}"));
    bench.suite("unit", SuiteKind::Command { command, junit: Some("report.xml".to_owned()) });
    bench.ask(&Gate::Smoke).await
}

async fn check(finding: Finding, verdict: Verdict, part: &str) {
    assert!(finding.verdict == verdict && finding.reason.contains(part), "{finding:#?}");
}

#[tokio::test]
async fn every_test_of_the_report_is_a_check_and_exit_status_and_report_must_both_be_good() {
    check(ask(None, Some(GOOD), 0).await, Verdict::Pass, "2 of 2").await;
    check(ask(Some(GOOD), Some(GOOD), 0).await, Verdict::Pass, "2 of 2").await;
    check(ask(None, Some(BAD), 0).await, Verdict::Fail, "unit, b: 1 is not 2").await;
    check(ask(None, Some(BAD), 1).await, Verdict::Fail, "unit, b: 1 is not 2").await;
    check(ask(None, Some(GOOD), 1).await, Verdict::Fail, "unit: exit status 1").await;
    check(ask(None, None, 1).await, Verdict::Fail, "unit: exit status 1").await;
}

#[tokio::test]
async fn a_report_that_is_missing_old_empty_skipped_or_none_is_no_pass() {
    check(ask(None, None, 0).await, Verdict::NotYet, "it has not written its report").await;
    check(ask(Some(GOOD), None, 0).await, Verdict::NotYet, "is older than this run").await;
    check(ask(None, Some(""), 0).await, Verdict::NotYet, "the report is empty").await;
    check(ask(None, Some("no XML at all"), 0).await, Verdict::NotYet, "unit: ").await;
    check(ask(None, Some("<html><p>"), 0).await, Verdict::NotYet, "no report of JUnit's form").await;
    check(ask(None, Some("<testsuite><testcase name='a'>"), 0).await, Verdict::NotYet, "unit: ").await;
    check(ask(None, Some("<testsuite/>"), 0).await, Verdict::NotYet, "unit: ").await;
    let skipped = "<testsuite><testcase name='a'><skipped/></testcase></testsuite>";
    check(ask(None, Some(skipped), 0).await, Verdict::NotYet, "unit: ").await;
}
