//! Whether hosts agree about what is live: a thing to say, not to decide.

use std::collections::BTreeMap;

use serde_json::Value;

use super::OnHost;

/// One sentence if the hosts that answered do not have the same release live, by the statuses that they gave. The
/// environment alone may differ: it means nothing across hosts.
pub(crate) fn disagreement(parts: &[OnHost]) -> Option<String> {
    let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
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
    let each: Vec<_> = live.iter().map(|(what, hosts)| format!("{what} on {}", hosts.join(", "))).collect();
    Some(format!("the hosts disagree about what is live: {}", each.join("; ")))
}

/// What a status says is live, and where. The list of all services is compared as a whole.
fn live_in(status: &Value) -> (String, Option<String>) {
    if let Some(services) = status["services"].as_array() {
        let each = services.iter().map(|service| {
            let name = service["service"].as_str().unwrap_or_default();
            format!("{name} {}", live_in(service).0)
        });
        return (each.collect::<Vec<_>>().join(" and "), None);
    }
    let environment = status["live"].as_str();
    let version = environment.and_then(|live| status["environments"][live]["version"].as_str());
    match (version, environment) {
        (Some(version), Some(environment)) => (version.to_owned(), Some(environment.to_owned())),
        _ => ("nothing".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::exit::{Exit, Failure};
    use crate::cli::printer::Told;

    fn on(host: &str, live: &str, version: Option<&str>) -> OnHost {
        let object = json!({ "live": live, "environments": { live: { "version": version } } });
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
        let silent = OnHost { host: "d".to_owned(), result: Err(Failure::usage("x")), told: None };
        assert_eq!(disagreement(&[on("a", "blue", Some("v1")), silent]), None);
    }
}
