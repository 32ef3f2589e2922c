//! The PostgreSQL part of a manifest: `details` of a backup whose engine is `postgres`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Manifest, Result};

/// The form of a chunk's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyFormat {
    /// COPY's text format in the server's encoding.
    #[default]
    Text,
    /// COPY's binary format, for rows that text cannot carry; needs the same major and types to load.
    Binary,
}

/// One object of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord {
    /// The object's name below the backup, without codec suffixes.
    pub object: String,
    /// How many rows it holds.
    pub rows: u64,
}

/// One table whose rows are in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// The schema, unquoted.
    pub schema: String,
    /// The name, unquoted.
    pub name: String,
    /// Schema and name quoted for SQL; the key of the manifest's `contents`.
    pub qualified: String,
    /// The stored columns in order, quoted for SQL. Empty for a table without any.
    pub columns: Vec<String>,
    /// The topmost partitioned table above a partition, quoted for SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Rows must be loaded through `root`, because where they belong depends on values that a restore renumbers.
    #[serde(default)]
    pub load_via_root: bool,
    /// Rows counted in the backup's own snapshot.
    pub rows: u64,
    /// Digest of the rows in the backup's own snapshot.
    pub digest: String,
    /// The rows' format.
    #[serde(default)]
    pub format: CopyFormat,
    /// The objects that hold the rows; none for an empty table, and none where `residual` is set.
    pub chunks: Vec<ChunkRecord>,
    /// The rows are in `residual.dump` (configuration tables of extensions).
    #[serde(default)]
    pub residual: bool,
    /// Heap and TOAST bytes at the source, for planning a restore.
    pub source_bytes: u64,
}

/// What `pg_dump` of a single database leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// The name.
    pub name: String,
    /// The owner.
    pub owner: String,
    /// The encoding, such as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`
    pub collate: String,
    /// `LC_CTYPE`
    pub ctype: String,
    /// `c` for libc, `i` for ICU, `b` for builtin.
    pub locale_provider: String,
    /// The ICU or builtin locale.
    pub locale: Option<String>,
    /// ICU rules.
    pub icu_rules: Option<String>,
    /// The collation version at the source.
    pub collation_version: Option<String>,
    /// -1 for none.
    pub connection_limit: i32,
    /// The tablespace.
    pub tablespace: String,
    /// The comment.
    pub comment: Option<String>,
    /// The access rights as SQL statements with `%DB%` for the quoted database name.
    pub grants: Vec<String>,
    /// `ALTER DATABASE` and `ALTER ROLE … IN DATABASE` statements with `%DB%` for the quoted database name.
    pub settings: Vec<String>,
}

/// A foreign key, for following rows to their parents and children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKeyRecord {
    /// The constraint.
    pub name: String,
    /// The referencing table, quoted.
    pub child: String,
    /// Its columns, quoted.
    pub child_columns: Vec<String>,
    /// The referenced table, quoted.
    pub parent: String,
    /// Its columns, quoted.
    pub parent_columns: Vec<String>,
}

/// A materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatviewRecord {
    /// Quoted name.
    pub qualified: String,
    /// It had been populated.
    pub populated: bool,
}

/// An index, for building the slowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// The schema, unquoted.
    pub schema: String,
    /// The index's name, unquoted; for a constraint's index, also the constraint's.
    pub name: String,
    /// The access method.
    pub method: String,
    /// Its size at the source.
    pub bytes: u64,
}

/// The PostgreSQL part of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PostgresDetail {
    /// `server_version_num` of the source.
    pub server_version_num: u32,
    /// Major version of the `pg_dump` that made the archives.
    pub client_major: u32,
    /// The encoding that chunks are in.
    pub encoding: String,
    /// The database's own settings.
    pub database: DatabaseRecord,
    /// Every table whose rows are here.
    pub tables: Vec<TableRecord>,
    /// Foreign keys.
    pub foreign_keys: Vec<ForeignKeyRecord>,
    /// Materialized views.
    pub matviews: Vec<MatviewRecord>,
    /// Indexes by size.
    #[serde(default)]
    pub indexes: Vec<IndexRecord>,
    /// Catalogue objects by kind, to be compared after a restore.
    pub object_counts: BTreeMap<String, u64>,
    /// Installed extensions with their versions.
    pub extensions: BTreeMap<String, String>,
    /// Roles that own something or are granted something.
    pub roles: Vec<String>,
    /// Roles that own something, the first superuser included.
    #[serde(default)]
    pub owners: Vec<String>,
    /// Tablespaces that tables and indexes lie in, besides the database's own.
    #[serde(default)]
    pub tablespaces: Vec<String>,
    /// How many large objects.
    pub large_objects: u64,
    /// Digest over the large objects; `None` where it could not be taken.
    pub large_objects_digest: Option<String>,
    /// `globals.sql` is among the objects.
    pub globals: bool,
    /// How long each phase took, in milliseconds.
    pub timings_ms: BTreeMap<String, u64>,
}

impl PostgresDetail {
    /// The PostgreSQL part of `manifest`.
    ///
    /// # Errors
    /// `Unsupported` for another engine's backup, `Corrupt` for details that cannot be read.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        if manifest.engine != "postgres" {
            let text = format!("backup {} was made by engine {}, not postgres", manifest.id, manifest.engine);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        serde_json::from_value(manifest.details.clone()).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("the PostgreSQL details of backup {} cannot be read", manifest.id))
                .with_source(e)
        })
    }

    /// The source's major version.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        self.server_version_num / 10_000
    }

    /// The table that `name` means: `schema.table`, a bare name that only one schema has, or the quoted form.
    ///
    /// # Errors
    /// `NotFound` or, for a bare name in several schemas, `Config` naming them.
    pub fn table(&self, name: &str) -> Result<&TableRecord> {
        let matches =
            |t: &&TableRecord| t.qualified == name || format!("{}.{}", t.schema, t.name) == name || t.name == name;
        let exact = |t: &&TableRecord| t.qualified == name || format!("{}.{}", t.schema, t.name) == name;
        if let Some(table) = self.tables.iter().find(exact) {
            return Ok(table);
        }
        let found: Vec<&TableRecord> = self.tables.iter().filter(matches).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let text = format!("the backup has no table `{name}`");
                Err(Error::new(ErrorKind::NotFound, text).with_help("see its tables: veza-dr show latest"))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|t| t.qualified.as_str()).collect();
                let text = format!("`{name}` may mean {}", names.join(" or "));
                Err(Error::new(ErrorKind::Config, text).with_help("write it with its schema"))
            }
        }
    }
}
