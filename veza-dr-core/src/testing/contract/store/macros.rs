//! One named test per case.

/// Emits the suite for a store: one `#[tokio::test]` per case of [`crate::testing::contract::store`].
///
/// The argument is an expression that makes a fresh, empty store: a future of `(Arc<dyn BackupStore>, K)`, where `K` is
/// whatever must live as long as the test. The crate needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_contract {
    ($fresh:expr) => {
        $crate::contract_cases! { store, $fresh;
            an_object_is_whole_or_absent
            finish_head_and_list_agree
            an_empty_object_is_an_object
            create_never_overwrites
            create_never_overwrites_in_parts
            one_of_two_writers_wins
            a_dropped_writer_leaves_nothing
            an_aborted_writer_leaves_nothing
            get_begins_at_an_offset
            a_missing_object_is_not_found
            delete_may_be_repeated
            an_emptied_group_is_gone
            absent_writes_only_where_nothing_is
            absent_and_create_exclude_each_other
            matches_replaces_only_the_named_version
            matches_never_creates
            always_writes
            put_head_and_list_agree
            one_of_many_absent_writers_wins
            one_of_many_matching_writers_wins
            counting_together_loses_nothing
            a_listing_is_sorted_and_ends_at_its_prefix
            groups_are_the_next_level
            an_unknown_prefix_lists_nothing
            a_prefix_cannot_climb
            a_long_listing_is_complete
            a_large_object_is_streamed
            a_size_hint_is_only_a_hint
            many_writers_at_once
            a_sweep_spares_the_published_and_the_young
            nothing_begins_when_cancelled
            nothing_begins_after_the_deadline
            a_cancelled_writer_publishes_nothing
            a_late_writer_publishes_nothing
            a_write_cancelled_mid_way_is_whole_or_absent
            a_cancelled_reader_does_not_seem_to_end
        }
    };
}

/// The tests of a list of cases; used by the suites' own macros.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_cases {
    ($suite:ident, $fresh:expr; $($case:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (subject, _keep) = $fresh.await;
                $crate::testing::contract::$suite::$case(subject).await;
            }
        )*
    };
}
