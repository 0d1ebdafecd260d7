//! Routing: who gets a request, and what a change of the table does and refuses.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cutover_core::routing::{
    Change, DesiredInstance, Lease, NoTarget, PreviewRoute, Private, Publication, Refused, Replay,
    RequestRoute, RouteTable, ServicePatch, ServiceRoute, TableCell, TableDocument, Timeouts, claim,
};
use cutover_core::{Environment, Epoch, PerEnvironment, Timestamp, Weights};
use proptest::prelude::*;

#[derive(Default)]
struct Cell(Mutex<Arc<RouteTable>>);

impl TableCell for Cell {
    type Held = Arc<RouteTable>;

    fn load(&self) -> Arc<RouteTable> {
        Arc::clone(&self.0.lock().unwrap())
    }

    fn store(&self, table: RouteTable) {
        *self.0.lock().unwrap() = Arc::new(table);
    }
}

fn route(name: &str, hosts: &[&str], path: &str, weights: (u8, u8)) -> ServiceRoute {
    ServiceRoute {
        name: name.parse().unwrap(),
        epoch: None,
        hosts: hosts.iter().map(ToString::to_string).collect(),
        path: path.to_owned(),
        weights: Weights::new(weights.0, weights.1).unwrap(),
        live: None,
        blue: vec![DesiredInstance::at("127.0.0.1:1".parse().unwrap())],
        green: vec![DesiredInstance::at("127.0.0.1:2".parse().unwrap())],
        tags: PerEnvironment::default(),
        health: None,
        timeouts: Timeouts::default(),
        upstream: PerEnvironment::default(),
        https: cutover_core::routing::Https::default(),
        canonical_host: None,
        preview: None,
        unlisted: false,
        replay: Replay::default(),
        pause: None,
    }
}

fn instances(ports: std::ops::Range<u16>) -> Vec<DesiredInstance> {
    ports.map(|port| DesiredInstance::at(([127, 0, 0, 1], port).into())).collect()
}

fn publication(routes: Vec<ServiceRoute>) -> Publication<Cell> {
    let mut publication = Publication::new(Cell::default(), "boot".to_owned());
    publish(&mut publication, Change::Replace(routes)).unwrap();
    publication
}

fn publish(
    publication: &mut Publication<Cell>,
    change: Change,
) -> Result<Vec<cutover_core::receipt::Receipt>, Refused> {
    publication.publish(change, Timestamp::default())
}

fn ask(publication: &Publication<Cell>, host: &str, path: &str) -> Result<Lease, NoTarget> {
    claim(publication.cell(), RequestRoute { host, path, avoid: &[], private: None, passes: false })
}

fn service_of(publication: &Publication<Cell>, host: &str, path: &str) -> Option<String> {
    ask(publication, host, path).ok().map(|lease| lease.service().desired().name.to_string())
}

fn weights_patch(name: &str, epoch: Option<u64>, weights: (u8, u8)) -> Change {
    Change::Weights(vec![ServicePatch {
        name: name.parse().unwrap(),
        epoch: epoch.map(|epoch| Epoch::try_from(epoch).unwrap()),
        weights: Weights::new(weights.0, weights.1).unwrap(),
    }])
}

#[test]
fn the_closest_host_and_the_longest_path_win() {
    let publication = publication(vec![
        route("all", &[], "/", (100, 0)),
        route("shop", &["shop.example.com"], "/", (100, 0)),
        route("api", &["shop.example.com"], "/api", (100, 0)),
        route("any", &["*.example.com"], "/", (100, 0)),
        route("deep", &["*.eu.example.com"], "/x", (100, 0)),
    ]);
    let check = |host: &str, path: &str, expected: &str| {
        assert_eq!(service_of(&publication, host, path).as_deref(), Some(expected), "{host}{path}");
    };
    check("shop.example.com", "/", "shop");
    check("SHOP.Example.Com", "/", "shop");
    check("shop.example.com.", "/", "shop");
    check("shop.example.com", "/api", "api");
    check("shop.example.com", "/api/orders", "api");
    check("shop.example.com", "/apis", "shop");
    check("other.example.com", "/", "any");
    check("a.eu.example.com", "/x", "deep");
    check("a.eu.example.com", "/y", "any");
    check("example.com", "/", "all");
    check("", "/", "all");
}

#[test]
fn without_a_matching_service_or_instance_the_request_is_told_which() {
    let mut empty = route("shop", &["shop.example.com"], "/", (100, 0));
    empty.blue.clear();
    let publication = publication(vec![empty]);
    assert_eq!(ask(&publication, "other", "/").unwrap_err(), NoTarget::NoService);
    assert_eq!(ask(&publication, "shop.example.com", "/").unwrap_err(), NoTarget::NoInstance);
}

#[test]
fn an_unhealthy_instance_gets_nothing_unless_all_are() {
    let mut shop = route("shop", &[], "/", (100, 0));
    shop.blue = instances(1..4);
    shop.green = vec![];
    let publication = publication(vec![shop]);
    let set = |port: u16, healthy: bool| {
        let found = publication.instances().find(|instance| instance.address().port() == port);
        found.unwrap().set_in_rotation(healthy);
    };
    let ports = || -> HashMap<u16, usize> {
        let mut counts = HashMap::new();
        for _ in 0..30 {
            *counts
                .entry(ask(&publication, "", "/").unwrap().target().instance().address().port())
                .or_default() += 1;
        }
        counts
    };
    assert_eq!(ports(), HashMap::from([(1, 10), (2, 10), (3, 10)]));
    set(2, false);
    assert!(!ports().contains_key(&2));
    set(1, false);
    set(3, false);
    assert_eq!(ports(), HashMap::from([(1, 10), (2, 10), (3, 10)]));
}

#[test]
fn an_instance_that_failed_the_request_does_not_get_it_again() {
    let mut shop = route("shop", &[], "/", (100, 0));
    shop.blue = instances(1..3);
    shop.green = vec![];
    let publication = publication(vec![shop]);
    let mut avoid = Vec::new();
    for _ in 0..2 {
        let lease = claim(
            publication.cell(),
            RequestRoute { host: "", path: "/", avoid: &avoid, private: None, passes: false },
        )
        .unwrap();
        avoid.push(Arc::clone(lease.target().instance()));
    }
    assert_ne!(avoid[0].id(), avoid[1].id());
    let third = claim(
        publication.cell(),
        RequestRoute { host: "", path: "/", avoid: &avoid, private: None, passes: false },
    );
    assert_eq!(third.unwrap_err(), NoTarget::NoInstance);
}

#[test]
fn an_older_epoch_is_refused_whoever_sends_it_and_the_same_one_gets_the_same_receipt() {
    let mut publication = publication(vec![route("shop", &[], "/", (100, 0))]);
    let first = publish(&mut publication, weights_patch("shop", Some(10), (0, 100))).unwrap();
    let generation = publication.cell().load().generation();
    assert_eq!(publish(&mut publication, weights_patch("shop", Some(10), (0, 100))).unwrap(), first);
    assert_eq!(publication.cell().load().generation(), generation, "asking again changes nothing");
    let other = publish(&mut publication, weights_patch("shop", Some(10), (100, 0))).unwrap_err();
    assert!(matches!(other, Refused::SameEpochOtherContent { .. }));
    let older = publish(&mut publication, weights_patch("shop", Some(9), (100, 0))).unwrap_err();
    assert!(matches!(older, Refused::OlderEpoch { .. }));
    let next = publish(&mut publication, weights_patch("shop", None, (100, 0))).unwrap();
    assert_eq!(next[0].epoch, Epoch::try_from(11).unwrap());
}

#[test]
fn a_change_of_several_services_is_all_or_nothing() {
    let mut publication =
        publication(vec![route("a", &["a"], "/", (100, 0)), route("b", &["b"], "/", (100, 0))]);
    publish(&mut publication, weights_patch("b", Some(50), (100, 0))).unwrap();
    let patch = |name: &str, epoch| ServicePatch {
        name: name.parse().unwrap(),
        epoch: Some(Epoch::try_from(epoch).unwrap()),
        weights: Weights::all_to(Environment::Green),
    };
    let refused = publish(&mut publication, Change::Weights(vec![patch("a", 60), patch("b", 40)]));
    assert!(matches!(refused, Err(Refused::OlderEpoch { .. })));
    assert_eq!(ask(&publication, "a", "/").unwrap().environment(), Environment::Blue);
    let receipts = publish(&mut publication, Change::Weights(vec![patch("b", 60), patch("a", 60)])).unwrap();
    assert_eq!(receipts.iter().map(|r| r.service.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(receipts[0].generation, receipts[1].generation, "one swap for both");
}

#[test]
fn an_unchanged_service_keeps_its_targets_and_a_changed_one_is_fenced() {
    let mut publication =
        publication(vec![route("a", &["a"], "/", (100, 0)), route("b", &["b"], "/", (100, 0))]);
    let held_a = ask(&publication, "a", "/").unwrap();
    let held_b = ask(&publication, "b", "/").unwrap();
    let receipts = publish(&mut publication, weights_patch("a", None, (0, 100))).unwrap();
    assert_eq!(receipts[0].in_flight, PerEnvironment { blue: 1, green: 0 });
    let target_b =
        publication.cell().load().service(&"b".parse().unwrap()).unwrap().targets(Environment::Blue)[0]
            .clone();
    assert!(std::ptr::eq(held_b.target(), &*target_b));
    assert_eq!(held_a.target().instance().in_flight(), 2, "a and b share the instance by its id and address");
}

#[test]
fn a_service_that_was_removed_is_not_brought_back_by_an_older_epoch() {
    let mut publication = publication(vec![route("shop", &[], "/", (100, 0))]);
    publish(&mut publication, weights_patch("shop", Some(10), (100, 0))).unwrap();
    publish(&mut publication, Change::Remove(vec![("shop".parse().unwrap(), None)])).unwrap();
    let again = |epoch| ServiceRoute {
        epoch: Some(Epoch::try_from(epoch).unwrap()),
        ..route("shop", &[], "/", (100, 0))
    };
    let older = publish(&mut publication, Change::Put(vec![again(9)])).unwrap_err();
    assert!(matches!(older, Refused::OlderEpoch { .. }));
    publish(&mut publication, Change::Put(vec![again(11)])).unwrap();
}

#[test]
fn the_very_epoch_under_which_a_service_was_removed_does_not_bring_it_back() {
    let mut publication = publication(vec![route("shop", &[], "/", (100, 0))]);
    publish(&mut publication, weights_patch("shop", Some(10), (100, 0))).unwrap();
    let at = |epoch| Some(Epoch::try_from(epoch).unwrap());
    let remove = |epoch| Change::Remove(vec![("shop".parse().unwrap(), at(epoch))]);
    let older = publish(&mut publication, remove(9)).unwrap_err();
    assert!(matches!(older, Refused::OlderEpoch { .. }), "whoever removes is fenced too: {older}");
    publish(&mut publication, remove(10)).unwrap();
    let again = |epoch| ServiceRoute { epoch: at(epoch), ..route("shop", &[], "/", (100, 0)) };
    let same = publish(&mut publication, Change::Put(vec![again(10)])).unwrap_err();
    assert!(same.to_string().contains("shop"), "{same}");
    assert_eq!(service_of(&publication, "shop.example.com", "/"), None);
    publish(&mut publication, Change::Put(vec![again(11)])).unwrap();
    assert_eq!(service_of(&publication, "shop.example.com", "/").as_deref(), Some("shop"));
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let mut publication = publication(vec![route("shop", &[], "/", (100, 0))]);
    for number in 0..20 {
        let mut wrong = route("shop", &[], "/", (100, 0));
        wrong.tags.blue = format!("v{number}");
        wrong.blue = instances(100..103);
        let both = vec![wrong, route("other", &[], "/", (100, 0))];
        assert!(matches!(publish(&mut publication, Change::Put(both)), Err(Refused::SameRoute { .. })));
    }
    assert_eq!(publication.counters().report(&"shop".parse().unwrap()).len(), 2);
    assert_eq!(publication.instances().count(), 2);
}

#[test]
fn two_services_may_not_claim_the_same_requests() {
    let mut publication = Publication::new(Cell::default(), "boot".to_owned());
    let check = |publication: &mut Publication<Cell>, second: ServiceRoute| {
        publish(publication, Change::Replace(vec![route("a", &["x.example"], "/api", (100, 0)), second]))
    };
    let same = check(&mut publication, route("b", &["X.example"], "/api/", (100, 0)));
    assert_eq!(same.unwrap_err().to_string(), "services `a` and `b` both claim x.example, path `/api/`");
    check(&mut publication, route("b", &["x.example"], "/", (100, 0))).unwrap();
}

#[test]
fn wrong_routes_are_refused_with_the_service_and_the_reason() {
    let mut publication = Publication::new(Cell::default(), "boot".to_owned());
    let mut refused =
        |route: ServiceRoute| publish(&mut publication, Change::Replace(vec![route])).unwrap_err();
    assert!(matches!(refused(route("a", &["x:80"], "/", (100, 0))), Refused::BadRoute { .. }));
    assert!(matches!(refused(route("a", &[], "api", (100, 0))), Refused::BadRoute { .. }));
    let mut twice = route("a", &[], "/", (100, 0));
    twice.green.clone_from(&twice.blue);
    assert!(matches!(refused(twice), Refused::SameInstance { .. }));
}

#[test]
fn the_seed_of_the_contract_is_read_as_it_is_written() {
    let document: TableDocument = toml::from_str(
        r#"
        [listen]
        http = ["127.0.0.1:7100"]
        [[service]]
        name = "bench"
        weights = { blue = 100, green = 0 }
        blue = ["127.0.0.1:9001"]
        green = [{ id = "g1", address = "127.0.0.1:9002" }]
        health = { path = "/up", interval = "100ms" }
        "#,
    )
    .unwrap();
    let bench = &document.services[0];
    assert_eq!(bench.blue[0].id.as_str(), "127.0.0.1:9001");
    assert_eq!(bench.green[0].id.as_str(), "g1");
    assert_eq!(bench.health.as_ref().unwrap().interval.as_millis(), 100);
    let json = serde_json::to_string(&document).unwrap();
    assert_eq!(serde_json::from_str::<TableDocument>(&json).unwrap(), document);
}

proptest! {
    #[test]
    fn of_any_hundred_requests_in_a_row_each_environment_gets_exactly_its_percentage(
        green in 0u8..=100, skip in 0usize..100,
    ) {
        let publication = publication(vec![route("shop", &[], "/", (100 - green, green))]);
        for _ in 0..skip {
            ask(&publication, "", "/").unwrap();
        }
        let to_green = (0..100).filter(|_| ask(&publication, "", "/").unwrap().environment() == Environment::Green);
        prop_assert_eq!(to_green.count(), usize::from(green));
    }

    #[test]
    fn whatever_is_published_the_newest_weights_rule_and_every_lease_ends(
        changes in proptest::collection::vec((0u8..=100, proptest::option::of(0u64..40)), 1..40),
    ) {
        let mut publication = publication(vec![route("shop", &[], "/", (100, 0))]);
        let (mut in_force, mut epoch) = (100u8, 1u64);
        let mut held = Vec::new();
        for (blue, given) in changes {
            let answer = publish(&mut publication, weights_patch("shop", given, (blue, 100 - blue)));
            let newer = given.is_none_or(|given| given > epoch);
            let same = given == Some(epoch) && blue == in_force;
            prop_assert_eq!(answer.is_ok(), newer || same);
            if newer {
                epoch = given.unwrap_or(epoch + 1);
                in_force = blue;
            }
            let lease = ask(&publication, "", "/").unwrap();
            prop_assert_eq!(lease.service().epoch(), Epoch::try_from(epoch).unwrap());
            if in_force % 100 == 0 {
                let expected = if in_force == 100 { Environment::Blue } else { Environment::Green };
                prop_assert_eq!(lease.environment(), expected);
            }
            held.push(lease);
        }
        drop(held);
        prop_assert!(publication.instances().all(|instance| instance.in_flight() == 0));
    }
}

/// A shop with `live` on blue and `next` on green, where 9 is what only tokens lead to.
fn previewed(host: Option<&str>) -> ServiceRoute {
    let mut shop = route("shop", &["shop.example.com"], "/", (100, 0));
    shop.tags = PerEnvironment { blue: "live".to_owned(), green: "standby".to_owned() };
    shop.preview = Some(PreviewRoute {
        tag: "next".to_owned(),
        environment: Environment::Green,
        instances: instances(9..10),
        hosts: vec!["new.example.com".to_owned()],
        path: "/new".to_owned(),
        host: host.map(str::to_owned),
    });
    shop
}

#[test]
fn a_token_leads_to_the_places_of_what_is_routed_and_of_what_is_tried_and_nowhere_else() {
    let mut publication = Publication::new(Cell::default(), "boot".to_owned());
    let shop = previewed(Some("preview.example.com"));
    publication.publish(Change::Replace(vec![shop]), Timestamp::default()).unwrap();
    let table = publication.cell().load();
    let entry = table.named("shop").unwrap();
    for (host, path, covers) in [
        ("shop.example.com", "/x", true),
        ("SHOP.example.com.", "/", true),
        ("new.example.com", "/new/x", true),
        ("new.example.com", "/newer", false),
        ("preview.example.com", "/", true),
        ("other.example.com", "/", false),
        ("x.shop.example.com", "/", false),
    ] {
        assert_eq!(entry.covers(host, path).is_some(), covers, "{host}{path}");
    }
}

#[test]
fn what_is_not_listed_takes_nothing_from_others_and_is_reached_with_a_token_alone() {
    let mut publication = Publication::new(Cell::default(), "boot".to_owned());
    let first = ServiceRoute { unlisted: true, ..previewed(None) };
    // Another service has the same host, and nobody is refused it.
    let other = route("other", &["shop.example.com"], "/", (100, 0));
    publication.publish(Change::Replace(vec![first, other]), Timestamp::default()).unwrap();
    let asked =
        RequestRoute { host: "shop.example.com", path: "/", avoid: &[], private: None, passes: false };
    let lease = claim(publication.cell(), asked).unwrap();
    assert_eq!(lease.service().desired().name.as_str(), "other");
    let lease = ask_with_token(&publication, "shop.example.com", "shop", "next").unwrap();
    assert_eq!((lease.service().desired().name.as_str(), port(&lease)), ("shop", 9));
}

fn ask_with_token(
    publication: &Publication<Cell>,
    host: &str,
    service: &str,
    tag: &str,
) -> Result<Lease, NoTarget> {
    let private = Some(Private { service, tag });
    claim(publication.cell(), RequestRoute { host, path: "/", avoid: &[], private, passes: false })
}

fn port(lease: &Lease) -> u16 {
    lease.target().instance().address().port()
}

#[test]
fn a_token_leads_to_the_release_that_it_names_and_nobody_else_gets_there() {
    let publication = publication(vec![previewed(None), route("till", &["till.example.com"], "/", (100, 0))]);
    let check = |service: &str, tag: &str, expected: Result<(u16, Environment), NoTarget>| {
        let lease = ask_with_token(&publication, "shop.example.com", service, tag);
        assert_eq!(lease.map(|lease| (port(&lease), lease.environment())), expected, "{service} {tag}");
    };
    check("shop", "next", Ok((9, Environment::Green)));
    check("shop", "standby", Ok((2, Environment::Green)));
    check("shop", "live", Ok((1, Environment::Blue)));
    check("shop", "gone", Err(NoTarget::NoPreview));
    check("shop", "", Err(NoTarget::NoPreview));
    check("till", "live", Err(NoTarget::NoPreview));
    for _ in 0..20 {
        let lease = ask(&publication, "shop.example.com", "/").unwrap();
        assert_eq!((port(&lease), lease.target().preview()), (1, None));
    }
}

#[test]
fn a_release_that_is_named_and_has_no_instance_is_not_replaced_by_another_one() {
    let mut shop = previewed(None);
    shop.preview.as_mut().unwrap().instances.clear();
    let mut publication = publication(vec![shop.clone()]);
    let next = |publication: &_| ask_with_token(publication, "shop.example.com", "shop", "next").unwrap_err();
    assert_eq!(next(&publication), NoTarget::NoInstance);
    shop.preview = None;
    publish(&mut publication, Change::Put(vec![shop])).unwrap();
    assert_eq!(next(&publication), NoTarget::NoPreview);
}

#[test]
fn private_requests_take_turns_among_the_targets_of_their_release_and_avoid_what_failed() {
    let mut shop = previewed(None);
    shop.preview.as_mut().unwrap().instances = instances(7..10);
    let publication = publication(vec![shop]);
    let failed = ask_with_token(&publication, "shop.example.com", "shop", "next").unwrap();
    let avoid = [Arc::clone(failed.target().instance())];
    let mut ports = HashMap::new();
    for _ in 0..30 {
        let private = Some(Private { service: "shop", tag: "next" });
        let request =
            RequestRoute { host: "shop.example.com", path: "/", avoid: &avoid, private, passes: false };
        *ports.entry(port(&claim(publication.cell(), request).unwrap())).or_insert(0) += 1;
    }
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert!(!ports.contains_key(&port(&failed)), "{ports:?}");
}

#[test]
fn private_requests_are_counted_apart_and_only_once_there_are_any() {
    let publication = publication(vec![previewed(None)]);
    let reported = || {
        let reports = publication.counters().report(&"shop".parse().unwrap());
        let told = |report: cutover_core::statistics::TagReport| (report.tag, report.counts.requests);
        reports.into_iter().map(told).collect::<Vec<_>>()
    };
    let public = |live: u64| vec![("live".to_owned(), live), ("standby".to_owned(), 0)];
    assert_eq!(reported(), public(0));
    let answered = |lease: Lease| lease.target().counters().answered(500, std::time::Duration::ZERO);
    answered(ask(&publication, "shop.example.com", "/").unwrap());
    answered(ask_with_token(&publication, "shop.example.com", "shop", "live").unwrap());
    answered(ask_with_token(&publication, "shop.example.com", "shop", "next").unwrap());
    let apart = [("next+preview".to_owned(), 1), ("live+preview".to_owned(), 1)];
    let mut expected = [public(1), apart.to_vec()].concat();
    let mut found = reported();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_change_fences_private_targets_too_and_an_instance_stays_known_while_a_private_request_holds_it() {
    let mut shop = previewed(None);
    let mut publication = publication(vec![shop.clone()]);
    let held = ask_with_token(&publication, "shop.example.com", "shop", "next").unwrap();
    let before = publication.cell().load();
    shop.preview = None;
    let receipts = publish(&mut publication, Change::Put(vec![shop.clone()])).unwrap();
    assert_eq!((receipts[0].in_flight.blue, receipts[0].in_flight.green), (0, 0), "no user was in flight");
    let is_fenced = before.services()[0].private_targets().all(|target| !target.takes_claims());
    assert!(is_fenced);
    let is_known = |publication: &Publication<Cell>| {
        publication.instances().any(|instance| instance.address().port() == 9)
    };
    assert!(is_known(&publication), "it still holds a request");
    drop(held);
    shop.path = "/x".to_owned();
    publish(&mut publication, Change::Put(vec![shop])).unwrap();
    assert!(!is_known(&publication));
}

#[test]
fn the_host_of_a_preview_has_nothing_without_a_token_and_is_gone_with_the_preview() {
    let everywhere = route("all", &[], "/", (100, 0));
    let mut shop = previewed(Some("Next.example.com"));
    let mut publication = publication(vec![shop.clone()]);
    assert_eq!(ask(&publication, "next.example.com", "/").unwrap_err(), NoTarget::OnlyPreviews);
    let lease = ask_with_token(&publication, "next.example.com", "shop", "next").unwrap();
    assert_eq!((port(&lease), lease.target().preview()), (9, Some("next")));
    assert_eq!(port(&ask_with_token(&publication, "next.example.com", "shop", "live").unwrap()), 1);
    drop(lease);
    // Who answers everywhere does not answer there.
    publish(&mut publication, Change::Put(vec![everywhere])).unwrap();
    assert_eq!(ask(&publication, "next.example.com", "/").unwrap_err(), NoTarget::OnlyPreviews);
    publish(&mut publication, Change::Remove(vec![("all".parse().unwrap(), None)])).unwrap();
    shop.preview = None;
    publish(&mut publication, Change::Put(vec![shop])).unwrap();
    assert_eq!(ask(&publication, "next.example.com", "/").unwrap_err(), NoTarget::NoService);
}

#[test]
fn the_host_of_a_preview_is_claimed_like_any_other() {
    let mut publication = publication(vec![previewed(Some("next.example.com"))]);
    let taken = route("till", &["NEXT.example.com"], "/", (100, 0));
    let refused = publish(&mut publication, Change::Put(vec![taken])).unwrap_err();
    assert!(matches!(refused, Refused::SameRoute { .. }), "{refused}");
    let beside = route("till", &["next.example.com"], "/till", (100, 0));
    publish(&mut publication, Change::Put(vec![beside])).unwrap();
    let mut check = |host: &str, ids: &[&str], said: &str| {
        let mut shop = previewed(Some(host));
        let named =
            |id: &&str| DesiredInstance { id: id.parse().unwrap(), address: "127.0.0.1:9".parse().unwrap() };
        shop.preview.as_mut().unwrap().instances = ids.iter().map(named).collect();
        let refused = publish(&mut publication, Change::Put(vec![shop])).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    };
    check("SHOP.example.com", &[], "is one that users have too");
    check("*.example.com", &[], "is a host name without");
    check("", &[], "is a host name without");
    check("next.example.com", &["a", "a"], "names instance `a` twice");
}

#[test]
fn a_table_without_a_preview_is_written_as_it_always_was() {
    let shop = route("shop", &[], "/", (100, 0));
    assert!(!serde_json::to_string(&shop).unwrap().contains("preview"));
    let shop = previewed(Some("next.example.com"));
    let written = serde_json::to_string(&shop).unwrap();
    assert!(written.contains("\"preview\":{\"tag\":\"next\",\"environment\":\"green\""), "{written}");
    assert_eq!(serde_json::from_str::<ServiceRoute>(&written).unwrap(), shop);
}
