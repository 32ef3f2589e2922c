//! What goes wrong between us and the server ends in a whole object or in an error that says so, never in between.

mod leftovers;
mod reads;
mod refusals;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use veza_dr_backup::store::{S3Config, S3Store};
use veza_dr_core::{BackupStore, Condition, Cx, Effect, Error, ErrorKind, ObjectKey, PutOptions, Result, Retry};
use veza_dr_tests::fault_proxy::{Fault, FaultProxy, Rule};
use veza_dr_tests::s3_server::S3Server;

use crate::bucket::{BUCKET, config, server};

const MIB: usize = 1024 * 1024;
const COMPLETE: &str = "uploadId=";

/// A store behind a proxy, and the same place without it.
struct Shaky {
    store: S3Store,
    direct: S3Store,
    proxy: FaultProxy,
    prefix: String,
    server: Arc<S3Server>,
}

async fn shaky() -> Shaky {
    shaky_with(|_| ()).await
}

async fn shaky_with(change: impl FnOnce(&mut S3Config)) -> Shaky {
    let server = server().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let mut through = config(&server, proxy.endpoint());
    through.timeout = Duration::from_secs(2);
    through.attempts = 3;
    change(&mut through);
    let mut direct = config(&server, server.endpoint());
    direct.prefix = through.prefix.clone();
    let prefix = direct.prefix.clone().unwrap();
    let store = S3Store::connect("shaky", through).await.unwrap();
    Shaky { store, direct: S3Store::connect("direct", direct).await.unwrap(), proxy, prefix, server }
}

impl Shaky {
    /// Nothing to see, and nothing left over to pay for.
    async fn must_be_empty(&self) {
        assert_eq!(self.direct.list(&Cx::background(), "").await.unwrap(), []);
        assert_eq!(self.uploads().await, 0, "an upload was left behind");
    }

    async fn uploads(&self) -> usize {
        let target = format!("/{BUCKET}?prefix={}&uploads=", self.prefix);
        let answer = self.server.request("GET", &target, b"").await.unwrap();
        assert_eq!(answer.status, 200);
        String::from_utf8_lossy(&answer.body).matches("<UploadId>").count()
    }
}

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn write(store: &S3Store, key: &ObjectKey, body: &[u8]) -> Result<()> {
    let mut writer = store.create(&Cx::background(), key, PutOptions::default()).await?;
    for piece in body.chunks(300_000) {
        writer.write(piece.to_vec().into()).await?;
    }
    writer.finish().await.map(|_| ())
}

async fn read(store: &S3Store, key: &ObjectKey) -> Result<Vec<u8>> {
    let mut reader = store.get(&Cx::background(), key, 0).await?;
    let mut body = Vec::new();
    while let Some(piece) = reader.next().await? {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn exhausted(e: &Error, kind: ErrorKind) {
    assert_eq!(e.kind(), kind, "{e:?}");
    assert!(!e.is_retryable(), "it was retried already: {e:?}");
}
