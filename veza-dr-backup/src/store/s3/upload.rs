//! Objects streamed in parts, several on their way at once; small ones in a single request.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;
use veza_dr_core::{Condition, Cx, Effect, Error, ErrorKind, ObjectKey, ObjectMeta, ObjectWriter, Result};

use super::{
    bucket::{Bucket, WRITER},
    conditional::{Request, Write, new_writer, put},
    errors::{reading, s3_error},
    part_sizes::PartSizes,
};

/// How long freeing an abandoned upload may take.
const TIDY: Duration = Duration::from_secs(10);

/// Objects up to this size get no buffer for a whole part.
const SMALL: usize = 256 * 1024;

pub(super) struct S3Writer {
    cx: Cx,
    bucket: Arc<Bucket>,
    key: ObjectKey,
    sizes: PartSizes,
    filling: BytesMut,
    bytes: u64,
    writer: String,
    upload: Option<Upload>,
    broken: bool,
}

/// A multipart upload under way.
struct Upload {
    id: String,
    /// The number of the part being filled.
    number: u32,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

impl S3Writer {
    pub(super) fn new(cx: Cx, bucket: Arc<Bucket>, key: ObjectKey, size_hint: Option<u64>) -> Self {
        let sizes = PartSizes::new(bucket.config.part_size, bucket.config.max_parts, size_hint);
        let writer = new_writer();
        Self { cx, bucket, key, sizes, filling: BytesMut::new(), bytes: 0, writer, upload: None, broken: false }
    }

    fn what(&self) -> String {
        format!("write {}", self.bucket.place(&self.key))
    }

    fn check(&self) -> Result<()> {
        self.cx.check(&self.what())?;
        if self.broken {
            return Err(Error::new(ErrorKind::Unexpected, format!("{}: an earlier write failed", self.what())));
        }
        Ok(())
    }

    async fn add(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let number = self.upload.as_ref().map_or(1, |u| u.number);
            let size = self.sizes.size(number).ok_or_else(|| self.too_large())?;
            let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(self.filling.len());
            // A full part waits for the next byte: it may be the last, and the only one.
            if room == 0 {
                self.send_part().await?;
                continue;
            }
            let piece = bytes.split_to(room.min(bytes.len()));
            self.bytes += piece.len() as u64;
            let filled = self.filling.len() + piece.len();
            if filled > SMALL && self.filling.capacity() < filled {
                // Room for the whole part at once: growing by doubling would take more than is needed.
                let mut whole = BytesMut::with_capacity(self.filling.len() + room);
                whole.extend_from_slice(&self.filling);
                self.filling = whole;
            }
            self.filling.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn too_large(&self) -> Error {
        let text = format!("{}: it needs more than {} parts", self.what(), self.bucket.config.max_parts);
        Error::new(ErrorKind::Full, text).with_help("raise the store's part_size or max_parts")
    }

    /// Sends what is filled as the next part, once there is room for it on the way.
    async fn send_part(&mut self) -> Result<()> {
        let what = self.what();
        if self.upload.is_none() {
            let id = self.cx.run(&what, begin(&self.bucket, &self.key, &self.writer, &what)).await?;
            self.upload = Some(Upload { id, number: 1, sending: JoinSet::new(), sent: Vec::new() });
        }
        let room = self.cx.run(&what, self.bucket.room_for(self.filling.len() as u64)).await?;
        let Some(upload) = self.upload.as_mut() else { return Ok(()) };
        // A part that failed ends the object now, not after everything else was sent.
        while let Some(done) = upload.sending.try_join_next() {
            upload.sent.push(part(done, &what)?);
        }
        let body = self.filling.split().freeze();
        let (bucket, key, id, number) = (Arc::clone(&self.bucket), self.key.clone(), upload.id.clone(), upload.number);
        upload.sending.spawn(async move {
            let sent = send(&bucket, &key, &id, number, body).await;
            drop(room);
            sent
        });
        upload.number += 1;
        Ok(())
    }

    async fn publish(&mut self) -> Result<ObjectMeta> {
        let what = self.what();
        if self.upload.is_none() {
            let body = std::mem::take(&mut self.filling).freeze();
            let tag = put(&self.bucket, &self.cx, &self.key, body, &Condition::Absent).await?;
            let modified = chrono::Utc::now();
            return Ok(ObjectMeta { key: self.key.clone(), bytes: self.bytes, modified, tag });
        }
        if !self.filling.is_empty() {
            self.send_part().await?;
        }
        let Some(upload) = self.upload.as_mut() else { return Err(self.too_large()) };
        while let Some(done) = self.cx.run(&what, async { Ok(upload.sending.join_next().await) }).await? {
            upload.sent.push(part(done, &what)?);
        }
        upload.sent.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(upload.sent.clone())).build();
        let request = Request::Complete { upload: &upload.id, parts };
        let write = Write { bucket: &self.bucket, key: &self.key, writer: &self.writer, what: &what, request };
        write.at_most_once(&self.cx).await.map_err(|e| vanished(e, &what))?;
        // Published; nothing is left to free.
        self.upload = None;
        self.look(&what).await
    }

    /// What was published must be what was written.
    async fn look(&self, what: &str) -> Result<ObjectMeta> {
        let applied = |e: Error| e.with_effect(Effect::Applied);
        let Some(found) = self.bucket.head(&self.cx, &self.key).await.map_err(applied)? else {
            let text = format!("{what}: the server acknowledged it and does not have it");
            return Err(applied(Error::new(ErrorKind::Corrupt, text)));
        };
        if found.meta.bytes != self.bytes {
            let text = format!("{what}: {} bytes were sent, the server has {}", self.bytes, found.meta.bytes);
            return Err(applied(Error::new(ErrorKind::Corrupt, text)));
        }
        Ok(found.meta)
    }

    /// Frees the parts that were sent. What cannot be freed now is what a sweep is for.
    async fn give_up(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        free(Arc::clone(&self.bucket), self.key.clone(), upload).await;
    }
}

#[async_trait]
impl ObjectWriter for S3Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.check()?;
        let done = self.add(bytes).await;
        self.broken = done.is_err();
        done
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectMeta> {
        self.check()?;
        let done = self.publish().await;
        // A cancelled caller does not wait: dropping frees the rest behind its back.
        if done.as_ref().is_err_and(|e| e.kind() != ErrorKind::Cancelled) {
            self.give_up().await;
        }
        done
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.give_up().await;
        Ok(())
    }
}

impl Drop for S3Writer {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(free(Arc::clone(&self.bucket), self.key.clone(), upload));
        }
    }
}

async fn begin(bucket: &Bucket, key: &ObjectKey, writer: &str, what: &str) -> Result<String> {
    let (encryption, key_id) = bucket.encryption();
    let (lock, until) = bucket.lock(key);
    let begun = bucket
        .client
        .create_multipart_upload()
        .bucket(bucket.name())
        .key(bucket.full(key))
        .metadata(WRITER, writer)
        // Stated here, or some servers refuse the parts' checksums at the end.
        .checksum_algorithm(ChecksumAlgorithm::Crc32C)
        .set_server_side_encryption(encryption)
        .set_ssekms_key_id(key_id)
        .set_storage_class(bucket.storage_class())
        .set_object_lock_mode(lock)
        .set_object_lock_retain_until_date(until)
        .send()
        .await
        // An upload that began unnoticed is not an object; a sweep frees it.
        .map_err(|e| reading(s3_error(e, what)))?;
    match begun.upload_id() {
        Some(id) => Ok(id.to_owned()),
        None => Err(Error::new(ErrorKind::Unexpected, format!("{what}: the answer has no upload id"))),
    }
}

async fn send(bucket: &Bucket, key: &ObjectKey, upload: &str, number: u32, body: Bytes) -> Result<CompletedPart> {
    let what = format!("send part {number} of {}", bucket.place(key));
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let bytes = body.len() as u64;
    let mut request = bucket
        .client
        .upload_part()
        .bucket(bucket.name())
        .key(bucket.full(key))
        .upload_id(upload)
        .part_number(number)
        .checksum_algorithm(ChecksumAlgorithm::Crc32C)
        .body(ByteStream::from(body))
        .customize()
        .config_override(bucket.for_transfer(bytes, true));
    if !bucket.config.is_plain_http() {
        request = request.disable_payload_signing();
    }
    let sent = request.send().await.map_err(|e| reading(s3_error(e, what.clone())))?;
    let Some(e_tag) = sent.e_tag() else {
        return Err(Error::new(ErrorKind::Unexpected, format!("{what}: the answer has no ETag")));
    };
    let part = CompletedPart::builder().part_number(number).e_tag(e_tag);
    Ok(part.set_checksum_crc32_c(sent.checksum_crc32_c().map(str::to_owned)).build())
}

fn part(done: Result<Result<CompletedPart>, tokio::task::JoinError>, what: &str) -> Result<CompletedPart> {
    match done {
        Ok(part) => part,
        Err(e) => Err(Error::new(ErrorKind::Unexpected, format!("{what}: a part's task was lost")).with_source(e)),
    }
}

/// At the end, `NotFound` is the upload's absence, not the object's.
fn vanished(e: Error, what: &str) -> Error {
    if e.kind() != ErrorKind::NotFound {
        return e;
    }
    let text = format!("{what}: its parts are gone from the server");
    Error::new(ErrorKind::Unavailable, text)
        .with_effect(e.effect())
        .with_help("look for a lifecycle rule, or a sweep by somebody else, that ends uploads too early")
        .with_source(e)
}

async fn free(bucket: Arc<Bucket>, key: ObjectKey, mut upload: Upload) {
    // A part that arrives after the abort would stay.
    upload.sending.shutdown().await;
    let abort = bucket.client.abort_multipart_upload().bucket(bucket.name()).key(bucket.full(&key));
    match tokio::time::timeout(TIDY, abort.upload_id(upload.id).send()).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => tracing::debug!(%key, error = %s3_error(e, "abort upload").chain(), "parts left for a sweep"),
        Err(_) => tracing::debug!(%key, "parts left for a sweep: no answer"),
    }
}
