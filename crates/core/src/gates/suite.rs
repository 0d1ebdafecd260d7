//! Smoke suites, as they are kept with a release.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A suite of checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// Its name, unlike that of any other suite of the release.
    pub name: String,
    /// What it does.
    pub kind: SuiteKind,
    /// It has not passed if it has not ended after this time, all tries together.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How often it is begun again after it did not pass, within its time.
    #[serde(default)]
    pub retries: u32,
    /// While the bake lasts it is repeated this often, as users reach the release.
    #[serde(default, with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    pub during_bake: Option<Duration>,
    /// Texts that `{{NAME}}` stands for; secrets of the release go by their names as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// What a suite does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuiteKind {
    /// Sends requests, one after the other.
    Requests(Vec<Step>),
    /// Has `hurl` run a file, whose text this is.
    Hurl {
        /// Its name, for messages.
        file: String,
        /// What stands in it.
        text: String,
    },
    /// Runs a program with what the release is run with; it passes by exit status 0.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// A report in JUnit's form that it writes, relative to the working directory of the release or absolute. It
        /// must be there, be new, and have a test in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        junit: Option<String>,
    },
}

/// One request of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Such as `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Fields, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What must be true of the answer, each as it is written, such as `status == 200`.
    pub assert: Vec<String>,
    /// What later steps need of the answer: a name, and where it is found, such as `jsonpath "$.token"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capture: BTreeMap<String, String>,
    /// How long the answer may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How often it is sent again after it did not pass, a moment later.
    #[serde(default)]
    pub retries: u32,
}
