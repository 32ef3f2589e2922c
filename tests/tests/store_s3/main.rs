//! The S3 store against a real server, and against a proxy that does to it what networks do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bucket;
mod faults;
mod lease;
mod object_lock;
mod throughput;
mod tls;

mod contract {
    use std::sync::Arc;

    use veza_dr_core::BackupStore;
    use veza_dr_tests::s3_server::S3Server;

    async fn fresh() -> (Arc<dyn BackupStore>, Arc<S3Server>) {
        let (store, server) = crate::bucket::fresh().await;
        (Arc::new(store), server)
    }

    veza_dr_core::store_contract!(fresh());
}
