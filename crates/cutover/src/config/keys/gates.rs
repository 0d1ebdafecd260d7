//! The keys of gates: `[[smoke]]`, `[hooks]`, `[migrate]`, `[preview]`.

use super::{Key, Kind, key};

const NAME: Key = key("name", Kind::Text, "text, such as \"home page greets\"");
const PATH: Key = key("path", Kind::Text, "a path with its query, such as \"/cart?items=2\"");
const METHOD: Key = key("method", Kind::Text, "the method of a request, such as \"POST\"");
const HEADERS: Key =
    key("headers", Kind::Each(&HEADER), "a table of fields, such as { accept = \"text/html\" }");
const HEADER: Key = key("", Kind::Text, "text, such as \"text/html\"");
const BODY: Key = key("body", Kind::Text, "text, such as \"a=1&b=2\"");
const JSON: Key = key("json", Kind::Any, "a value that is sent as JSON, such as { items = 2 }");
const STATUS: Key =
    key("status", Kind::Status, "a status such as 200, a class such as \"2xx\", or a list of those");
const BODY_CONTAINS: Key =
    key("body_contains", Kind::Command, "a text such as \"Welcome\" or a list of texts");
const BODY_MATCHES: Key =
    key("body_matches", Kind::Command, "a regular expression such as \"v[0-9]+\" or a list of those");
const WITHIN: Key = key("within", Kind::Duration, "a duration, such as \"500ms\"");
const ASSERT: Key = key(
    "assert",
    Kind::Command,
    "a list of assertions, such as ['header \"content-type\" contains \"html\"']",
);
const CAPTURE: Key =
    key("capture", Kind::Each(&CAPTURED), "a table of queries, such as { token = 'jsonpath \"$.token\"' }");
const CAPTURED: Key = key("", Kind::Text, "a query, such as 'jsonpath \"$.token\"'");
const TIMEOUT: Key = key("timeout", Kind::Duration, "a duration, such as \"60s\"");
const RETRIES: Key = key("retries", Kind::Whole, "a whole number, such as 2");
const VARIABLES: Key =
    key("variables", Kind::Each(&VARIABLE), "a table of texts, such as { user = \"smoke\" }");
const VARIABLE: Key = key("", Kind::Text, "text, such as \"smoke\"");
const STEPS: Key =
    key("step", Kind::Tables(STEP), "tables `[[smoke.step]]`, each with a line such as `path = \"/\"`");

/// A suite.
pub(in crate::config) const SMOKE: &[Key] = &[
    NAME,
    PATH,
    METHOD,
    HEADERS,
    BODY,
    JSON,
    STATUS,
    BODY_CONTAINS,
    BODY_MATCHES,
    WITHIN,
    ASSERT,
    CAPTURE,
    TIMEOUT,
    RETRIES,
    STEPS,
    key("file", Kind::Text, "the path of a file, such as \"smoke/checkout.toml\" or \"smoke/api.hurl\""),
    key(
        "command",
        Kind::Command,
        "a text such as \"npm run e2e\" or a list of words such as [\"npm\", \"run\", \"e2e\"]",
    ),
    key("junit", Kind::Text, "the path of a report that the command writes, such as \"report.xml\""),
    key("during_bake", Kind::Duration, "a duration, such as \"1m\""),
    VARIABLES,
];

/// One request of a suite.
pub(in crate::config) const STEP: &[Key] = &[
    NAME,
    PATH,
    METHOD,
    HEADERS,
    BODY,
    JSON,
    STATUS,
    BODY_CONTAINS,
    BODY_MATCHES,
    WITHIN,
    ASSERT,
    CAPTURE,
    TIMEOUT,
    RETRIES,
];

/// A file with a suite in it.
pub(in crate::config) const SUITE_FILE: &[Key] = &[
    key("step", Kind::Tables(STEP), "tables `[[step]]`, each with a line such as `path = \"/\"`"),
    VARIABLES,
];

const fn point(name: &'static str) -> Key {
    key(
        name,
        Kind::Hooks(HOOK),
        "a command such as \"./announce --all\", a list of its words, a table such as { url = \"https://…\", timeout = \"10s\" }, or a list of such tables",
    )
}

/// Points by their own names, and by those of CodeDeploy.
pub(in crate::config) const HOOKS: &[Key] = &[
    point("before_deploy"),
    point("after_provision"),
    point("after_healthy"),
    point("after_smoke"),
    point("before_shift"),
    point("after_each_step"),
    point("after_cutover"),
    point("after_bake"),
    point("on_rollback"),
    point("on_failure"),
    point("BeforeInstall"),
    point("AfterInstall"),
    point("AfterAllowTestTraffic"),
    point("BeforeAllowTraffic"),
    point("AfterAllowTraffic"),
];

/// What is run at a point.
pub(in crate::config) const HOOK: &[Key] = &[
    key("name", Kind::Text, "text, such as \"announce\""),
    key(
        "command",
        Kind::Command,
        "a text such as \"./announce --all\" or a list of words such as [\"./announce\", \"--all\"]",
    ),
    key("url", Kind::Text, "an address, such as \"https://hooks.example.com/shop\""),
    key(
        "headers",
        Kind::Each(&HEADER),
        "a table of fields, such as { authorization = \"Bearer {{TOKEN}}\" }",
    ),
    key("timeout", Kind::Duration, "a duration, such as \"10s\""),
    RETRIES,
];

/// The steps of the database.
pub(in crate::config) const MIGRATE: &[Key] = &[
    key(
        "expand",
        Kind::Command,
        "a text such as \"./migrate expand\" or a list of words such as [\"./migrate\", \"expand\"]",
    ),
    key(
        "contract",
        Kind::Command,
        "a text such as \"./migrate contract\" or a list of words such as [\"./migrate\", \"contract\"]",
    ),
    key("contract_when", Kind::Text, "\"by_hand\" or \"after_bake\""),
    key("timeout", Kind::Duration, "a duration, such as \"1h\""),
];

/// How people reach a release before its switch.
pub(in crate::config) const PREVIEW: &[Key] =
    &[key("host", Kind::Text, "a host name, such as \"preview.shop.example.com\"")];
