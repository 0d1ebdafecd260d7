//! The rules of the port, for whichever journal.

use cutover_controller::{Journal, JournalError};
use cutover_core::service::{Deployment, Status};

use crate::sample::{closed, open, service};

pub(crate) async fn the_first_record_of_a_service_follows_none(journal: &dyn Journal) {
    assert_eq!(journal.latest(&service("shop")).await.unwrap(), None);
    assert_eq!(journal.services().await.unwrap(), []);
    assert_eq!(journal.history(&service("shop"), 10).await.unwrap(), []);
    assert_eq!(journal.append(&service("shop"), 0, open("shop", "d1", 1)).await.unwrap(), 1);
}

pub(crate) async fn records_follow_one_another_without_a_gap(journal: &dyn Journal) {
    for expected in 0..20 {
        let record = open("shop", "d1", 1);
        assert_eq!(journal.append(&service("shop"), expected, record).await.unwrap(), expected + 1);
    }
    assert_eq!(journal.latest(&service("shop")).await.unwrap().unwrap().sequence, 20);
}

pub(crate) async fn an_append_after_another_record_than_expected_conflicts_and_leaves_no_trace(
    journal: &dyn Journal,
) {
    for (expected, found) in [(1, 0), (0, 1), (2, 1), (7, 1)] {
        let refused = journal.append(&service("shop"), expected, open("shop", "late", 9)).await.unwrap_err();
        let JournalError::Conflict { service: named, expected: wanted, found: there } = &refused else {
            panic!("not a conflict: {refused}");
        };
        assert_eq!((named.as_str(), *wanted, *there), ("shop", expected, found), "{refused}");
        if found == 0 {
            assert_eq!(journal.services().await.unwrap(), []);
            assert_eq!(journal.latest(&service("shop")).await.unwrap(), None);
            journal.append(&service("shop"), 0, open("shop", "d1", 1)).await.unwrap();
        }
    }
    assert_eq!(journal.latest(&service("shop")).await.unwrap().unwrap().sequence, 1);
    assert_eq!(ids(&journal.history(&service("shop"), 10).await.unwrap()), ["d1"]);
}

pub(crate) async fn a_service_goes_on_from_its_last_record(journal: &dyn Journal) {
    let (first, last) = (open("shop", "d1", 1), closed("shop", "d1", 1, Status::Live));
    journal.append(&service("shop"), 0, first).await.unwrap();
    journal.append(&service("shop"), 1, last.clone()).await.unwrap();
    let latest = journal.latest(&service("shop")).await.unwrap().unwrap();
    assert_eq!((latest.sequence, latest.state), (2, last.state));
}

pub(crate) async fn services_are_counted_apart_and_listed_by_name(journal: &dyn Journal) {
    for name in ["shop", "cart", "mail"] {
        assert_eq!(journal.append(&service(name), 0, open(name, "d1", 1)).await.unwrap(), 1);
    }
    assert_eq!(journal.append(&service("cart"), 1, open("cart", "d2", 2)).await.unwrap(), 2);
    assert_eq!(journal.services().await.unwrap(), ["cart", "mail", "shop"].map(service));
    assert_eq!(journal.latest(&service("shop")).await.unwrap().unwrap().sequence, 1);
    assert_eq!(ids(&journal.history(&service("shop"), 10).await.unwrap()), ["d1"]);
}

pub(crate) async fn a_deployment_is_in_the_history_as_it_was_last(journal: &dyn Journal) {
    journal.append(&service("shop"), 0, open("shop", "d1", 1)).await.unwrap();
    journal.append(&service("shop"), 1, open("shop", "d1", 1)).await.unwrap();
    journal.append(&service("shop"), 2, closed("shop", "d1", 1, Status::RolledBack)).await.unwrap();
    let history = journal.history(&service("shop"), 10).await.unwrap();
    assert_eq!(history.iter().map(|d| d.status).collect::<Vec<_>>(), [Status::RolledBack]);
    assert!(history[0].ended_at.is_some());
}

pub(crate) async fn the_history_is_newest_first_and_cut_at_the_limit(journal: &dyn Journal) {
    for number in 0..5 {
        let (id, started) = (format!("d{number}"), 100 + number);
        let (first, last) = (open("shop", &id, started), closed("shop", &id, started, Status::Live));
        journal.append(&service("shop"), number * 2, first).await.unwrap();
        journal.append(&service("shop"), number * 2 + 1, last).await.unwrap();
    }
    // What happens to an older one does not make it newer.
    journal.append(&service("shop"), 10, closed("shop", "d1", 101, Status::Live)).await.unwrap();
    let shop = service("shop");
    let history = |limit| journal.history(&shop, limit);
    assert_eq!(ids(&history(usize::MAX).await.unwrap()), ["d4", "d3", "d2", "d1", "d0"]);
    assert_eq!(ids(&history(2).await.unwrap()), ["d4", "d3"]);
    assert_eq!(ids(&history(0).await.unwrap()), [""; 0]);
}

pub(crate) async fn the_history_keeps_its_order_when_the_clock_was_set_back(journal: &dyn Journal) {
    for (expected, (id, started)) in (0..).zip([("d1", 5000), ("d2", 3000), ("d3", 3000)]) {
        journal.append(&service("shop"), expected, open("shop", id, started)).await.unwrap();
    }
    assert_eq!(ids(&journal.history(&service("shop"), 10).await.unwrap()), ["d3", "d2", "d1"]);
}

pub(crate) async fn terms_grow(journal: &dyn Journal) {
    let mut last = journal.begin_term().await.unwrap();
    assert!(last >= 1);
    for _ in 0..3 {
        let next = journal.begin_term().await.unwrap();
        assert!(next > last);
        last = next;
    }
}

fn ids(history: &[Deployment]) -> Vec<&str> {
    history.iter().map(|deployment| deployment.id.as_str()).collect()
}
