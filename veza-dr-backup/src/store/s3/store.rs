//! The store itself.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use veza_dr_core::{
    BackupStore, Condition, Cx, Error, ErrorKind, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter, PutOptions,
    Result, StoreCaps, StoreInfo, VersionTag,
};

use super::{
    S3Config,
    bucket::{Bucket, tag, time},
    client, conditional,
    download::S3Reader,
    errors::{reading, s3_error},
    upload::S3Writer,
};

/// How many groups are looked into at a time.
const GROUPS_AT_ONCE: usize = 16;

/// Keeps objects in a bucket, below a prefix.
///
/// Large objects are sent in parts, each with a CRC32C that the server checks, and appear by a conditional completion;
/// small ones by a conditional PUT. An answer that was lost is looked up before anything is sent again. Reads go on
/// where a lost connection ended, on the same version only.
///
/// Some servers accept conditions and ignore them: see [`crate::store::probe_conditional_put`].
///
/// ```no_run
/// # async fn example() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::store::{S3Config, S3Store};
/// let mut config = S3Config::new("veza-backups");
/// config.region = Some("eu-west-3".to_owned());
/// config.prefix = Some("prod".to_owned());
/// let store = S3Store::connect("offsite", config).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct S3Store {
    info: StoreInfo,
    bucket: Arc<Bucket>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("info", &self.info).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Prepares a client. Asks the bucket nothing yet: a wrong name or credential shows with the first call.
    ///
    /// # Errors
    /// `Config` when the configuration cannot work.
    pub async fn connect(name: impl Into<String>, config: S3Config) -> Result<Self> {
        config.validate()?;
        let info = StoreInfo { name: name.into(), kind: "s3", location: config.location() };
        let client = client::connect(&config).await?;
        Ok(Self { info, bucket: Arc::new(Bucket::new(client, config)) })
    }

    /// Objects and the names of groups below `prefix`; with `groups`, only one level.
    async fn page_through(&self, cx: &Cx, prefix: &str, groups: bool) -> Result<(Vec<ObjectMeta>, Vec<String>)> {
        if !prefix.is_empty() {
            prefix.parse::<ObjectKey>()?;
        }
        let full = self.bucket.full_prefix(prefix);
        let what = format!("list s3://{}/{full}", self.bucket.name());
        let (mut objects, mut names) = (Vec::new(), Vec::new());
        let mut next = None;
        loop {
            let request = self.bucket.client.list_objects_v2().bucket(self.bucket.name()).prefix(&full);
            let request = request.set_delimiter(groups.then(|| "/".to_owned())).set_continuation_token(next.take());
            let send = async { request.send().await.map_err(|e| reading(s3_error(e, what.clone()))) };
            let page = cx.run(&what, send).await?;
            for object in page.contents() {
                // What is not a key was not put there by us.
                let Some(key) = object.key().and_then(|k| self.bucket.own(k)) else { continue };
                let bytes = object.size().and_then(|n| u64::try_from(n).ok());
                let modified = object.last_modified().and_then(time);
                let (Some(bytes), Some(modified), Some(tag)) = (bytes, modified, tag(object.e_tag())) else {
                    let text = format!("{what}: the entry of {key} is incomplete");
                    return Err(Error::new(ErrorKind::Unexpected, text));
                };
                objects.push(ObjectMeta { key, bytes, modified, tag });
            }
            let found = page.common_prefixes().iter().filter_map(|p| p.prefix());
            names.extend(found.filter_map(|p| p.strip_prefix(&full)?.strip_suffix('/')).map(str::to_owned));
            match (page.is_truncated(), page.next_continuation_token()) {
                (Some(true), Some(token)) => next = Some(token.to_owned()),
                (Some(true), None) => {
                    let text = format!("{what}: the listing breaks off");
                    return Err(Error::new(ErrorKind::Unexpected, text));
                }
                _ => break,
            }
        }
        Ok((objects, names))
    }

    async fn holds_objects(&self, cx: &Cx, prefix: &str) -> Result<bool> {
        let full = self.bucket.full_prefix(prefix);
        let what = format!("list s3://{}/{full}", self.bucket.name());
        let request = self.bucket.client.list_objects_v2().bucket(self.bucket.name()).prefix(full).max_keys(1);
        let send = async { request.send().await.map_err(|e| reading(s3_error(e, what.clone()))) };
        Ok(!cx.run(&what, send).await?.contents().is_empty())
    }

    /// Uploads below the prefix that were begun before `before`: key and id.
    async fn old_uploads(&self, cx: &Cx, before: DateTime<Utc>) -> Result<Vec<(String, String)>> {
        let prefix = self.bucket.full_prefix("");
        let what = format!("list uploads of s3://{}/{prefix}", self.bucket.name());
        let mut old = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self.bucket.client.list_multipart_uploads().bucket(self.bucket.name()).prefix(&prefix);
            let request = request.set_key_marker(key_marker.take()).set_upload_id_marker(id_marker.take());
            let send = async { request.send().await.map_err(|e| reading(s3_error(e, what.clone()))) };
            let page = cx.run(&what, send).await?;
            for upload in page.uploads() {
                let begun = upload.initiated().and_then(time);
                if let (Some(key), Some(id), Some(begun)) = (upload.key(), upload.upload_id(), begun)
                    && key.starts_with(&prefix)
                    && begun < before
                {
                    old.push((key.to_owned(), id.to_owned()));
                }
            }
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(old);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }
}

#[async_trait]
impl BackupStore for S3Store {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn capabilities(&self) -> StoreCaps {
        StoreCaps::new(true, true)
    }

    async fn create(&self, cx: &Cx, key: &ObjectKey, options: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        cx.check(&format!("write {}", self.bucket.place(key)))?;
        Ok(Box::new(S3Writer::new(cx.clone(), Arc::clone(&self.bucket), key.clone(), options.size_hint)))
    }

    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        conditional::put(&self.bucket, cx, key, body, &condition).await
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        Ok(Box::new(S3Reader::open(cx, Arc::clone(&self.bucket), key, offset).await?))
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        Ok(self.bucket.head(cx, key).await?.map(|found| found.meta))
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let (mut objects, _) = self.page_through(cx, prefix, false).await?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        let (_, mut groups) = self.page_through(cx, prefix, true).await?;
        groups.retain(|name| name.parse::<ObjectKey>().is_ok());
        groups.sort();
        groups.dedup();
        if self.bucket.config.endpoint.is_none() {
            return Ok(groups);
        }
        // Servers that keep real folders list them when they are empty, too.
        let held = stream::iter(groups).map(|name| async move {
            let below = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            Ok::<_, Error>(self.holds_objects(cx, &below).await?.then_some(name))
        });
        held.buffered(GROUPS_AT_ONCE).try_filter_map(|name| async move { Ok(name) }).try_collect().await
    }

    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        let what = format!("delete {}", self.bucket.place(key));
        let request = self.bucket.client.delete_object().bucket(self.bucket.name()).key(self.bucket.full(key));
        let send = async { request.send().await.map_err(|e| s3_error(e, what.clone())) };
        match cx.run(&what, send).await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(|_| ()),
        }
    }

    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64> {
        let mut swept = 0;
        for (key, id) in self.old_uploads(cx, before).await? {
            let what = format!("abort upload of s3://{}/{key}", self.bucket.name());
            let request = self.bucket.client.abort_multipart_upload().bucket(self.bucket.name()).key(key).upload_id(id);
            let send = async { request.send().await.map_err(|e| s3_error(e, what.clone())) };
            match cx.run(&what, send).await {
                Ok(_) => swept += 1,
                // Finished or aborted since it was listed.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(swept)
    }
}
