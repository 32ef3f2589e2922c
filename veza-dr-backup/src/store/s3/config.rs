//! Where a bucket is, how to be let in, and how to send.

use std::{path::PathBuf, time::Duration};

use veza_dr_core::{Error, ErrorKind, ObjectKey, Result, SecretString};

/// S3 refuses smaller parts, but for the last.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;
/// S3 refuses more.
const MOST_PARTS: u32 = 10_000;

/// How the server is to encrypt objects at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3Encryption {
    /// With keys of S3's own.
    Aes256,
    /// With a key of the key management service; the bucket's default key where none is named.
    Kms {
        /// The key's id or ARN.
        key_id: Option<String>,
    },
}

/// For how long nobody can delete or replace an object of a backup; the bucket must have Object Lock switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3ObjectLock {
    /// Not even the account's owner can lift it; else those with `s3:BypassGovernanceRetention`.
    pub compliance: bool,
    /// For how many days from the write.
    pub days: u32,
}

/// A bucket and how to use it. `Debug` shows no secret.
///
/// ```
/// use veza_dr_backup::store::S3Config;
/// let mut config = S3Config::new("veza-backups");
/// config.region = Some("eu-west-3".to_owned());
/// config.secret_access_key = Some("hush".to_owned().into());
/// assert!(!format!("{config:?}").contains("hush"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// The region; AWS's own chain (environment, profile, instance) when `None`, `us-east-1` where an endpoint is given.
    pub region: Option<String>,
    /// The server's URL when it is not AWS.
    pub endpoint: Option<String>,
    /// A folder in the bucket that the store keeps to.
    pub prefix: Option<String>,
    /// Puts the bucket into the path rather than the host name, as most servers other than AWS need it.
    pub path_style: bool,
    /// Who we are; AWS's own chain when `None`.
    pub access_key_id: Option<SecretString>,
    /// Its secret; needed when `access_key_id` is given.
    pub secret_access_key: Option<SecretString>,
    /// The token that goes with temporary credentials.
    pub session_token: Option<SecretString>,
    /// Encryption at rest; the bucket's default when `None`.
    pub encryption: Option<S3Encryption>,
    /// The storage class, as S3 spells it: `STANDARD_IA`, `GLACIER_IR`.
    pub storage_class: Option<String>,
    /// Locks what is written once against deletion. What is meant to change, such as leases, is not locked.
    pub object_lock: Option<S3ObjectLock>,
    /// The size of the first parts of a large object; 8 MiB.
    pub part_size: u64,
    /// How many parts one object may have; 1,000, which every server allows. Parts grow to keep to it.
    pub max_parts: u32,
    /// How many parts of the first size are on their way at once, over all objects of the store; 4. Together with one
    /// part being filled for each object being written, this bounds the memory used.
    pub max_concurrency: u32,
    /// PEM certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How often a request is made in all before it counts as failed; 5.
    pub attempts: u32,
    /// How long a small request may take, and how long a transfer may stand still; 30 s.
    pub timeout: Duration,
}

impl S3Config {
    /// This bucket, all else by default.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            prefix: None,
            path_style: false,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            encryption: None,
            storage_class: None,
            object_lock: None,
            part_size: 8 * 1024 * 1024,
            max_parts: 1000,
            max_concurrency: 4,
            ca_file: None,
            attempts: 5,
            timeout: Duration::from_secs(30),
        }
    }

    /// `s3://bucket/prefix`, with the host where it is not AWS.
    pub(super) fn location(&self) -> String {
        let prefix = self.key_prefix();
        let place = format!("s3://{}/{}", self.bucket, prefix.trim_end_matches('/'));
        let place = place.trim_end_matches('/');
        match self.endpoint.as_deref().map(host) {
            Some(host) => format!("{place} at {host}"),
            None => place.to_owned(),
        }
    }

    /// What every key of the bucket begins with: empty, or ending in `/`.
    pub(super) fn key_prefix(&self) -> String {
        match self.prefix.as_deref().map(|p| p.trim_matches('/')) {
            None | Some("") => String::new(),
            Some(prefix) => format!("{prefix}/"),
        }
    }

    /// Neither encrypted nor in need of certificates.
    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|e| e.starts_with("http://"))
    }

    pub(super) fn validate(&self) -> Result<()> {
        let bad = |text: String, help: &str| Err(Error::new(ErrorKind::Config, text).with_help(help.to_owned()));
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '/');
        if self.bucket.is_empty() || !self.bucket.chars().all(name) {
            return bad(
                format!("`{}` is not a bucket name", self.bucket),
                "give the bucket's name or access point ARN",
            );
        }
        if let Some(endpoint) = &self.endpoint {
            if !(endpoint.starts_with("https://") || endpoint.starts_with("http://")) {
                return bad(
                    format!("endpoint `{}` of bucket {} is not a URL", host(endpoint), self.bucket),
                    "begin it with https://",
                );
            }
            if endpoint.split("://").nth(1).unwrap_or_default().contains('@') {
                return bad(
                    format!("the endpoint of bucket {} holds credentials", self.bucket),
                    "give them as access_key_id and secret_access_key",
                );
            }
        }
        if !self.key_prefix().is_empty() {
            self.key_prefix().trim_end_matches('/').parse::<ObjectKey>()?;
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return bad(
                format!("bucket {} has one half of its credentials", self.bucket),
                "give both access_key_id and secret_access_key, or neither for AWS's own credential chain",
            );
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return bad(
                format!("bucket {} has a session token and no access key", self.bucket),
                "give the access_key_id and secret_access_key that the token belongs to",
            );
        }
        if self.part_size < SMALLEST_PART {
            return bad(
                format!("part size {} of bucket {} is too small", self.part_size, self.bucket),
                "S3 takes no parts below 5 MiB",
            );
        }
        if !(1..=MOST_PARTS).contains(&self.max_parts) || self.max_concurrency == 0 || self.attempts == 0 {
            return bad(
                format!("bucket {} has a limit out of range", self.bucket),
                "max_parts is 1 to 10000; max_concurrency and attempts are at least 1",
            );
        }
        Ok(())
    }
}

/// Without scheme, credentials and path: what may be shown.
fn host(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let canary = |n: u32| Some(SecretString::from(format!("canary-{n}")));
        let mut config = S3Config::new("b");
        (config.access_key_id, config.secret_access_key, config.session_token) = (canary(1), canary(2), canary(3));
        config.endpoint = Some("https://user:canary-4@s3.example/x".into());
        assert!(!format!("{:?}", config.validate()).contains("canary"));
        assert!(!config.location().contains("canary"));
        config.endpoint = None;
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_help() {
        let with = |change: fn(&mut S3Config)| {
            let mut config = S3Config::new("veza-backups");
            change(&mut config);
            config.validate()
        };
        assert!(with(|_| ()).is_ok());
        let bad: [fn(&mut S3Config); 8] = [
            |c| c.bucket = "no such name".into(),
            |c| c.endpoint = Some("s3.example:9000".into()),
            |c| c.prefix = Some("a/../b".into()),
            |c| c.access_key_id = Some("half".to_owned().into()),
            |c| c.session_token = Some("token".to_owned().into()),
            |c| c.part_size = 1024,
            |c| c.max_parts = 20_000,
            |c| c.attempts = 0,
        ];
        for (n, change) in bad.into_iter().enumerate() {
            let e = with(change).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config, "{n}");
        }
    }

    #[test]
    fn the_location_names_bucket_prefix_and_host() {
        let mut config = S3Config::new("b");
        assert_eq!(config.location(), "s3://b");
        config.prefix = Some("/prod/".into());
        assert_eq!((config.location().as_str(), config.key_prefix().as_str()), ("s3://b/prod", "prod/"));
        config.endpoint = Some("https://s3.example:9000/".into());
        assert_eq!(config.location(), "s3://b/prod at s3.example:9000");
    }
}
