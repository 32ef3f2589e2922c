//! What several suites need.

use std::{future::Future, time::Duration};

use bytes::Bytes;

use crate::{BackupStore, Cx, Error, ErrorKind, ObjectKey, PutOptions, Result};

/// How long a call may take to notice that it was cancelled.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// Bytes that do not compress and differ by seed.
pub(super) fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

pub(super) fn key(text: &str) -> ObjectKey {
    text.parse().unwrap_or_else(|e| panic!("the suite's own key `{text}`: {e}"))
}

/// Reads an object whole, from `offset` on.
pub(super) async fn read_from(store: &dyn BackupStore, key: &ObjectKey, offset: u64) -> Result<Bytes> {
    let mut reader = store.get(&Cx::background(), key, offset).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

pub(super) async fn read(store: &dyn BackupStore, key: &ObjectKey) -> Result<Bytes> {
    read_from(store, key, 0).await
}

/// Streams an object in one piece.
pub(super) async fn store_whole(store: &dyn BackupStore, key: &ObjectKey, bytes: Bytes) -> Result<()> {
    let mut writer = store.create(&Cx::background(), key, PutOptions::default()).await?;
    writer.write(bytes).await?;
    writer.finish().await.map(|_| ())
}

/// The error, which must be of this kind.
pub(super) fn must_fail<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, what: &str) -> Error {
    match result {
        Ok(done) => panic!("{what}: expected {kind}, but it succeeded with {done:?}"),
        Err(e) if e.kind() == kind => e,
        Err(e) => panic!("{what}: expected {kind}, got {e:?}"),
    }
}

/// Fails when `work` takes longer than a cancelled call may.
pub(super) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: did not end within {SOON:?}"),
    }
}
