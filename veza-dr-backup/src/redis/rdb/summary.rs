//! What an RDB contains, counted and digested: what a restore must bring back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use serde::{Deserialize, Serialize};
use veza_dr_core::{Result, manifest::ContentRecord};

use super::{
    hasher::{Hasher, Sink},
    reader::{Item, Key, Reader},
};

/// The name of the digest: a sum, modulo 2^128, of the XXH3-128 hash of each key with its type, expiry and content,
/// whatever form a server keeps that in.
pub const DIGEST: &str = "xxh3-128-sum-redis";

/// The name of the content record that stands for the function libraries.
pub const FUNCTIONS: &str = "functions";

/// One database of an RDB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DbSummary {
    /// How many keys.
    pub keys: u64,
    /// How many of them expire.
    pub expires: u64,
    /// When the first of them expires, in milliseconds since 1970; `None` where none does, or a backup does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_expiry: Option<u64>,
    /// How many of each type, by the word that `TYPE` answers.
    pub types: BTreeMap<String, u64>,
    /// How many have content that only a module understands: their name, type and expiry are digested, no more.
    pub undigested: u64,
    /// The digest of all keys, with its algorithm's name.
    pub digest: String,
}

/// All of an RDB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The first nine bytes, such as `REDIS0010`.
    pub magic: String,
    /// The format's version.
    pub version: u32,
    /// Its length.
    pub bytes: u64,
    /// Whether it ends in a checksum, which was right.
    pub checksum: bool,
    /// What it says about the server: `redis-ver`, `ctime`, `used-mem`.
    pub aux: BTreeMap<String, String>,
    /// Each database that it names.
    pub databases: BTreeMap<u64, DbSummary>,
    /// How many function libraries.
    pub functions: u64,
    /// The digest of their code.
    pub functions_digest: String,
    /// The modules whose data is in it.
    pub modules: BTreeSet<String>,
}

impl Summary {
    /// Reads an RDB to its end and proves it whole.
    ///
    /// # Errors
    /// Those of [`Reader::next`].
    pub fn of(reader: &mut Reader<impl Read>) -> Result<Self> {
        Self::of_keys(reader, |_| true)
    }

    /// The same, counting and digesting those keys alone that `wanted` picks: such as those that have not expired by
    /// the time they are compared. It may change a key's database or expiry, which are counted as it leaves them.
    ///
    /// # Errors
    /// Those of [`Reader::next`].
    pub fn of_keys(reader: &mut Reader<impl Read>, mut wanted: impl FnMut(&mut Key) -> bool) -> Result<Self> {
        let header = reader.header();
        let mut summary = Self { magic: header.to_string(), version: header.version, ..Self::default() };
        let (mut sums, mut functions) = (BTreeMap::<u64, u128>::new(), 0u128);
        let mut hasher = Hasher::default();
        while let Some(item) = reader.next()? {
            match item {
                Item::Aux(name, value) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    // A hostile file may name any number of them.
                    if summary.aux.len() < 100 {
                        summary.aux.insert(text(&name), text(&value));
                    }
                }
                Item::Function(code) => {
                    summary.functions += 1;
                    hasher.piece(&code);
                    functions = functions.wrapping_add(hasher.finish());
                }
                Item::Module(name) => drop(summary.modules.insert(name)),
                Item::Key(mut key) => {
                    if !wanted(&mut key) {
                        continue;
                    }
                    let db = summary.databases.entry(key.db).or_default();
                    let sum = sums.entry(key.db).or_default();
                    *sum = sum.wrapping_add(add(reader, &key, db, &mut summary.modules, &mut hasher)?);
                }
            }
        }
        for (db, summary) in &mut summary.databases {
            summary.digest = format!("{DIGEST}:{:032x}", sums.get(db).copied().unwrap_or_default());
        }
        summary.functions_digest = format!("{DIGEST}:{functions:032x}");
        (summary.bytes, summary.checksum) = (reader.offset(), reader.has_checksum());
        Ok(summary)
    }

    /// Keys of all databases.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|d| d.keys).sum()
    }

    /// Whether no key of it has expired by then, in milliseconds since 1970: `false` also when it does not say.
    #[must_use]
    pub fn outlives(&self, at: u64) -> bool {
        self.databases.values().all(|d| d.expires == 0 || d.first_expiry.is_some_and(|first| first > at))
    }

    /// One record for each database, `db0` and so on, and one for the functions.
    #[must_use]
    pub fn contents(&self) -> Vec<ContentRecord> {
        let databases = self.databases.iter().filter(|(_, d)| d.keys > 0);
        let mut records: Vec<_> = databases
            .map(|(n, d)| ContentRecord { name: format!("db{n}"), rows: d.keys, digest: Some(d.digest.clone()) })
            .collect();
        let digest = Some(self.functions_digest.clone());
        records.push(ContentRecord { name: FUNCTIONS.to_owned(), rows: self.functions, digest });
        records
    }

    /// The same for this RDB and others that are parts of one whole: the masters of a cluster.
    pub fn merge(&mut self, other: &Self) {
        for (n, from) in &other.databases {
            let into = self.databases.entry(*n).or_default();
            into.first_expiry = match (into.expires, from.expires) {
                (0, _) => from.first_expiry,
                (_, 0) => into.first_expiry,
                // Of a part that does not say, the whole does not know.
                _ => into.first_expiry.zip(from.first_expiry).map(|(a, b)| a.min(b)),
            };
            into.keys += from.keys;
            into.expires += from.expires;
            into.undigested += from.undigested;
            into.digest = sum_of(&into.digest, &from.digest);
            for (name, count) in &from.types {
                *into.types.entry(name.clone()).or_default() += count;
            }
        }
        self.bytes += other.bytes;
        self.checksum &= other.checksum;
        self.modules.extend(other.modules.iter().cloned());
        // Every master of a cluster has all libraries.
        if self.functions < other.functions {
            (self.functions, self.functions_digest) = (other.functions, other.functions_digest.clone());
        }
    }
}

fn add(
    reader: &mut Reader<impl Read>,
    key: &Key,
    db: &mut DbSummary,
    modules: &mut BTreeSet<String>,
    hasher: &mut Hasher,
) -> Result<u128> {
    db.keys += 1;
    if let Some(at) = key.expires_at {
        db.expires += 1;
        db.first_expiry = Some(db.first_expiry.map_or(at, |first| first.min(at)));
    }
    let class = key.kind.class().name();
    let module = reader.value_module()?;
    let content = if module.is_some() { None } else { reader.value_digest()? };
    match &module {
        Some(name) => {
            *db.types.entry(format!("{class}:{name}")).or_default() += 1;
            modules.insert(name.clone());
        }
        None => match db.types.get_mut(class) {
            Some(count) => *count += 1,
            None => drop(db.types.insert(class.to_owned(), 1)),
        },
    }
    db.undigested += u64::from(content.is_none());
    hasher.piece(&key.name);
    hasher.end_item();
    hasher.piece(class.as_bytes());
    hasher.end_item();
    hasher.number(key.expires_at.map_or(u64::MAX, |at| at.min(u64::MAX - 1)));
    hasher.hash(content.unwrap_or_default());
    Ok(hasher.finish())
}

fn sum_of(a: &str, b: &str) -> String {
    let read = |text: &str| text.rsplit(':').next().and_then(|t| u128::from_str_radix(t, 16).ok()).unwrap_or_default();
    format!("{DIGEST}:{:032x}", read(a).wrapping_add(read(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expires: u64, first_expiry: Option<u64>) -> Summary {
        let db = DbSummary { keys: 3, expires, first_expiry, ..DbSummary::default() };
        Summary { databases: BTreeMap::from([(0, db)]), ..Summary::default() }
    }

    #[test]
    fn a_whole_expires_first_when_its_first_part_does_and_unknown_stays_unknown() {
        let merged = |a: Summary, b: Summary| {
            let mut whole = a;
            whole.merge(&b);
            whole
        };
        assert!(of(0, None).outlives(u64::MAX));
        assert!(of(1, Some(100)).outlives(99) && !of(1, Some(100)).outlives(100));
        assert!(!of(1, None).outlives(0), "it does not say");
        for (a, b) in [(of(2, Some(100)), of(1, Some(50))), (of(1, Some(50)), of(2, Some(100)))] {
            assert_eq!(merged(a, b), Summary { checksum: false, ..sum(6, 3, Some(50)) });
        }
        assert!(merged(of(0, None), of(1, Some(50))).outlives(49));
        assert!(merged(of(1, Some(50)), of(0, None)).outlives(49));
        assert!(!merged(of(1, None), of(1, Some(50))).outlives(0));
    }

    fn sum(keys: u64, expires: u64, first_expiry: Option<u64>) -> Summary {
        let digest = format!("{DIGEST}:{:032x}", 0);
        let db = DbSummary { keys, expires, first_expiry, digest, ..DbSummary::default() };
        Summary { databases: BTreeMap::from([(0, db)]), ..Summary::default() }
    }
}
