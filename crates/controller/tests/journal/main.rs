//! The journal: one suite that both journals pass, what is special to the one on disk, and the written format.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod format;
mod on_disk;
mod sample;

/// Runs every rule of the port against a journal; the second argument makes one, and what has to outlive it.
macro_rules! conforms {
    ($name:ident, $make:expr) => {
        mod $name {
            use crate::conformance;

            conforms!(@ $make;
                the_first_record_of_a_service_follows_none,
                records_follow_one_another_without_a_gap,
                an_append_after_another_record_than_expected_conflicts_and_leaves_no_trace,
                a_service_goes_on_from_its_last_record,
                services_are_counted_apart_and_listed_by_name,
                a_deployment_is_in_the_history_as_it_was_last,
                the_history_is_newest_first_and_cut_at_the_limit,
                the_history_keeps_its_order_when_the_clock_was_set_back,
                terms_grow,
            );
        }
    };
    (@ $make:expr; $($rule:ident,)*) => {
        $(
            #[tokio::test]
            async fn $rule() {
                let (journal, _outlives) = $make;
                conformance::$rule(&journal).await;
            }
        )*
    };
}

conforms!(memory, (cutover_controller::MemoryJournal::default(), ()));
conforms!(sqlite, crate::on_disk::journal());
