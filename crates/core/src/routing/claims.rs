//! Which hosts and paths a service claims: no two may claim the same.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::names::ServiceName;
use crate::routing::desired::ServiceRoute;
use crate::routing::publication::Refused;

/// No two services may claim the same host and path. Those that are kept were compared with each other already.
pub(super) fn check_claims<'a>(
    kept: impl Iterator<Item = &'a ServiceRoute>,
    fresh: impl Iterator<Item = &'a ServiceRoute>,
) -> Result<(), Refused> {
    let refused = |first: &ServiceName, second: &ServiceRoute, host: &str| {
        let place = if host.is_empty() { "every host" } else { host };
        let route = format!("{place}, path `{}`", second.path);
        Refused::SameRoute { first: first.clone(), second: second.name.clone(), route }
    };
    let mut claimed: HashMap<(Cow<'_, str>, &str), &ServiceRoute> = HashMap::new();
    for route in fresh {
        for (host, path) in claims(route) {
            if let Some(first) = claimed.insert((host.clone(), path), route) {
                return Err(refused(&first.name, route, &host));
            }
        }
    }
    for route in kept {
        for (host, path) in claims(route) {
            if let Some(second) = claimed.get(&(host.clone(), path)) {
                return Err(refused(&route.name, second, &host));
            }
        }
    }
    Ok(())
}

/// What a service claims: hosts in lower case, that of its preview too, an empty one for every host, each with the path.
fn claims(route: &ServiceRoute) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let path = route.path.strip_suffix('/').unwrap_or(&route.path);
    let listed = !route.unlisted;
    let every = (listed && route.hosts.is_empty()).then_some(Cow::Borrowed(""));
    let preview = route.preview.as_ref().and_then(|preview| preview.host.as_ref());
    let named = route.hosts.iter().filter(move |_| listed).chain(preview).map(|host| in_lower_case(host));
    every.into_iter().chain(named).map(move |host| (host, path))
}

fn in_lower_case(host: &str) -> Cow<'_, str> {
    let has_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
    if has_upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}
