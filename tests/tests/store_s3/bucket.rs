//! A prefix of its own for each test, in one bucket of one server that the tests of a process share.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use veza_dr_backup::store::{S3Config, S3Store};
use veza_dr_tests::s3_server::S3Server;

pub(crate) const BUCKET: &str = "contract";

/// The running server; gone with the last test that uses it.
pub(crate) async fn server() -> Arc<S3Server> {
    static RUNNING: Mutex<Weak<S3Server>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(server) = running.upgrade() {
        return server;
    }
    let server = Arc::new(S3Server::start().await.unwrap());
    server.create_bucket(BUCKET).await.unwrap();
    *running = Arc::downgrade(&server);
    server
}

/// The configuration of an empty store, reached at `endpoint`.
pub(crate) fn config(server: &S3Server, endpoint: String) -> S3Config {
    let mut config = S3Config::new(BUCKET);
    config.region = Some(server.region().to_owned());
    config.endpoint = Some(endpoint);
    config.path_style = true;
    config.prefix = Some(format!("t-{:016x}", unique()));
    config.access_key_id = Some(server.access_key().to_owned().into());
    config.secret_access_key = Some(server.secret_key().to_owned().into());
    config.part_size = 5 * 1024 * 1024;
    config.timeout = Duration::from_secs(10);
    config
}

fn unique() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// An empty store and its server.
pub(crate) async fn fresh() -> (S3Store, Arc<S3Server>) {
    let server = server().await;
    let config = config(&server, server.endpoint());
    (S3Store::connect("s3", config).await.unwrap(), server)
}
