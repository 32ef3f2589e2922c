//! The suites notice: each of these implementations breaks its contract in one way, and a case must fail.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use veza_dr_core::{
    BackupStore, ErrorKind,
    testing::{
        Fault, Faulty, MemoryDns, MemoryStore,
        contract::{self, dns::DnsPlace},
    },
};

fn store(method: &str, nth: u64, fault: Fault) -> Arc<dyn BackupStore> {
    Arc::new(Faulty::new(MemoryStore::new("broken")).on(method, nth, fault))
}

macro_rules! noticed {
    ($($name:ident: $case:ident of $method:literal $nth:literal $fault:expr;)*) => {
        $(
            #[tokio::test]
            #[should_panic]
            async fn $name() {
                contract::store::$case(store($method, $nth, $fault)).await;
            }
        )*
    };
}

noticed! {
    a_flipped_bit_on_reading: a_large_object_is_streamed of "next" 300 Fault::Corrupt;
    a_flipped_bit_on_writing: a_large_object_is_streamed of "write" 4 Fault::Corrupt;
    a_read_that_ends_early: get_begins_at_an_offset of "next" 2 Fault::Truncate;
    a_write_that_loses_bytes: many_writers_at_once of "write" 20 Fault::Truncate;
    an_answer_that_is_lost: absent_writes_only_where_nothing_is of "put" 1 Fault::LoseAnswer;
    a_wrong_kind_of_error: create_never_overwrites of "create" 2 Fault::Fail(ErrorKind::Unavailable);
    a_hidden_object: a_missing_object_is_not_found of "head" 1 Fault::Fail(ErrorKind::NotFound);
    a_delete_that_fails_when_repeated: delete_may_be_repeated of "delete" 2 Fault::Fail(ErrorKind::NotFound);
}

#[tokio::test]
#[should_panic]
async fn a_change_that_is_forgotten() {
    let broken = Faulty::new(MemoryDns::new("broken", ["Z1"])).on("status", 1, Fault::Fail(ErrorKind::NotFound));
    let place = DnsPlace { provider: Arc::new(broken), zone: "Z1".into(), domain: "veza.example.".into() };
    contract::dns::a_change_comes_into_sync(place).await;
}
