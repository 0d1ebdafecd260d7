//! The journal: one suite that both journals pass, what is special to the one on disk, and the written format.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain;
mod conformance;
mod format;
mod full_disk;
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
                the_last_moment_is_that_of_the_newest_record_of_any_service,
                a_deployment_is_in_the_history_as_it_was_last,
                the_history_is_newest_first_and_cut_at_the_limit,
                the_history_keeps_its_order_when_the_clock_was_set_back,
                terms_grow,
                once_a_later_term_has_begun_nothing_is_changed_under_an_earlier_one,
                a_handle_without_a_term_appends_only_where_nobody_began_one,
                so_many_deployments_are_kept_whatever_their_age,
                what_is_young_enough_is_kept_however_much_it_is,
                what_is_open_and_the_newest_record_of_a_service_are_always_kept,
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
conforms!(sqlite, crate::on_disk::shared_journal());

impl conformance::Shared for cutover_controller::MemoryJournal {
    fn another(&self) -> Box<dyn cutover_controller::Journal> {
        Box::new(self.another())
    }
}
