//! Writes that take place at most once: retried only after looking whether the attempt before took place.

use std::time::Duration;

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload},
};
use bytes::Bytes;
use veza_dr_core::{Condition, Cx, Effect, Error, ErrorKind, ObjectKey, Result, Retry, VersionTag};

use super::{
    bucket::{Bucket, WRITER, quoted, tag},
    errors::s3_error,
};

/// A name for one write, stored with it.
pub(super) fn new_writer() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Writes one object in one request.
pub(super) async fn put(
    bucket: &Bucket,
    cx: &Cx,
    key: &ObjectKey,
    body: Bytes,
    condition: &Condition,
) -> Result<VersionTag> {
    let writer = new_writer();
    let what = format!("put {}", bucket.place(key));
    let request = Request::Put { body, condition, writer: &writer };
    let write = Write { bucket, key, writer: &writer, what: &what, request };
    write.at_most_once(cx).await.map_err(|e| match condition {
        // AWS answers a condition on a missing object with 404.
        Condition::Matches(_) if e.kind() == ErrorKind::NotFound => {
            Error::new(ErrorKind::Conflict, format!("{what}: it is no longer there")).with_source(e)
        }
        _ => e,
    })
}

/// A request that publishes an object.
pub(super) enum Request<'a> {
    Put { body: Bytes, condition: &'a Condition, writer: &'a str },
    Complete { upload: &'a str, parts: CompletedMultipartUpload },
}

impl Request<'_> {
    async fn send(&self, bucket: &Bucket, key: &ObjectKey, what: &str) -> Result<VersionTag> {
        let e_tag = match self {
            Self::Put { body, condition, writer } => send_put(bucket, key, body, condition, writer, what).await?,
            Self::Complete { upload, parts } => send_complete(bucket, key, upload, parts, what).await?,
        };
        tag(e_tag.as_deref()).ok_or_else(|| {
            let text = format!("{what}: the server did not confirm the object");
            Error::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown)
        })
    }
}

async fn send_put(
    bucket: &Bucket,
    key: &ObjectKey,
    body: &Bytes,
    condition: &Condition,
    writer: &str,
    what: &str,
) -> Result<Option<String>> {
    let (encryption, key_id) = bucket.encryption();
    let (lock, until) = if *condition == Condition::Absent { bucket.lock(key) } else { (None, None) };
    let mut request = bucket
        .client
        .put_object()
        .bucket(bucket.name())
        .key(bucket.full(key))
        .metadata(WRITER, writer)
        .checksum_algorithm(ChecksumAlgorithm::Crc32C)
        .set_server_side_encryption(encryption)
        .set_ssekms_key_id(key_id)
        .set_storage_class(bucket.storage_class())
        .set_object_lock_mode(lock)
        .set_object_lock_retain_until_date(until)
        .body(ByteStream::from(body.clone()));
    match condition {
        Condition::Absent => request = request.if_none_match("*"),
        Condition::Matches(tag) => request = request.if_match(quoted(tag)),
        Condition::Always => {}
        other => {
            let text = format!("{what}: condition {other:?} is not known to this store");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    let mut request = request.customize().config_override(bucket.for_transfer(body.len() as u64, false));
    if !bucket.config.is_plain_http() {
        // TLS and the checksum guard the body; hashing it a second time would only cost time.
        request = request.disable_payload_signing();
    }
    let done = request.send().await.map_err(|e| s3_error(e, what))?;
    Ok(done.e_tag)
}

async fn send_complete(
    bucket: &Bucket,
    key: &ObjectKey,
    upload: &str,
    parts: &CompletedMultipartUpload,
    what: &str,
) -> Result<Option<String>> {
    let request = bucket
        .client
        .complete_multipart_upload()
        .bucket(bucket.name())
        .key(bucket.full(key))
        .upload_id(upload)
        .multipart_upload(parts.clone())
        .if_none_match("*")
        .customize()
        .config_override(bucket.for_completion());
    let done = request.send().await.map_err(|e| s3_error(e, what))?;
    Ok(done.e_tag)
}

/// One publication, under the name `writer`.
pub(super) struct Write<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) key: &'a ObjectKey,
    pub(super) writer: &'a str,
    pub(super) what: &'a str,
    pub(super) request: Request<'a>,
}

impl Write<'_> {
    /// Sends the request until it succeeds, is refused, or the attempts are spent. When the outcome of one is unknown,
    /// the object itself tells whether this writer wrote it.
    pub(super) async fn at_most_once(&self, cx: &Cx) -> Result<VersionTag> {
        cx.check(self.what)?;
        let mut unsure = false;
        let mut pause = Duration::from_millis(200);
        let mut count = 1;
        loop {
            let error = match cx.run(self.what, self.request.send(self.bucket, self.key, self.what)).await {
                Ok(tag) => return Ok(tag),
                // Before the first attempt nothing is sent; after it, anything may have arrived.
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e.with_effect(Effect::Unknown)),
                Err(e) => e,
            };
            unsure |= error.effect() == Effect::Unknown;
            let mut settled = !unsure;
            if unsure {
                match self.bucket.head(cx, self.key).await {
                    Ok(Some(found)) if found.writer.as_deref() == Some(self.writer) => return Ok(found.meta.tag),
                    Ok(_) => settled = true,
                    Err(e) => {
                        tracing::debug!(key = %self.key, error = %e.chain(), "a write's outcome is not known yet")
                    }
                }
            }
            // An attempt that has not arrived yet still may: only a definite refusal ends the doubt.
            let doubt = !settled || error.effect() == Effect::Unknown;
            let error = error.with_effect(if doubt { Effect::Unknown } else { Effect::None });
            let Retry::Later { after } = error.retry() else { return Err(error) };
            if count >= self.bucket.config.attempts {
                return Err(error.with_retry(Retry::Exhausted { attempts: count }));
            }
            let wait = after.unwrap_or(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).min(Duration::from_secs(10));
            if let Err(cancelled) = sleep(cx, self.what, wait).await {
                return Err(cancelled.with_effect(error.effect()));
            }
            pause = (pause * 2).min(Duration::from_secs(10));
            count += 1;
        }
    }
}

async fn sleep(cx: &Cx, what: &str, wait: Duration) -> Result<()> {
    cx.run(what, async {
        tokio::time::sleep(wait).await;
        Ok(())
    })
    .await
}
