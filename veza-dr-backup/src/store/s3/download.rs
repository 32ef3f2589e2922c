//! Objects read as a stream that survives lost connections while the object stays the same.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use veza_dr_core::{Cx, Error, ErrorKind, ObjectKey, ObjectReader, Result, Retry, VersionTag};

use super::{
    bucket::{Bucket, quoted, tag},
    errors::{reading, s3_error},
};

/// After this many bytes without a failure, earlier ones no longer count.
const RECOVERED: u64 = 256 * 1024;

pub(super) struct S3Reader {
    cx: Cx,
    bucket: Arc<Bucket>,
    key: ObjectKey,
    tag: VersionTag,
    /// The next byte to be given, and the first that is not.
    at: u64,
    end: u64,
    body: Option<ByteStream>,
    failures: u32,
    since_failure: u64,
}

/// An opened range: the object's version, where it ends, its bytes.
struct Opened {
    tag: VersionTag,
    end: u64,
    body: ByteStream,
}

/// Opens `key` from byte `at` on; only this version where one is named. `None`: the object ends at or before `at`.
async fn open(bucket: &Bucket, key: &ObjectKey, at: u64, only: Option<&VersionTag>) -> Result<Option<Opened>> {
    let what = format!("read {}", bucket.place(key));
    let request = bucket
        .client
        .get_object()
        .bucket(bucket.name())
        .key(bucket.full(key))
        .set_range((at > 0).then(|| format!("bytes={at}-")))
        .set_if_match(only.map(quoted));
    let found = match request.send().await {
        Ok(found) => found,
        Err(e) => {
            let past_the_end = e.raw_response().is_some_and(|r| r.status().as_u16() == 416);
            return if past_the_end { Ok(None) } else { Err(reading(s3_error(e, what))) };
        }
    };
    let unfit = |why: &str| Error::new(ErrorKind::Unexpected, format!("{what}: the answer {why}"));
    let tag = tag(found.e_tag()).ok_or_else(|| unfit("has no ETag"))?;
    let length = found.content_length().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| unfit("has no length"))?;
    // A server that ignores ranges would give the beginning again.
    let begins = match found.content_range() {
        Some(range) => range.strip_prefix("bytes ").and_then(|r| r.split('-').next()).and_then(|n| n.parse().ok()),
        None => Some(0),
    };
    if begins != Some(at) {
        return Err(unfit(&format!("does not begin at byte {at}")));
    }
    Ok(Some(Opened { tag, end: at + length, body: found.body }))
}

impl S3Reader {
    pub(super) async fn open(cx: &Cx, bucket: Arc<Bucket>, key: &ObjectKey, at: u64) -> Result<Self> {
        let what = format!("read {}", bucket.place(key));
        let opened = cx.run(&what, open(&bucket, key, at, None)).await?;
        let (tag, end, body) = match opened {
            Some(opened) => (opened.tag, opened.end, Some(opened.body)),
            None => (VersionTag(String::new()), at, None),
        };
        Ok(Self { cx: cx.clone(), bucket, key: key.clone(), tag, at, end, body, failures: 0, since_failure: 0 })
    }

    fn what(&self) -> String {
        format!("read {}", self.bucket.place(&self.key))
    }

    /// The next bytes of the connection that stands; `Ok(None)` when it ended too early.
    async fn receive(&mut self) -> Result<Option<Bytes>> {
        let what = self.what();
        let Some(body) = self.body.as_mut() else { return Ok(None) };
        let limit = self.bucket.config.timeout;
        self.cx
            .run(&what, async {
                match tokio::time::timeout(limit, body.next()).await {
                    Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
                    Ok(None) => Ok(None),
                    Ok(Some(Err(e))) => {
                        let text = format!("{what}: the connection was lost");
                        Err(Error::new(ErrorKind::Unavailable, text).with_source(e))
                    }
                    Err(_) => Err(Error::new(ErrorKind::Unavailable, format!("{what}: nothing came for {limit:?}"))),
                }
            })
            .await
    }

    /// Opens the rest again, after a pause that grows.
    async fn resume(&mut self, why: Error) -> Result<()> {
        self.body = None;
        if self.since_failure >= RECOVERED {
            self.failures = 0;
        }
        self.since_failure = 0;
        self.failures += 1;
        if !why.is_retryable() {
            return Err(why);
        }
        if self.failures >= self.bucket.config.attempts {
            return Err(why.with_retry(Retry::Exhausted { attempts: self.failures }));
        }
        tracing::debug!(key = %self.key, at = self.at, error = %why.chain(), "read goes on after a failure");
        let what = self.what();
        let pause = Duration::from_millis(100 << self.failures.min(6)).mul_f64(0.5 + rand::random::<f64>() / 2.0);
        let reopened = self.cx.run(&what, async {
            tokio::time::sleep(pause).await;
            open(&self.bucket, &self.key, self.at, Some(&self.tag)).await
        });
        match reopened.await {
            Ok(Some(opened)) if opened.tag == self.tag && opened.end == self.end => {
                self.body = Some(opened.body);
                Ok(())
            }
            Ok(_) => Err(self.replaced(why)),
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Err(self.replaced(e)),
            // Counted when the caller finds that no connection stands.
            Err(e) if e.is_retryable() => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn replaced(&self, cause: Error) -> Error {
        let text = format!("{}: it was replaced or deleted meanwhile", self.what());
        Error::new(ErrorKind::Conflict, text).with_source(cause)
    }
}

#[async_trait]
impl ObjectReader for S3Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.cx.check(&self.what())?;
        while self.at < self.end {
            let why = match self.receive().await {
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(mut bytes)) => {
                    let left = self.end - self.at;
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    self.at += bytes.len() as u64;
                    self.since_failure += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => {
                    let text = format!("{}: the connection ended {} bytes early", self.what(), self.end - self.at);
                    Error::new(ErrorKind::Unavailable, text)
                }
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => e,
            };
            self.resume(why).await?;
        }
        Ok(None)
    }
}
