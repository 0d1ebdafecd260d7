//! What a key that is limited may ask of the API: the one table of which verb of the command line sends which requests.
//! What is not in it is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use cutover_core::ServiceName;
use hyper::header::{HeaderMap, UPGRADE};
use hyper::{Method, Uri};

/// A kind of request: a method, a path with `{…}` for what varies, and the verbs that send it.
struct Rule {
    method: Method,
    path: &'static str,
    verbs: &'static [&'static str],
}

const fn rule(method: Method, path: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { method, path, verbs }
}

/// Whoever may do anything at all may do this.
const EVERY_VERB: &[&str] = &[];
/// Verbs that follow a deployment which they have begun or found.
const FOLLOWERS: &[&str] = &[
    "abort", "deploy", "promote", "remove", "resolve", "restart", "rollback", "scale", "show", "status",
    "stop", "traffic",
];

const SERVICE: &str = "{service}";

const RULES: &[Rule] = &[
    rule(Method::GET, "/v1/controller", EVERY_VERB),
    rule(Method::GET, "/v1/services", &["status", "top"]),
    rule(Method::GET, "/v1/services/{service}", EVERY_VERB),
    rule(Method::GET, "/v1/services/{service}/deployments", &["history"]),
    rule(Method::POST, "/v1/services/{service}/deployments", &["deploy"]),
    rule(Method::POST, "/v1/services/{service}/artifacts", &["deploy"]),
    rule(Method::PUT, "/v1/services/{service}/artifacts/{id}", &["deploy"]),
    rule(Method::GET, "/v1/services/{service}/deployments/{id}", FOLLOWERS),
    rule(Method::GET, "/v1/services/{service}/deployments/{id}/follow", FOLLOWERS),
    rule(Method::POST, "/v1/services/{service}/rollback", &["rollback"]),
    rule(Method::POST, "/v1/services/{service}/abort", &["abort"]),
    rule(Method::POST, "/v1/services/{service}/promote", &["promote"]),
    rule(Method::POST, "/v1/services/{service}/smoke", &["smoke"]),
    rule(Method::POST, "/v1/services/{service}/contract", &["contract"]),
    rule(Method::POST, "/v1/services/{service}/restart", &["restart"]),
    rule(Method::POST, "/v1/services/{service}/scale", &["scale"]),
    rule(Method::POST, "/v1/services/{service}/traffic", &["traffic"]),
    rule(Method::POST, "/v1/services/{service}/stop", &["stop"]),
    rule(Method::POST, "/v1/services/{service}/remove", &["remove"]),
    rule(Method::GET, "/v1/services/{service}/releases", &["rollback", "history"]),
    rule(Method::GET, "/v1/services/{service}/resolve", &["resolve", "status"]),
    rule(Method::POST, "/v1/services/{service}/resolve", &["resolve"]),
    rule(Method::POST, "/v1/services/{service}/freeze", &["freeze"]),
    rule(Method::POST, "/v1/services/{service}/unfreeze", &["unfreeze"]),
    rule(Method::POST, "/v1/services/{service}/hold", &["hold"]),
    rule(Method::POST, "/v1/services/{service}/unhold", &["unhold"]),
    rule(Method::POST, "/v1/services/{service}/maintenance", &["maintenance"]),
    rule(Method::POST, "/v1/freeze", &["freeze"]),
    rule(Method::POST, "/v1/unfreeze", &["unfreeze"]),
    rule(Method::GET, "/v1/services/{service}/logs", &["logs"]),
    rule(Method::GET, "/v1/services/{service}/commands", &["history"]),
    // What the configuration names is run and read for a plan as for a deployment: who may not deploy may not plan.
    rule(Method::POST, "/v1/services/{service}/plan", &["deploy"]),
    // It shows what nobody else may see yet, so it is a verb of its own.
    rule(Method::POST, "/v1/services/{service}/preview", &["preview"]),
    rule(Method::GET, "/v1/usage", &["top"]),
    rule(Method::GET, "/v1/certificates", &["certificates"]),
    rule(Method::POST, "/v1/certificates/{name}/renew", &["certificates"]),
    rule(Method::POST, "/v1/shutdown", &["shutdown"]),
];

/// What a key may do: with which services, by which verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permission {
    /// Any service if empty; else nothing that is about the whole host either.
    services: BTreeSet<ServiceName>,
    verbs: BTreeSet<Allowed>,
}

/// A verb of the command line that a key may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Allowed(&'static str);

impl FromStr for Allowed {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let known: BTreeSet<&'static str> = RULES.iter().flat_map(|rule| rule.verbs).copied().collect();
        known.get(typed).map(|verb| Self(verb)).ok_or_else(|| {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            format!("`{typed}` is no verb that a key can be limited to; these are: {known}")
        })
    }
}

impl Permission {
    pub(crate) fn new(services: Vec<ServiceName>, verbs: Vec<Allowed>) -> Self {
        Self { services: services.into_iter().collect(), verbs: verbs.into_iter().collect() }
    }

    /// Whether a request may be passed on; if not, one sentence that says why.
    ///
    /// Judges by what was sent, byte by byte: whatever could be read in two ways is refused.
    pub(crate) fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        if uri.authority().is_some() || uri.scheme().is_some() {
            return Err("only a path can be asked for".to_owned());
        }
        if headers.contains_key(UPGRADE) || *method == Method::CONNECT {
            return Err("a limited key cannot change the protocol".to_owned());
        }
        let segments = plain_segments(uri.path())
            .ok_or_else(|| "the path holds what no path of the API holds".to_owned())?;
        let rule = RULES.iter().find(|rule| rule.method == *method && matches(rule.path, &segments));
        let rule = rule.ok_or_else(|| format!("no verb of a limited key sends {method} {}", uri.path()))?;
        let service = service_of(rule, &segments);
        if service.is_some() || !rule.verbs.is_empty() {
            self.judge_service(service)?;
        }
        let is_allowed = rule.verbs.is_empty() || self.verbs.iter().any(|verb| rule.verbs.contains(&verb.0));
        if !is_allowed {
            return Err(format!("this key may not `{}`: it {self}", rule.verbs.join("` or `")));
        }
        Ok(())
    }

    fn judge_service(&self, asked: Option<&str>) -> Result<(), String> {
        let is_one_of = |asked: &str| self.services.iter().any(|service| service.as_str() == asked);
        match asked {
            _ if self.services.is_empty() => Ok(()),
            Some(asked) if is_one_of(asked) => Ok(()),
            Some(asked) => Err(format!("this key has nothing to do with `{asked}`: it {self}")),
            None => Err(format!("this is about the whole host, and this key {self}")),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<_> = self.verbs.iter().map(|verb| verb.0).collect();
        write!(f, "may {}", verbs.join(", "))?;
        if !self.services.is_empty() {
            let services: Vec<_> = self.services.iter().map(ServiceName::as_str).collect();
            write!(f, " with {}", services.join(", "))?;
        }
        Ok(())
    }
}

/// The segments of a path in which nothing is encoded, empty or about directories.
fn plain_segments(path: &str) -> Option<Vec<&str>> {
    let is_plain = |segment: &&str| {
        !segment.is_empty()
            && segment.len() <= 200
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    segments.iter().all(is_plain).then_some(segments)
}

fn matches(pattern: &str, segments: &[&str]) -> bool {
    let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
    pattern.len() == segments.len()
        && pattern.iter().zip(segments).all(|(like, segment)| like.starts_with('{') || like == segment)
}

fn service_of<'a>(rule: &Rule, segments: &[&'a str]) -> Option<&'a str> {
    let at = rule.path.split('/').skip(1).position(|part| part == SERVICE)?;
    segments.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(services: &[&str], verbs: &[&str], method: &str, target: &str) -> Result<(), String> {
        let permission = Permission::new(
            services.iter().map(|name| name.parse().unwrap()).collect(),
            verbs.iter().map(|verb| verb.parse().unwrap()).collect(),
        );
        permission.judge(&method.parse().unwrap(), &target.parse().unwrap(), &HeaderMap::new())
    }

    #[track_caller]
    fn check(method: &str, target: &str, refusal: &str) {
        let judged = judge(&["shop"], &["deploy", "status"], method, target);
        let said = judged.err().unwrap_or_default();
        assert!(said.contains(refusal) && said.is_empty() == refusal.is_empty(), "{method} {target}: {said}");
    }

    #[test]
    fn a_key_does_what_it_is_for_and_nothing_else() {
        for (method, path) in [
            ("GET", "/v1/controller"),
            ("GET", "/v1/services/shop"),
            ("POST", "/v1/services/shop/deployments"),
            ("POST", "/v1/services/shop/plan"),
            ("GET", "/v1/services/shop/deployments/k3f9"),
            ("GET", "/v1/services/shop/deployments/k3f9/follow"),
        ] {
            check(method, path, "");
        }
        check("POST", "/v1/services/shop/rollback", "may not `rollback`: it may deploy, status with shop");
        check("POST", "/v1/services/shop/abort", "may not `abort`");
        check("GET", "/v1/services/shop/deployments", "may not `history`");
        check("POST", "/v1/services/shop/preview", "may not `preview`");
        check("GET", "/v1/services/other", "nothing to do with `other`");
        check("POST", "/v1/services/other/deployments", "nothing to do with `other`");
        check("POST", "/v1/shutdown", "about the whole host");
        check("GET", "/v1/services", "about the whole host");
        check("DELETE", "/v1/services/shop", "no verb");
        check("POST", "/v1/services/shop/exec", "no verb");
        check("POST", "/v1/controller", "no verb");
        check("POST", "/v2/services/shop/deployments", "no verb");
    }

    #[test]
    fn without_a_service_it_is_the_verbs_that_limit() {
        assert_eq!(judge(&[], &["status"], "GET", "/v1/services"), Ok(()));
        assert_eq!(judge(&[], &["status"], "GET", "/v1/services/any"), Ok(()));
        assert!(judge(&[], &["status"], "POST", "/v1/shutdown").is_err());
        assert_eq!(judge(&[], &["shutdown"], "POST", "/v1/shutdown"), Ok(()));
    }

    /// It runs the commands that give secrets, and tells what lies in any directory.
    #[test]
    fn a_key_that_may_not_deploy_may_not_plan_either() {
        let others: Vec<&str> =
            RULES.iter().flat_map(|rule| rule.verbs).copied().filter(|verb| *verb != "deploy").collect();
        let refusal = judge(&["shop"], &others, "POST", "/v1/services/shop/plan").unwrap_err();
        assert!(refusal.contains("may not `deploy`"), "{refusal}");
        assert!("plan".parse::<Allowed>().is_err());
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for path in [
            "/v1/services/shop/../other",
            "/v1/services/shop/../other/deployments",
            "/v1/services/%2e%2e/other",
            "/v1/services/shop%2f..%2fother",
            "/v1/services/shop%00",
            "/v1//services/shop",
            "//v1/services/shop",
            "/v1/services/shop/",
            "/v1/services/./shop",
            "/v1/services/shop;x",
            "/",
        ] {
            check("GET", path, "the path holds");
        }
        check("GET", "http://cutover/v1/services/other", "only a path");
        check("GET", "http://cutover/v1/services/shop", "only a path");
        let permission = Permission::new(vec!["shop".parse().unwrap()], vec!["status".parse().unwrap()]);
        let headers: HeaderMap = [(UPGRADE, "h2c".parse().unwrap())].into_iter().collect();
        let path = "/v1/services/shop".parse().unwrap();
        assert!(permission.judge(&Method::GET, &path, &headers).unwrap_err().contains("protocol"));
        assert!(permission.judge(&Method::CONNECT, &path, &HeaderMap::new()).is_err());
    }

    #[test]
    fn a_verb_that_nobody_knows_is_an_error() {
        let error = "reboot".parse::<Allowed>().unwrap_err();
        assert!(error.contains("`reboot`") && error.contains("rollback"), "{error}");
    }

    /// What no key is limited to: whoever may run any command is not limited.
    const NEVER: &[&str] = &["/v1/services/{service}/exec"];

    /// A path of the API without a rule could be allowed to nobody. Whoever adds one says here which verb sends it.
    #[test]
    fn every_path_of_the_api_has_a_rule() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let mut paths = BTreeSet::new();
        let files = std::fs::read_dir(&directory)
            .unwrap()
            .chain(std::fs::read_dir(directory.join("server")).into_iter().flatten());
        for file in files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "rs")) {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let routes = text.match_indices(".route(").filter_map(|(at, _)| text[at..].split('"').nth(1));
            paths.extend(routes.map(str::to_owned));
        }
        let known: BTreeSet<_> = RULES.iter().map(|rule| rule.path.to_owned()).collect();
        assert!(paths.len() > 10, "{paths:?}");
        let missing: Vec<_> = paths
            .iter()
            .filter(|path| {
                path.starts_with("/v1") && !known.contains(*path) && !NEVER.contains(&path.as_str())
            })
            .collect();
        assert!(missing.is_empty(), "say in `RULES` which verbs send requests to {missing:?}");
        let gone: Vec<_> = known.difference(&paths).collect();
        assert!(gone.is_empty(), "there is nothing at {gone:?} any more");
    }
}
