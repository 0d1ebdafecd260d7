//! Whether hosts agree about what is live: a thing to say, not to decide.

use std::collections::BTreeMap;

use serde_json::Value;

use super::OnHost;

/// One sentence if the hosts that answered do not have the same release live, by the statuses that they gave. The
/// environment alone may differ: it means nothing across hosts.
pub(crate) fn disagreement(parts: &[OnHost]) -> Option<String> {
    let mut live: BTreeMap<Live, Vec<String>> = BTreeMap::new();
    for part in parts {
        let Some(told) = &part.told else { continue };
        let (what, environment) = live_in(&told.object);
        let place = match environment {
            Some(environment) => format!("{} ({environment})", part.host),
            None => part.host.clone(),
        };
        live.entry(what).or_default().push(place);
    }
    if live.len() < 2 {
        return None;
    }
    let each = live.iter().map(|(what, hosts)| {
        // Releases of one name are told apart by what they are.
        let is_shared = live.keys().filter(|other| other.name == what.name).count() > 1;
        let release = if is_shared { format!(" (release {})", what.release) } else { String::new() };
        format!("{}{release} on {}", what.name, hosts.join(", "))
    });
    Some(format!("the hosts disagree about what is live: {}", each.collect::<Vec<_>>().join("; ")))
}

/// What is live: the version that it is known by, and what it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Live {
    name: String,
    release: String,
}

/// What a status says is live, and where. The list of all services is compared as a whole.
fn live_in(status: &Value) -> (Live, Option<String>) {
    if let Some(services) = status["services"].as_array() {
        let each = services.iter().map(|service| {
            let name = service["service"].as_str().unwrap_or_default();
            let Live { name: version, release } = live_in(service).0;
            (format!("{name} {version}"), release)
        });
        let (names, releases): (Vec<_>, Vec<_>) = each.unzip();
        return (Live { name: names.join(" and "), release: releases.join(" and ") }, None);
    }
    let environment = status["live"].as_str();
    let of = |what: &str| Some(status["environments"][environment?][what].as_str()?.to_owned());
    match (of("version"), environment) {
        (Some(name), Some(environment)) => {
            (Live { name, release: of("release").unwrap_or_default() }, Some(environment.to_owned()))
        }
        _ => (Live { name: "nothing".to_owned(), release: String::new() }, None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::exit::{Exit, Failure};
    use crate::cli::printer::Told;

    fn on(host: &str, live: &str, version: Option<&str>) -> OnHost {
        on_with(host, live, version, version)
    }

    fn on_with(host: &str, live: &str, version: Option<&str>, release: Option<&str>) -> OnHost {
        let slot = json!({ "version": version, "release": release });
        let object = json!({ "live": live, "environments": { live: slot } });
        OnHost {
            host: host.to_owned(),
            result: Ok(Exit::Done),
            told: Some(Told { object, text: String::new() }),
        }
    }

    #[test]
    fn another_version_is_a_disagreement_and_another_environment_is_none() {
        assert_eq!(disagreement(&[on("a", "blue", Some("v1")), on("b", "green", Some("v1"))]), None);
        assert_eq!(
            disagreement(&[on("a", "blue", Some("v1")), on("b", "green", Some("v2")), on("c", "blue", None)])
                .unwrap(),
            "the hosts disagree about what is live: nothing on c; v1 on a (blue); v2 on b (green)"
        );
        let other = on_with("b", "blue", Some("v1"), Some("0123"));
        assert_eq!(
            disagreement(&[on_with("a", "blue", Some("v1"), Some("4567")), other]).unwrap(),
            "the hosts disagree about what is live: v1 (release 0123) on b (blue); v1 (release 4567) on a (blue)"
        );
        let silent = OnHost { host: "d".to_owned(), result: Err(Failure::usage("x")), told: None };
        assert_eq!(disagreement(&[on("a", "blue", Some("v1")), silent]), None);
    }
}
