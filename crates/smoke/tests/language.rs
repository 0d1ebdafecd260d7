//! The language of assertions and captures, as a person meets it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use cutover_smoke::{Answer, Assertion, Capture};
use proptest::prelude::*;

const BODY: &str = r#"{"token":"a\"b","count":3,"price":2.5,"ok":true,"none":null,"big":9007199254740993,
"items":[{"id":1,"name":"Tea"},{"id":2,"name":"Teapot"}],"tags":["x","y"],"empty":[],"text":"","o":{"k":1}}"#;

fn headers() -> Vec<(String, String)> {
    let fields = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("set-cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("content-length", "120"),
        ("x-empty", ""),
    ];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "id" => "2",
        "token" => "a\"b",
        "status" => "204",
        "name" => "Tea",
        "key" => "k",
        "object" => r#"{"id":1,"name":"Tea"}"#,
        "evil" => "x'] || $['y\"\\",
        "dots" => "..",
        "slash" => "a/b) or (.*",
        _ => return None,
    };
    Some(value.to_owned())
}

fn judge_of(line: &str, body: &str, whole: bool) -> cutover_core::gates::Assertion {
    let headers = headers();
    let answer = Answer {
        status: 204,
        headers: &headers,
        body: body.as_bytes(),
        whole,
        took: Duration::from_millis(120),
    };
    let assertion = Assertion::parse(line).unwrap_or_else(|mistake| panic!("{line}: {mistake}"));
    let found = assertion.judge(&answer, &lookup);
    // What is written in its plainest form says the same.
    let again =
        Assertion::parse(&assertion.to_string()).unwrap_or_else(|mistake| panic!("{assertion}: {mistake}"));
    let found_again = again.judge(&answer, &lookup);
    assert_eq!(
        (found.holds, &found.found),
        (found_again.holds, &found_again.found),
        "{line} and {assertion}"
    );
    assert_eq!(again.to_string(), assertion.to_string());
    found
}

fn holds(body: &str, lines: &[&str]) {
    for line in lines {
        let judged = judge_of(line, body, true);
        assert!(judged.holds, "{line} should hold, found {}", judged.found);
        assert_eq!(judged.text, *line);
    }
}

fn fails(body: &str, lines: &[(&str, &str)]) {
    for (line, found) in lines {
        let judged = judge_of(line, body, true);
        assert_eq!((judged.holds, judged.found.as_str()), (false, *found), "{line}");
    }
}

#[test]
fn a_status_is_compared_with_numbers_and_classes() {
    holds(
        "",
        &[
            "status == 204",
            "status==204",
            "  status   ==  204 ",
            "status == 2xx",
            "status != 5xx",
            "status not == 404",
            "status not in [500, 404, 3xx]",
            "status in [200, 204]",
            "status in [2xx]",
            "status < 300",
            "status >= 200",
            "status == {{status}}",
        ],
    );
    fails(
        "",
        &[
            ("status == 200", "204"),
            ("status == 5xx", "204"),
            ("status in [200, 4xx]", "204"),
            ("status not == 2xx", "204"),
            ("status == {{nobody}}", "`{{nobody}}` stands for nothing here"),
            ("status not == {{nobody}}", "`{{nobody}}` stands for nothing here"),
            ("status > {{name}}", "`{{name}}` does not stand for a number"),
        ],
    );
}

#[test]
fn a_duration_is_compared_with_durations() {
    holds("", &["duration < 500ms", "duration <= 1s", "duration not > 1m30s", "duration == 120ms"]);
    fails("", &[("duration < 100ms", "120ms"), ("duration not < 500ms", "120ms")]);
}

#[test]
fn a_header_holds_if_one_of_its_values_does() {
    holds(
        "",
        &[
            r#"header "content-type" contains "html""#,
            r#"header "CONTENT-TYPE" starts with "text/html""#,
            r#"header "content-type" ends with "utf-8""#,
            r#"header "content-type" matches /charset=(?i)UTF/"#,
            r#"header "set-cookie" == "b=2""#,
            r#"header "set-cookie" count == 2"#,
            r#"header "set-cookie" count > 1"#,
            r#"header "set-cookie" exists"#,
            r#"header "x-powered-by" not exists"#,
            r#"header "x-powered-by" count == 0"#,
            r#"header "content-length" > 100"#,
            r#"header "content-length" == 120"#,
            r#"header "content-length" is number"#,
            r#"header "set-cookie" in [1, "a=1"]"#,
            r#"header "x-empty" is empty"#,
            r#"header "set-cookie" not contains "c=""#,
            r#"header "set-cookie" != "c=3""#,
        ],
    );
    fails(
        "",
        &[
            (r#"header "set-cookie" == "c=3""#, r#"2 of them: "a=1", "b=2""#),
            (r#"header "set-cookie" != "a=1""#, r#"2 of them: "a=1", "b=2""#),
            (r#"header "x-powered-by" == "x""#, "there is none"),
            (r#"header "x-powered-by" is empty"#, "there is none"),
            (r#"header "x-powered-by" is not empty"#, "there is none"),
            (r#"header "x-powered-by" != "x""#, "there is none"),
            (r#"header "x-powered-by" not contains "x""#, "there is none"),
            (r#"header "content-type" > 3"#, r#""text/html; charset=utf-8", not a number"#),
        ],
    );
}

#[test]
fn a_body_is_text() {
    holds(
        "Welcome to v12\nbye",
        &[
            r#"body contains "Welcome""#,
            r#"body not contains "Error""#,
            r#"body starts with "Wel""#,
            r#"body ends with "bye""#,
            r"body matches /v\d+/",
            r"body matches /^BYE$/im",
            r"body matches /Welcome.*bye/s",
            r"body not matches /v\d{3}/",
            r#"body == "Welcome to v12\nbye""#,
            r#"body != "Welcome""#,
            "body not is empty",
            "body is not empty",
            r"regex /v(\d+)/ == 12",
            r#"regex /v(\d+)/ == "12""#,
            r"regex /v\d+/ exists",
            r#"regex /v\d+/ == "v12""#,
            r"regex /Goodbye/ not exists",
            r"regex /v(\d+)/ > 11",
        ],
    );
    fails(
        "Welcome",
        &[
            (r#"body contains "Error""#, r#""Welcome""#),
            (r"body matches /v\d+/", r#""Welcome""#),
            (r"regex /v(\d+)/ == 12", "no match in the body"),
            (r"regex /v(\d+)/ != 12", "no match in the body"),
            (r"regex /(x)?W/ exists", "a match in the body, but not of its group"),
            ("body is empty", r#""Welcome""#),
        ],
    );
    holds("", &["body is empty", r#"body == """#]);
    let long = "x".repeat(1000);
    assert!(judge_of(r#"body contains "y""#, &long, true).found.chars().count() < 210);
}

#[test]
fn json_is_compared_by_its_kinds() {
    holds(
        BODY,
        &[
            r#"jsonpath "$.count" == 3"#,
            r#"jsonpath "$.count" == 3.0"#,
            r#"jsonpath "$.count" != "3""#,
            r#"jsonpath "$.count" >= 3"#,
            r#"jsonpath "$.price" < 2.6"#,
            r#"jsonpath "$.big" == 9007199254740993"#,
            r#"jsonpath "$.big" != 9007199254740992"#,
            r#"jsonpath "$.token" == "a\"b""#,
            r#"jsonpath "$.ok" == true"#,
            r#"jsonpath "$.ok" is boolean"#,
            r#"jsonpath "$.none" == null"#,
            r#"jsonpath "$.none" is null"#,
            r#"jsonpath "$.none" exists"#,
            r#"jsonpath "$.nothing" not exists"#,
            r#"jsonpath "$.items" is list"#,
            r#"jsonpath "$.items" count == 2"#,
            r#"jsonpath "$.items[*]" count == 2"#,
            r#"jsonpath "$.items[*].id" contains 2"#,
            r#"jsonpath "$.items[*].id" not contains 3"#,
            r#"jsonpath "$.items[*].id" contains {{id}}"#,
            r#"jsonpath "$.items[*].name" contains "eap""#,
            r#"jsonpath "$.items[*].name" contains {{name}}"#,
            r#"jsonpath "$.items[*].name" not contains "Coffee""#,
            r#"jsonpath "$.items[*].id" not > 2"#,
            r#"jsonpath "$.items[*].name" == "Teapot""#,
            r#"jsonpath "$.items[?@.id == 2].name" == "Teapot""#,
            r#"jsonpath "$.items[?@.id > 2]" is empty"#,
            r#"jsonpath "$.items[0].name" starts with "Te""#,
            r#"jsonpath "$['items'][1]['name']" ends with "pot""#,
            r#"jsonpath "$.tags" contains "x""#,
            r#"jsonpath "$.tags" not contains "z""#,
            r#"jsonpath "$.empty" is empty"#,
            r#"jsonpath "$['text', 'token']" is not empty"#,
            r#"jsonpath "$.o" contains {{key}}"#,
            r#"jsonpath "$.items" contains {{object}}"#,
            r#"jsonpath "$.text" is empty"#,
            r#"jsonpath "$.text" is string"#,
            r#"jsonpath "$.o" is object"#,
            r#"jsonpath "$.o" contains "k""#,
            r#"jsonpath "$.count" in [1, 2, 3]"#,
            r#"jsonpath "$.count" is number"#,
            r#"jsonpath "$..name" count == 2"#,
        ],
    );
    fails(
        BODY,
        &[
            (r#"jsonpath "$.count" == "3""#, "the number 3"),
            (r#"jsonpath "$.count" contains "3""#, "the number 3, which contains nothing"),
            (r#"jsonpath "$.count" not contains "3""#, "the number 3, which contains nothing"),
            (r#"jsonpath "$.token" > 3"#, r#""a\"b", not a number"#),
            (r#"jsonpath "$.token" not > 3"#, r#""a\"b", not a number"#),
            (r#"jsonpath "$.nothing" == 3"#, "nothing at `$.nothing`"),
            (r#"jsonpath "$.nothing" != 3"#, "nothing at `$.nothing`"),
            (r#"jsonpath "$.nothing" exists"#, "nothing at `$.nothing`"),
            (r#"jsonpath "$.items[?@.id > 2].name" != "x""#, "there is none"),
            (
                r#"jsonpath "$.items" count == 3"#,
                r#"the list [{"id":1,"name":"Tea"},{"id":2,"name":"Teapot"}]"#,
            ),
            (r#"jsonpath "$.ok" count == 1"#, "what was found cannot be counted"),
            (r#"jsonpath "$['count', 'token']" not > 5"#, r#""a\"b", not a number"#),
            (r#"jsonpath "$.items[*].id" not contains {{nobody}}"#, "`{{nobody}}` stands for nothing here"),
            (r#"jsonpath "$.items[*].id" not contains 2"#, "2 of them: 1, 2"),
        ],
    );
}

#[test]
fn json_that_is_broken_holds_nothing() {
    let found = "the body is not JSON: EOF while parsing an object at line 1 column 7";
    fails(
        "{\"a\":1",
        &[
            (r#"jsonpath "$.a" == 1"#, &found.replace("column 7", "column 6")),
            (r#"jsonpath "$.a" not exists"#, &found.replace("column 7", "column 6")),
            (r#"jsonpath "$.a" != 1"#, &found.replace("column 7", "column 6")),
        ],
    );
    assert!(judge_of(r#"jsonpath "$" exists"#, "", true).found.starts_with("the body is not JSON: "));
    let deep = "[".repeat(100_000);
    assert!(judge_of(r#"jsonpath "$" exists"#, &deep, true).found.starts_with("the body is not JSON: "));
}

#[test]
fn names_stand_for_texts_that_nothing_can_break() {
    holds(
        BODY,
        &[
            r#"jsonpath "$.token" == "{{token}}""#,
            r#"jsonpath "$.token" == {{token}}"#,
            r#"jsonpath "$.items[1].id" == {{id}}"#,
            r#"jsonpath "$.items[?@.name == '{{name}}'].id" == 1"#,
            r#"jsonpath "$.items[?@.name == \"{{name}}\"].id" count == 1"#,
            r#"jsonpath "$.items[?@.name == '{{evil}}']" count == 0"#,
            r#"jsonpath "$['{{evil}}']" not exists"#,
            r#"body contains "\"{{name}}pot\"""#,
            r"body matches /{{name}}pot/",
            r"body not matches /{{dots}}/",
            r"body not matches /{{slash}}/",
            r"regex /({{name}}\w+)/ == {{name}}pot",
        ]
        .into_iter()
        .filter(|line| !line.ends_with("{{name}}pot"))
        .collect::<Vec<_>>(),
    );
    fails(
        BODY,
        &[
            (r#"jsonpath "$.items[1].id" == "{{id}}""#, "the number 2"),
            (r#"jsonpath "$['{{nobody}}']" not exists"#, "`{{nobody}}` stands for nothing here"),
            (r"body not matches /{{nobody}}/", "`{{nobody}}` stands for nothing here"),
            (r#"body not contains "{{nobody}}""#, "`{{nobody}}` stands for nothing here"),
        ],
    );
    let json = |key: &str| serde_json::json!({ key: 1 }).to_string();
    let evil = lookup("evil").unwrap();
    holds(&json(&evil), &[r#"jsonpath "$['{{evil}}']" == 1"#, r#"jsonpath "$[\"{{evil}}\"]" == 1"#]);
    let names = Assertion::parse(r#"jsonpath "$['{{a}}']" == "{{b}}-{{c}}""#).unwrap().names();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn of_a_body_that_was_cut_nothing_is_said_that_nobody_knows() {
    let decided = [
        (r#"body contains "Welcome""#, true),
        (r#"body not contains "Welcome""#, false),
        (r#"body starts with "Welcome to""#, true),
        (r#"body starts with "Goodbye""#, false),
        (r"body matches /Welcome/", true),
        (r"body not matches /v\d+/", false),
        (r#"body != "other""#, true),
        (r"regex /v(\d+)/ == 12", true),
        (r#"body == "Welcome""#, false),
        ("body is not empty", true),
        ("status == 204", true),
    ];
    for (line, holds) in decided {
        let judged = judge_of(line, "Welcome to v12, dear", false);
        assert_eq!(judged.holds, holds, "{line}");
        assert!(!judged.found.contains("cut"), "{line}: {}", judged.found);
    }
    for line in [
        r#"body contains "Error""#,
        r#"body not contains "Error""#,
        r#"body contains "dear""#,
        r#"body starts with "Welcome to v12, dear Eve""#,
        r#"body ends with "dear""#,
        r#"body not ends with "x""#,
        r#"body == "Welcome to v12, dear Eve""#,
        r"body matches /Error/",
        r"body not matches /Error/",
        r"body matches /dear$/",
        r"body matches /dea\b/",
        r"regex /dear.*/ exists",
        r"regex /Error/ not exists",
        r#"jsonpath "$.a" exists"#,
        r#"jsonpath "$.a" not exists"#,
    ] {
        let judged = judge_of(line, "Welcome to v12, dear", false);
        assert_eq!(
            (judged.holds, judged.found.as_str()),
            (false, "the body was cut after 20 bytes, so nobody knows"),
            "{line}"
        );
    }
}

#[test]
fn mistakes_name_their_column_and_what_to_do() {
    let check = |line: &str, column: usize, message: &str| {
        let mistake = Assertion::parse(line).err().unwrap_or_else(|| panic!("{line} is read"));
        assert_eq!((mistake.column, mistake.message.as_str()), (column, message), "{line}");
    };
    check(
        "",
        1,
        "here stands what is looked at: `status`, `header`, `body`, `jsonpath`, `regex`, `duration`",
    );
    check("stauts == 200", 1, "`stauts` is nothing to look at: did you mean `status`?");
    check("status", 7, "`status` is looked at, but nothing is said of it: add a predicate such as `== 200`");
    check(
        "status = 200",
        8,
        "`=` is no predicate: here stands one of `==`, `!=`, `<`, `<=`, `>`, `>=`, `contains`, `starts with`, `ends with`, `matches`, `exists`, `is`, `in`, `count`",
    );
    check("status == \"200\"", 8, "`status` is a number or a class, such as 200 or 2xx, and never \"200\"");
    check("status == ", 11, "here stands a value: a \"text\", a number, true, false, null or {{NAME}}");
    check("status == 200 or 204", 15, "`or` follows where the line should end");
    check(
        "status == 2x",
        11,
        "`2x` is neither: numbers are written like 200 or -1.5, durations like 500ms, classes of statuses like 2xx",
    );
    check("status < 2xx", 8, "`2xx` is a class: write `== 2xx` or compare with a number");
    check("status exists", 8, "`status` is compared, such as `status == 200`");
    check("duration < 500", 10, "a duration has a unit, such as 500ms");
    check("body contain \"x\"", 6, "`contain` is no predicate: did you mean `contains`?");
    check(
        "body contains Welcome",
        15,
        "`Welcome` is no value: a text has double quotes, such as \"Welcome\"",
    );
    check(
        "body contains 'x'",
        15,
        "here stands a value: a \"text\", a number, true, false, null or {{NAME}}",
    );
    check("body contains \"é", 15, "this quote is not closed");
    check(
        "body == \"é\\x\"",
        11,
        "`\\x` means nothing: a text knows `\\\"`, `\\\\`, `\\n`, `\\r`, `\\t` and `\\u00e9`",
    );
    check("body starts \"x\"", 13, "`with` is missing behind `starts`");
    check("body exists", 6, "a body is always there: `body not is empty` asks whether something is in it");
    check("body is list", 6, "`body` is text; of JSON it is asked like `jsonpath \"$\" is list`");
    check("body is nmber", 9, "behind `is` stands what it should be: did you mean `number`?");
    check("body matches /v(\\d+/", 16, "this is no regular expression: unclosed group");
    check("body matches /\\/a[/", 18, "this is no regular expression: unclosed character class");
    check("body matches /v", 14, "this slash is not closed");
    check("body matches /v/g", 17, "`g` means nothing behind a regular expression: `i`, `m` and `s` do");
    check("body matches \"v\"", 14, "here stands a regular expression between slashes, such as /v\\d+/");
    check("header content-type exists", 8, "here stands the name of a field, such as \"content-type\"");
    check("header \"a b\" exists", 10, "a field has no \" \" in its name");
    check("jsonpath \"$.a\" count == -1", 25, "`-1` is no count: a whole number is");
    check("jsonpath \"$.a\" > \"x\"", 16, "only numbers are greater or less, not \"x\"");
    check(
        "jsonpath \"$.{{a}}\" exists",
        13,
        "`{{a}}` stands in a path only within quotes, such as $[\"{{a}}\"]",
    );
    let mistake = Assertion::parse("jsonpath \"$.a[\" exists").unwrap_err();
    assert_eq!(mistake.column, 14, "{mistake}");
    assert!(mistake.message.starts_with("this is no JSONPath: "), "{mistake}");
    assert_eq!(Assertion::parse("jsonpath \"a\" exists").unwrap_err().column, 11);
    let deep = format!("jsonpath \"$[?{}@.a{}]\" exists", "(".repeat(5000), ")".repeat(5000));
    assert!(Assertion::parse(&deep).is_err());
    let big = Assertion::parse(r"body matches /\w{1000}{1000}/").unwrap_err();
    assert_eq!(big.message, "this is no regular expression that can be used: it is too big");
}

/// What would take hours on a document of a megabyte cannot be written.
#[test]
fn a_path_that_takes_the_square_of_a_document_is_refused() {
    for path in
        ["$..*..*", "$..a..b", "$.a[?@..b == 1]", "$[?@.*]", "$[?@[*]]", "$[?@[?@.a == 1]]", "$[?$..a == 1]"]
    {
        let mistake = Assertion::parse(&format!("jsonpath \"{path}\" exists")).unwrap_err();
        assert!(mistake.message.contains("take hours on a large document"), "{path}: {mistake}");
    }
    for path in [
        "$..a",
        "$..a[*].b",
        "$.a[?@.b == '..*?']",
        "$[?@.a == 1]..b",
        "$[?@.a == 1][?@.b == 2]",
        "$[?@['..']]",
    ] {
        assert!(Assertion::parse(&format!("jsonpath \"{path}\" exists")).is_ok(), "{path}");
    }
    // The dearest that can be written, on as much as is ever read of a body.
    let nested = (0..7)
        .fold(serde_json::json!(1), |inner, depth| serde_json::json!({ "a": vec![inner; 4], "b": depth }));
    let body = nested.to_string();
    let headers = headers();
    let answer =
        Answer { status: 200, headers: &headers, body: body.as_bytes(), whole: true, took: Duration::ZERO };
    let judged =
        Assertion::parse("jsonpath \"$..*.*.*.*.*.*.*.*\" count > 99999999").unwrap().judge(&answer, &lookup);
    assert!(!judged.holds, "{judged:?}");
}

fn take(line: &str, body: &str) -> Result<String, String> {
    let headers = headers();
    let answer =
        Answer { status: 201, headers: &headers, body: body.as_bytes(), whole: true, took: Duration::ZERO };
    Capture::parse(line).unwrap().take(&answer, &lookup)
}

#[test]
fn a_capture_takes_one_text() {
    let check = |line: &str, expected: &str| assert_eq!(take(line, BODY).as_deref(), Ok(expected), "{line}");
    check("status", "201");
    check("header \"content-length\"", "120");
    check("jsonpath \"$.token\"", "a\"b");
    check("jsonpath \"$.count\"", "3");
    check("jsonpath \"$.o\"", "{\"k\":1}");
    check("jsonpath \"$.items[?@.id == 2].name\"", "Teapot");
    check(r#"regex /"price":([\d.]+)/"#, "2.5");
    let check = |line: &str, expected: &str| assert_eq!(take(line, BODY), Err(expected.to_owned()), "{line}");
    check("header \"set-cookie\"", "there are 2, the first is \"a=1\"");
    check("header \"location\"", "there is none");
    check("jsonpath \"$.none\"", "it is null");
    check("jsonpath \"$.nothing\"", "nothing at `$.nothing`");
    check("jsonpath \"$..name\"", "there are 2, the first is \"Tea\"");
    assert_eq!(take("body", "all of it").as_deref(), Ok("all of it"));
    let mistake = Capture::parse("jsonpath \"$.token\" == 3").unwrap_err();
    assert_eq!(
        (mistake.column, mistake.message.as_str()),
        (20, "`==` follows, but a capture is a query alone")
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
        let _ = Assertion::parse(&text);
        let _ = Capture::parse(&text);
    }

    #[test]
    fn no_line_of_our_own_words_makes_anything_panic_and_what_is_printed_reads_the_same(
        words in proptest::collection::vec(word(), 1..7), body in "[ -~é]{0,40}", whole in any::<bool>(),
    ) {
        let line = words.join(" ");
        let answer = Answer {
            status: 200, headers: &headers(), body: body.as_bytes(), whole, took: Duration::from_millis(5),
        };
        match Assertion::parse(&line) {
            Err(mistake) => prop_assert!((1..=line.chars().count() + 1).contains(&mistake.column), "{line}: {mistake:?}"),
            Ok(assertion) => {
                let printed = assertion.to_string();
                let again = Assertion::parse(&printed).map_err(|mistake| TestCaseError::fail(format!("{printed}: {mistake}")))?;
                prop_assert_eq!(again.to_string(), printed);
                let (one, other) = (assertion.judge(&answer, &lookup), again.judge(&answer, &lookup));
                prop_assert_eq!((one.found, one.holds), (other.found, other.holds));
            }
        }
    }

    #[test]
    fn whatever_is_said_of_a_part_of_a_body_is_true_of_the_whole(
        start in "[ab]{0,8}", rest in "[ab]{0,8}", text in "[ab]{0,3}", predicate in prop::sample::select(vec![
            "contains", "not contains", "starts with", "not starts with", "ends with", "not ends with", "==", "!=",
        ]),
    ) {
        let line = format!("body {predicate} \"{text}\"");
        let part = judge_of(&line, &start, false);
        if part.found.contains("cut") {
            prop_assert!(!part.holds);
            return Ok(());
        }
        let whole = judge_of(&line, &(start.clone() + &rest), true);
        prop_assert_eq!(part.holds, whole.holds, "{} of {} and {}", line, start, rest);
    }

    #[test]
    fn whatever_a_name_stands_for_a_path_finds_that_key_and_no_other(key in "\\PC{0,12}", other in "\\PC{0,12}") {
        prop_assume!(key != other);
        let body = serde_json::json!({ key.clone(): 1, other: 2 }).to_string();
        let answer = Answer { status: 200, headers: &[], body: body.as_bytes(), whole: true, took: Duration::ZERO };
        for line in [r#"jsonpath "$['{{key}}']" == 1"#, r#"jsonpath "$[\"{{key}}\"]" == 1"#] {
            let found = Assertion::parse(line).unwrap().judge(&answer, &|_| Some(key.clone()));
            prop_assert!(found.holds, "{}: {}", key, found.found);
        }
    }

    #[test]
    fn whatever_a_name_stands_for_a_pattern_finds_it_as_it_is(text in "\\PC{0,12}") {
        let body = format!("before {text} after");
        let answer = Answer { status: 200, headers: &[], body: body.as_bytes(), whole: true, took: Duration::ZERO };
        let line = "body matches /^before {{text}} after$/";
        prop_assert!(Assertion::parse(line).unwrap().judge(&answer, &|_| Some(text.clone())).holds);
    }
}

fn word() -> impl Strategy<Value = String> {
    let ours = [
        "status",
        "header",
        "body",
        "jsonpath",
        "regex",
        "duration",
        "not",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "contains",
        "starts with",
        "ends with",
        "matches",
        "exists",
        "is",
        "in",
        "count",
        "number",
        "list",
        "empty",
        "null",
        "true",
        "200",
        "2xx",
        "500ms",
        "1.5",
        "-0.0",
        "[200, 2xx]",
        "[\"a\"]",
        "\"content-type\"",
        "\"a\\u00e9\\n\"",
        "\"$.a\"",
        "\"$..a[?@.b == 1]\"",
        "\"$['{{id}}'][0]\"",
        "\"$[\"",
        "/a+/i",
        "/a\\/(b)/",
        "/(/",
        "{{id}}",
        "\"{{id}}\"",
    ];
    let whole =
        ["status == 200", "header \"content-type\"", "body contains", "jsonpath \"$.a\"", "regex /(.)/"];
    prop_oneof![
        4 => prop::sample::select(ours.to_vec()).prop_map(str::to_owned),
        2 => prop::sample::select(whole.to_vec()).prop_map(str::to_owned),
        1 => "[\"'/\\\\\\[\\]{}a-z0-9.$é]{0,8}",
    ]
}
