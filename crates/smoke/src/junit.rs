//! Reports in the form that JUnit began and every test runner and CI service speaks: `testsuites`, `testsuite`,
//! `testcase`, and in it `failure`, `error` or `skipped`.

mod read;
mod write;

pub use read::read;
pub use write::write;

#[cfg(test)]
mod tests {
    use cutover_core::gates::{Assertion, Check, Finding, Verdict};
    use proptest::prelude::*;

    use super::*;

    fn error(xml: &str) -> String {
        read(xml.as_bytes(), "browser").unwrap_err()
    }

    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- a report -->
<testsuites name="e2e">
  <testsuite name="shop" tests="4">
    <properties><property name="a" value="b"/></properties>
    <testcase classname="cart" name="adds &amp; removes" time="1.25"/>
    <testcase classname="cart" name="pays" time="0.5">
      <failure message="expected 200,&#10;got 500" type="AssertionError"><![CDATA[at cart.js:3
at run.js:9]]></failure>
      <system-out>noise</system-out>
    </testcase>
    <testcase name="crashes" time="x"><error>boom &lt;here&gt;</error></testcase>
    <testcase name="later"><skipped/></testcase>
    <testsuite name="inner"><testcase classname="inner" name="inner"/></testsuite>
  </testsuite>
</testsuites>"#;

    #[test]
    fn every_test_that_was_run_is_a_check() {
        let checks = read(REPORT.as_bytes(), "browser").unwrap();
        let told: Vec<_> = checks
            .iter()
            .map(|check| (check.name.as_str(), check.verdict, check.took_ms, check.reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("cart adds & removes", Verdict::Pass, 1250, ""),
                ("cart pays", Verdict::Fail, 500, "expected 200,"),
                ("crashes", Verdict::Fail, 0, "boom <here>"),
                ("inner", Verdict::Pass, 0, ""),
            ]
        );
        assert_eq!(checks[1].output, ["at cart.js:3", "at run.js:9"]);
        assert!(checks.iter().all(|check| check.suite == "browser"));
        let bom = read("\u{feff}<testsuite><testcase name='a'/></testsuite>".as_bytes(), "s").unwrap();
        assert_eq!(bom.len(), 1);
    }

    #[test]
    fn what_is_no_report_or_has_no_test_in_it_is_an_error() {
        let check = |xml: &str, expected: &str| assert_eq!(error(xml), expected, "{xml}");
        check("", "the report is empty");
        check(" \n", "the report is empty");
        check("<testsuites/>", "the report has no test in it");
        check("<testsuite name='a' tests='3'></testsuite>", "the report has no test in it");
        check(
            "<testsuite><testcase name='a'><skipped/></testcase></testsuite>",
            "every test of the report was skipped, 1 of them",
        );
        check(
            "<html><body/></html>",
            "this is no report of JUnit's form: it has `<html>` where `<testsuites>` should be in line 1",
        );
        check("12 passed", "this is no report of JUnit's form: it has no element");
        check("{\"tests\": 3}", "this is no report of JUnit's form: it has no element");
        check("<testsuite><testcase name='a'/>", "the report ends within `<testsuite>`");
        check("<testsuite>\n<testcase name='a'>", "the report ends within `<testcase>`");
        check(
            "<testsuite failures='2' errors='1' tests='3'><testcase name='a'/></testsuite>",
            "the report says that 3 failed, and tells none of them",
        );
        assert!(error("<testsuite>\n</testsuites>").starts_with("the report is not XML: "));
        assert!(error("<testsuite>\n</testsuites>").ends_with(" in line 2"));
        assert_eq!(read(b"<testsuite>\xff</testsuite>", "s").unwrap_err(), "the report is not UTF-8");
        let deep = "<testsuite>".repeat(100_000);
        assert!(error(&deep).contains("more than 64 elements deep"));
    }

    #[test]
    fn an_error_of_the_suite_itself_is_a_failure() {
        let checks =
            read(b"<testsuite><error message='no database'/><testcase name='a'/></testsuite>", "s").unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
        assert_eq!((failed.len(), failed[0].reason.as_str()), (1, "no database"));
    }

    #[test]
    fn a_report_that_would_blow_up_does_not() {
        let bomb = "<!DOCTYPE t [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">]>\
                    <testsuite><testcase name=\"&b;\"><failure>&b;&b;</failure></testcase></testsuite>";
        let checks = read(bomb.as_bytes(), "s").unwrap();
        assert_eq!((checks[0].verdict, checks[0].name.as_str()), (Verdict::Fail, "&b;"));
        let long =
            format!("<testsuite><testcase><failure>{}</failure></testcase></testsuite>", "x".repeat(1 << 22));
        assert!(read(long.as_bytes(), "s").unwrap()[0].output[0].len() < 10_000);
    }

    fn findings() -> Vec<(String, Finding)> {
        let failed = Check {
            took_ms: 1234,
            reason: "`status == 200` does not hold".to_owned(),
            request: Some("GET /<cart>".to_owned()),
            answer: Some("500\n\nout & of order\u{1b}[0m".to_owned()),
            assertions: vec![Assertion {
                text: "status == 200".to_owned(),
                found: "500".to_owned(),
                holds: false,
            }],
            output: vec!["one".to_owned(), "two".to_owned()],
            ..Check::new("checkout", "pays", Verdict::Fail)
        };
        let smoke = Finding::of(vec![Check::new("home", "home", Verdict::Pass), failed]);
        vec![
            ("smoke".to_owned(), smoke),
            ("before_shift".to_owned(), Finding::not_yet("`./approve` ran out of time")),
            ("expand".to_owned(), Finding::pass("done")),
        ]
    }

    #[test]
    fn a_report_shows_request_answer_and_assertion_of_what_failed() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="shop v2" tests="4" failures="1" errors="1" skipped="0" time="1.234">
  <testsuite name="smoke" tests="2" failures="1" errors="0" skipped="0" time="1.234">
    <testcase classname="home" name="home" time="0.000"/>
    <testcase classname="checkout" name="pays" time="1.234">
      <failure message="`status == 200` does not hold" type="fail">FAIL status == 200&#10;     found: 500&#10;&#10;request:&#10;GET /&lt;cart&gt;&#10;&#10;answer:&#10;500&#10;&#10;out &amp; of order�[0m&#10;</failure>
      <system-out>one&#10;two</system-out>
    </testcase>
  </testsuite>
  <testsuite name="before_shift" tests="1" failures="0" errors="1" skipped="0" time="0.000">
    <testcase classname="before_shift" name="before_shift" time="0.000">
      <error message="`./approve` ran out of time" type="not_yet"></error>
    </testcase>
  </testsuite>
  <testsuite name="expand" tests="1" failures="0" errors="0" skipped="0" time="0.000">
    <testcase classname="expand" name="expand" time="0.000"/>
  </testsuite>
</testsuites>
"#;
        assert_eq!(write("shop v2", &findings()), expected);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let checks = read(write("shop v2", &findings()).as_bytes(), "again").unwrap();
        let verdicts: Vec<_> = checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Fail, Verdict::Fail, Verdict::Pass]);
    }

    #[test]
    fn a_finding_that_is_not_what_its_checks_are_says_so_in_a_test_of_its_own() {
        let finding = Finding {
            checks: vec![Check::new("s", "a", Verdict::Pass)],
            ..Finding::not_yet("the report has vanished")
        };
        let xml = write("shop", &[("smoke".to_owned(), finding)]);
        assert!(xml.contains("tests=\"2\" failures=\"0\" errors=\"1\""), "{xml}");
        let nothing = Finding::of(Vec::new());
        assert!(write("shop", &[("smoke".to_owned(), nothing)]).contains("nothing was checked"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(pieces in proptest::collection::vec(prop_oneof![
            prop::sample::select(vec!["<testsuite>", "</testsuite>", "<testcase name='a' time='9'", ">", "/>", "</testcase>",
                "<failure message='", "'>", "</failure>", "<![CDATA[", "]]>", "&#0;", "&amp;", "<!--", "-->", "<skipped/>"])
                .prop_map(|piece| piece.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ], 0..12)) {
            let _ = read(&pieces.concat(), "s");
        }

        #[test]
        fn whatever_a_check_says_the_report_stays_one(text in "(?s).{0,20}") {
            let check = Check {
                reason: text.clone(), request: Some(text.clone()), output: vec![text.clone()],
                ..Check::new(text.clone(), text.clone(), Verdict::Fail)
            };
            let xml = write(&text, &[(text.clone(), Finding { reason: text.clone(), ..Finding::of(vec![check]) })]);
            let checks = read(xml.as_bytes(), "s").map_err(TestCaseError::fail)?;
            prop_assert_eq!(checks.len(), 1);
        }
    }
}
