//! `stores:` where backups go.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ByteSize, SecretText, Text};

/// One place backups are written to: `directory` or `s3`, and how it is encrypted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Spelled")]
#[schemars(with = "Spelled")]
#[non_exhaustive]
pub struct Store {
    /// The kind of place and its settings.
    pub place: StorePlace,
    /// Who can read what is written.
    pub encryption: EncryptionSettings,
}

/// The kinds of places.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StorePlace {
    /// A folder of this machine, or one mounted on it.
    Directory(DirectorySettings),
    /// A bucket of Amazon S3 or of a server that speaks its language.
    S3(Box<S3Settings>),
}

impl StorePlace {
    /// The kind's name, as the file spells it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::S3(_) => "s3",
        }
    }
}

/// One place backups are written to: `directory` or `s3`, and beside it how it is encrypted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Store", extend("oneOf" = [{"required": ["directory"]}, {"required": ["s3"]}]))]
struct Spelled {
    /// A folder of this machine, or one mounted on it.
    #[serde(default)]
    directory: Option<DirectorySettings>,
    /// A bucket of Amazon S3 or of a server that speaks its language.
    #[serde(default)]
    s3: Option<Box<S3Settings>>,
    /// Encrypts what is written with age, so that this host cannot read old backups.
    #[serde(default)]
    encryption: Option<EncryptionSettings>,
}

impl TryFrom<Spelled> for Store {
    type Error = &'static str;

    fn try_from(spelled: Spelled) -> Result<Self, Self::Error> {
        let place = match (spelled.directory, spelled.s3) {
            (Some(directory), None) => StorePlace::Directory(directory),
            (None, Some(s3)) => StorePlace::S3(s3),
            _ => return Err("a store is either a directory or s3"),
        };
        Ok(Self { place, encryption: spelled.encryption.unwrap_or_default() })
    }
}

/// A folder.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DirectorySettings {
    /// The folder; a relative one begins at the configuration file.
    pub path: Text,
}

/// A bucket.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct S3Settings {
    /// The bucket; it must exist.
    pub bucket: Text,
    /// The region: `eu-west-3`. Taken from the environment where it is left out.
    #[serde(default)]
    pub region: Option<Text>,
    /// The server, for others than Amazon: `https://s3.example.com`.
    #[serde(default)]
    pub endpoint: Option<Text>,
    /// Everything is written below this prefix.
    #[serde(default)]
    pub prefix: Option<Text>,
    /// Names the bucket in the path instead of the host name; most servers other than Amazon need it.
    #[serde(default)]
    pub path_style: bool,
    /// The key's id. Left out, credentials come from the usual AWS places.
    #[serde(default)]
    pub access_key_id: Option<SecretText>,
    /// A file whose first line is the key's id.
    #[serde(default)]
    pub access_key_id_file: Option<Text>,
    /// The secret key. Prefer `secret_access_key_file` or `${env:NAME}`.
    #[serde(default)]
    pub secret_access_key: Option<SecretText>,
    /// A file whose first line is the secret key.
    #[serde(default)]
    pub secret_access_key_file: Option<Text>,
    /// The session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<SecretText>,
    /// A file whose first line is the session token.
    #[serde(default)]
    pub session_token_file: Option<Text>,
    /// Encrypts on the server with this KMS key.
    #[serde(default)]
    pub sse_kms_key_id: Option<Text>,
    /// The storage class: `STANDARD_IA`.
    #[serde(default)]
    pub storage_class: Option<Text>,
    /// The size of the parts that large objects are uploaded in; chosen by itself where it is left out.
    #[serde(default)]
    pub part_size: Option<ByteSize>,
    /// A file of PEM certificates to trust besides the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// Locks what backups are made of against deletion; the bucket must have Object Lock switched on.
    #[serde(default)]
    pub object_lock: Option<ObjectLockSettings>,
}

/// For how long nobody can delete or replace what was written.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ObjectLockSettings {
    /// Who may lift it.
    pub mode: ObjectLockMode,
    /// For how many days.
    #[schemars(range(min = 1, max = 36500))]
    pub days: u32,
}

/// Who may lift a lock before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObjectLockMode {
    /// Those with a special permission.
    Governance,
    /// Nobody, the account's owner included.
    Compliance,
}

/// Who can read what is written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EncryptionSettings {
    /// Public keys (`age1…`): each of their owners can read the backups.
    #[serde(default)]
    pub recipients: Vec<Text>,
    /// The private key, as `age-keygen` writes it: only restores and deep verification need it.
    #[serde(default)]
    pub identity_file: Option<Text>,
}
