//! The rules of the port, for whichever journal.

use std::time::Duration;

use cutover_controller::journal::{Pruned, Retention};
use cutover_controller::{Importance, Journal, JournalError};
use cutover_core::Timestamp;
use cutover_core::service::{Deployment, Status};

use crate::sample::{append, closed, open, service};

/// A journal, and how another controller gets a handle on it.
pub(crate) trait Shared: Journal {
    /// A handle on the same records with a term of its own.
    fn another(&self) -> Box<dyn Journal>;
}

pub(crate) async fn the_first_record_of_a_service_follows_none(journal: &impl Shared) {
    assert_eq!(journal.latest(&service("shop")).await.unwrap(), None);
    assert_eq!(journal.services().await.unwrap(), []);
    assert_eq!(journal.history(&service("shop"), 10).await.unwrap(), []);
    append(journal, "shop", 0, open("shop", "d1", 1)).await;
}

pub(crate) async fn records_follow_one_another_without_a_gap(journal: &impl Shared) {
    for expected in 0..20 {
        let record = open("shop", "d1", 1);
        append(journal, "shop", expected, record).await;
    }
    assert_eq!(journal.latest(&service("shop")).await.unwrap().unwrap().sequence, 20);
}

pub(crate) async fn an_append_after_another_record_than_expected_conflicts_and_leaves_no_trace(
    journal: &impl Shared,
) {
    for (expected, found) in [(1, 0), (0, 1), (2, 1), (7, 1)] {
        let late = open("shop", "late", 9);
        let refused = journal.append(&service("shop"), expected, late, Importance::Rescue).await.unwrap_err();
        let JournalError::Conflict { service: named, expected: wanted, found: there } = &refused else {
            panic!("not a conflict: {refused}");
        };
        assert_eq!((named.as_str(), *wanted, *there), ("shop", expected, found), "{refused}");
        if found == 0 {
            assert_eq!(journal.services().await.unwrap(), []);
            assert_eq!(journal.latest(&service("shop")).await.unwrap(), None);
            append(journal, "shop", 0, open("shop", "d1", 1)).await;
        }
    }
    assert_eq!(journal.latest(&service("shop")).await.unwrap().unwrap().sequence, 1);
    assert_eq!(ids(&journal.history(&service("shop"), 10).await.unwrap()), ["d1"]);
}

pub(crate) async fn a_service_goes_on_from_its_last_record(journal: &impl Shared) {
    let (first, last) = (open("shop", "d1", 1), closed("shop", "d1", 1, Status::Live));
    append(journal, "shop", 0, first).await;
    append(journal, "shop", 1, last.clone()).await;
    let latest = journal.latest(&service("shop")).await.unwrap().unwrap();
    assert_eq!((latest.sequence, latest.state), (2, last.state));
}

pub(crate) async fn services_are_counted_apart_and_listed_by_name(journal: &impl Shared) {
    for name in ["shop", "cart", "mail"] {
        append(journal, name, 0, open(name, "d1", 1)).await;
    }
    append(journal, "cart", 1, open("cart", "d2", 2)).await;
    assert_eq!(journal.services().await.unwrap(), ["cart", "mail", "shop"].map(service));
    assert_eq!(journal.latest(&service("shop")).await.unwrap().unwrap().sequence, 1);
    assert_eq!(ids(&journal.history(&service("shop"), 10).await.unwrap()), ["d1"]);
}

pub(crate) async fn the_last_moment_is_that_of_the_newest_record_of_any_service(journal: &impl Shared) {
    assert_eq!(journal.last_moment().await.unwrap(), None);
    let (first, second) = (open("shop", "d1", 5), open("cart", "d2", 2));
    let last = first.at.max(second.at);
    append(journal, "shop", 0, first).await;
    append(journal, "cart", 0, second).await;
    assert_eq!(journal.last_moment().await.unwrap(), Some(last));
}

pub(crate) async fn a_deployment_is_in_the_history_as_it_was_last(journal: &impl Shared) {
    append(journal, "shop", 0, open("shop", "d1", 1)).await;
    append(journal, "shop", 1, open("shop", "d1", 1)).await;
    append(journal, "shop", 2, closed("shop", "d1", 1, Status::RolledBack)).await;
    let history = journal.history(&service("shop"), 10).await.unwrap();
    assert_eq!(history.iter().map(|d| d.status).collect::<Vec<_>>(), [Status::RolledBack]);
    assert!(history[0].ended_at.is_some());
}

pub(crate) async fn the_history_is_newest_first_and_cut_at_the_limit(journal: &impl Shared) {
    for number in 0..5 {
        let (id, started) = (format!("d{number}"), 100 + number);
        let (first, last) = (open("shop", &id, started), closed("shop", &id, started, Status::Live));
        append(journal, "shop", number * 2, first).await;
        append(journal, "shop", number * 2 + 1, last).await;
    }
    // What happens to an older one does not make it newer.
    append(journal, "shop", 10, closed("shop", "d1", 101, Status::Live)).await;
    let shop = service("shop");
    let history = |limit| journal.history(&shop, limit);
    assert_eq!(ids(&history(usize::MAX).await.unwrap()), ["d4", "d3", "d2", "d1", "d0"]);
    assert_eq!(ids(&history(2).await.unwrap()), ["d4", "d3"]);
    assert_eq!(ids(&history(0).await.unwrap()), [""; 0]);
}

pub(crate) async fn the_history_keeps_its_order_when_the_clock_was_set_back(journal: &impl Shared) {
    for (expected, (id, started)) in (0..).zip([("d1", 5000), ("d2", 3000), ("d3", 3000)]) {
        append(journal, "shop", expected, open("shop", id, started)).await;
    }
    assert_eq!(ids(&journal.history(&service("shop"), 10).await.unwrap()), ["d3", "d2", "d1"]);
}

pub(crate) async fn terms_grow(journal: &impl Shared) {
    let mut last = journal.begin_term().await.unwrap();
    assert!(last >= 1);
    for _ in 0..3 {
        let next = journal.begin_term().await.unwrap();
        assert!(next > last);
        last = next;
    }
}

pub(crate) async fn once_a_later_term_has_begun_nothing_is_changed_under_an_earlier_one(
    journal: &impl Shared,
) {
    let own = journal.begin_term().await.unwrap();
    append(journal, "shop", 0, open("shop", "d1", 1)).await;
    append(journal, "shop", 1, closed("shop", "d1", 1, Status::Live)).await;
    let newer = journal.another();
    let found = newer.begin_term().await.unwrap();
    for importance in [Importance::Ordinary, Importance::Rescue] {
        let late = journal.append(&service("shop"), 2, open("shop", "late", 9), importance).await;
        let error = late.unwrap_err();
        let JournalError::Superseded { own: mine, found: other } = error else { panic!("{error}") };
        assert_eq!((mine, other), (own, found));
        assert!(error.to_string().contains("a newer controller"), "{error}");
    }
    let everything = Retention { keep_deployments: 0, keep_for: Duration::ZERO };
    let pruned = journal.prune(&everything, Timestamp::from_millis(u64::MAX)).await;
    assert!(matches!(pruned, Err(JournalError::Superseded { .. })), "{pruned:?}");

    append(&*newer, "shop", 2, open("shop", "d2", 2)).await;
    assert_eq!(newer.latest(&service("shop")).await.unwrap().unwrap().sequence, 3);
    // Whoever begins again is the newest again.
    journal.begin_term().await.unwrap();
    append(journal, "shop", 3, open("shop", "d2", 2)).await;
    assert!(newer.append(&service("shop"), 4, open("shop", "d2", 2), Importance::Rescue).await.is_err());
}

pub(crate) async fn a_handle_without_a_term_appends_only_where_nobody_began_one(journal: &impl Shared) {
    append(&*journal.another(), "shop", 0, open("shop", "d1", 1)).await;
    journal.begin_term().await.unwrap();
    let late = journal.another();
    let refused = late.append(&service("shop"), 1, open("shop", "d1", 1), Importance::Rescue).await;
    assert!(matches!(refused, Err(JournalError::Superseded { own: 0, found: 1 })), "{refused:?}");
}

/// Five deployments that began at 1000, 2000, … and ended 1 ms later, then one that is open since 6000.
async fn six_deployments(journal: &impl Shared) {
    for number in 0..5 {
        let (id, started) = (format!("d{}", number + 1), (number + 1) * 1000);
        append(journal, "shop", number * 3, open("shop", &id, started)).await;
        append(journal, "shop", number * 3 + 1, open("shop", &id, started)).await;
        append(journal, "shop", number * 3 + 2, closed("shop", &id, started, Status::Live)).await;
    }
    append(journal, "shop", 15, open("shop", "d6", 6000)).await;
    append(journal, "shop", 16, open("shop", "d6", 6000)).await;
}

async fn kept(journal: &impl Shared, deployments: usize, milliseconds: u64) -> (Pruned, Vec<String>) {
    let keep_for = Duration::from_millis(milliseconds);
    let retention = Retention { keep_deployments: deployments, keep_for };
    let before = journal.latest(&service("shop")).await.unwrap();
    let pruned = journal.prune(&retention, Timestamp::from_millis(6001)).await.unwrap();
    assert_eq!(journal.latest(&service("shop")).await.unwrap(), before);
    let again = journal.prune(&retention, Timestamp::from_millis(6001)).await.unwrap();
    assert_eq!(again, Pruned::default(), "what is pruned is pruned");
    let history = journal.history(&service("shop"), usize::MAX).await.unwrap();
    (pruned, ids(&history).into_iter().map(str::to_owned).collect())
}

pub(crate) async fn so_many_deployments_are_kept_whatever_their_age(journal: &impl Shared) {
    six_deployments(journal).await;
    let (pruned, left) = kept(journal, 3, 0).await;
    assert_eq!(left, ["d6", "d5", "d4"]);
    // Three whole deployments of three records each, and what led to the ends of the two that are kept.
    assert_eq!(pruned, Pruned { thinned: 9 + 4, forgotten: 3 });
}

pub(crate) async fn what_is_young_enough_is_kept_however_much_it_is(journal: &impl Shared) {
    six_deployments(journal).await;
    let (pruned, left) = kept(journal, 0, 3001).await;
    assert_eq!(left, ["d6", "d5", "d4", "d3"]);
    // The third ended 3 s ago, what led to it happened 1 ms before that.
    assert_eq!(pruned, Pruned { thinned: 6 + 2, forgotten: 2 });
}

pub(crate) async fn what_is_open_and_the_newest_record_of_a_service_are_always_kept(journal: &impl Shared) {
    six_deployments(journal).await;
    append(journal, "cart", 0, closed("cart", "d1", 1, Status::Failed)).await;
    let (pruned, left) = kept(journal, 0, 0).await;
    assert_eq!(left, ["d6"]);
    assert_eq!(pruned, Pruned { thinned: 15, forgotten: 5 });
    assert_eq!(ids(&journal.history(&service("cart"), 9).await.unwrap()), ["d1"]);
    append(journal, "shop", 17, closed("shop", "d6", 6000, Status::Live)).await;
    assert_eq!(kept(journal, 0, 0).await.0, Pruned { thinned: 2, forgotten: 0 });
}

fn ids(history: &[Deployment]) -> Vec<&str> {
    history.iter().map(|deployment| deployment.id.as_str()).collect()
}
