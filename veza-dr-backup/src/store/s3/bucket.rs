//! The bucket behind a store: names, settings common to requests, and how long those may take.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
    types::{ObjectLockMode, ServerSideEncryption, StorageClass},
};
use chrono::{TimeDelta, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use veza_dr_core::{Cx, Error, ErrorKind, ObjectKey, ObjectMeta, Result, VersionTag};

use super::{
    S3Config, S3Encryption,
    client::CONNECT,
    errors::{reading, s3_error},
};

/// Slower transfers than this many bytes a second count as failed.
const SLOWEST: u64 = 64 * 1024;
/// Under this name each written object carries who wrote it, so that a lost answer can be looked up.
pub(super) const WRITER: &str = "veza-writer";

pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) config: S3Config,
    prefix: String,
    in_flight: Arc<Semaphore>,
}

/// What `HEAD` says of an object.
pub(super) struct Head {
    pub(super) meta: ObjectMeta,
    pub(super) writer: Option<String>,
}

impl Bucket {
    pub(super) fn new(client: Client, config: S3Config) -> Self {
        let in_flight = Arc::new(Semaphore::new(config.max_concurrency as usize));
        Self { client, prefix: config.key_prefix(), config, in_flight }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.bucket
    }

    /// The key as the bucket has it.
    pub(super) fn full(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What keys below `prefix` begin with.
    pub(super) fn full_prefix(&self, prefix: &str) -> String {
        if prefix.is_empty() { self.prefix.clone() } else { format!("{}{prefix}/", self.prefix) }
    }

    /// The store's key, when the bucket's key is one.
    pub(super) fn own(&self, full: &str) -> Option<ObjectKey> {
        full.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// For messages.
    pub(super) fn place(&self, key: &ObjectKey) -> String {
        format!("s3://{}/{}{key}", self.config.bucket, self.prefix)
    }

    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.config.encryption {
            None => (None, None),
            Some(S3Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(S3Encryption::Kms { key_id }) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.config.storage_class.as_deref().map(StorageClass::from)
    }

    /// The lock for an object that is written once, and until when.
    pub(super) fn lock(&self, key: &ObjectKey) -> (Option<ObjectLockMode>, Option<aws_smithy_types::DateTime>) {
        // Only what lies in a backup's folder: leases and records of attempts are written again and again, and each
        // version of them would be kept.
        let in_a_backup = key.as_str().split('/').count() >= 3;
        let Some(lock) = self.config.object_lock.filter(|_| in_a_backup) else {
            return (None, None);
        };
        let mode = if lock.compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance };
        let until = Utc::now() + TimeDelta::days(lock.days.into());
        (Some(mode), Some(aws_smithy_types::DateTime::from_secs(until.timestamp())))
    }

    /// Settings for a request that carries `bytes`: time in proportion, and the SDK's retries or none.
    pub(super) fn for_transfer(&self, bytes: u64, retry: bool) -> Builder {
        let builder = limited(self.config.timeout + Duration::from_secs(bytes / SLOWEST));
        if retry { builder } else { builder.retry_config(RetryConfig::disabled()) }
    }

    /// Settings for the end of an upload, at which a server may copy everything before it answers.
    pub(super) fn for_completion(&self) -> Builder {
        limited(self.config.timeout * 20).retry_config(RetryConfig::disabled())
    }

    /// Waits until a part of this size may be on its way.
    pub(super) async fn room_for(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let parts = bytes.div_ceil(self.config.part_size).clamp(1, u64::from(self.config.max_concurrency));
        let parts = u32::try_from(parts).unwrap_or(1);
        Arc::clone(&self.in_flight)
            .acquire_many_owned(parts)
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "wait for an upload slot").with_source(e))
    }

    pub(super) async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<Head>> {
        let what = format!("look at {}", self.place(key));
        let request = self.client.head_object().bucket(self.name()).key(self.full(key)).send();
        let answer = cx.run(&what, async { Ok(request.await) }).await?;
        let found = match answer {
            Ok(found) => found,
            Err(e) => {
                let error = reading(s3_error(e, what));
                return if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) };
            }
        };
        let missing = |part: &str| Error::new(ErrorKind::Unexpected, format!("{what}: the answer has no {part}"));
        let bytes = found.content_length().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| missing("length"))?;
        let tag = tag(found.e_tag()).ok_or_else(|| missing("ETag"))?;
        let modified = found.last_modified().and_then(time).ok_or_else(|| missing("time"))?;
        let writer = found.metadata().and_then(|m| m.get(WRITER)).cloned();
        Ok(Some(Head { meta: ObjectMeta { key: key.clone(), bytes, modified, tag }, writer }))
    }
}

fn limited(attempt: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(attempt).build();
    Builder::new().timeout_config(timeouts)
}

/// The ETag without its quotes, which listings of some servers leave out.
pub(super) fn tag(e_tag: Option<&str>) -> Option<VersionTag> {
    let bare = e_tag?.trim_matches('"');
    (!bare.is_empty()).then(|| VersionTag(bare.to_owned()))
}

/// The ETag as a header has it.
pub(super) fn quoted(tag: &VersionTag) -> String {
    format!("\"{}\"", tag.0.trim_matches('"'))
}

pub(super) fn time(at: &aws_sdk_s3::primitives::DateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(at.secs(), at.subsec_nanos())
}
