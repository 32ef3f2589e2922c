//! Copies that are damaged on purpose: a store that gives one object of a backup back wrong.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use veza_dr_core::{
    BackupStore, Condition, Cx, Error, ErrorKind, Manifest, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter,
    PutOptions, Result, StoreCaps, StoreInfo, VersionTag,
};

/// What is done to a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Damage {
    /// One bit in the middle of the largest object is another one.
    BitFlip,
    /// The largest object ends half-way.
    Truncated,
    /// It is read with a key that it was not encrypted for.
    WrongKey,
}

impl Damage {
    /// The damage for the `n`th component of the `round`th control: all kinds take turns. `encrypted`: a wrong key
    /// means nothing for a copy that is not.
    #[must_use]
    pub fn in_turn(round: u64, n: usize, encrypted: bool) -> Self {
        let kinds: &[Self] = if encrypted {
            &[Self::BitFlip, Self::Truncated, Self::WrongKey]
        } else {
            &[Self::BitFlip, Self::Truncated]
        };
        let turn = usize::try_from(round % 6).unwrap_or(0) + n;
        kinds[turn % kinds.len()]
    }

    /// Its name, as records have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BitFlip => "bit_flip",
            Self::Truncated => "truncated",
            Self::WrongKey => "wrong_key",
        }
    }
}

/// A store whose copy of one backup's largest object is damaged, for whoever reads through it. The store itself is not
/// written to: everything that would write is refused.
///
/// ```
/// use std::sync::Arc;
/// use veza_dr_core::{BackupStore, Manifest};
/// use veza_dr_failover::drill::{Damage, DamagedStore};
///
/// fn damaged(store: Arc<dyn BackupStore>, manifest: &Manifest) -> Option<DamagedStore> {
///     DamagedStore::new(store, manifest, Damage::BitFlip)
/// }
/// ```
#[derive(Debug)]
pub struct DamagedStore {
    inner: Arc<dyn BackupStore>,
    key: String,
    stored: u64,
    damage: Damage,
}

impl DamagedStore {
    /// Damages the largest object of `manifest`. `None` when the backup has no object with content.
    #[must_use]
    pub fn new(inner: Arc<dyn BackupStore>, manifest: &Manifest, damage: Damage) -> Option<Self> {
        let object = manifest.objects.iter().filter(|o| o.stored_bytes > 0).max_by_key(|o| o.stored_bytes)?;
        let key = format!("{}/{}/{}", manifest.component, manifest.owner(object), object.name);
        Some(Self { inner, key, stored: object.stored_bytes, damage })
    }

    fn refuse<T>(&self) -> Result<T> {
        let text = format!("the damaged copy of store {} is only read", self.inner.info().name);
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BackupStore for DamagedStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StoreCaps {
        self.inner.capabilities()
    }

    async fn create(&self, _: &Cx, _: &ObjectKey, _: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        self.refuse()
    }

    async fn put(&self, _: &Cx, _: &ObjectKey, _: Bytes, _: Condition) -> Result<VersionTag> {
        self.refuse()
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        let inner = self.inner.get(cx, key, offset).await?;
        if key.as_str() != self.key || self.damage == Damage::WrongKey {
            return Ok(inner);
        }
        Ok(Box::new(Damaged { inner, at: offset, spot: self.stored / 2, damage: self.damage, ended: false }))
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        self.inner.head(cx, key).await
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.inner.list(cx, prefix).await
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_groups(cx, prefix).await
    }

    async fn delete(&self, _: &Cx, _: &ObjectKey) -> Result<()> {
        self.refuse()
    }

    async fn sweep(&self, _: &Cx, _: DateTime<Utc>) -> Result<u64> {
        self.refuse()
    }
}

struct Damaged {
    inner: Box<dyn ObjectReader>,
    at: u64,
    spot: u64,
    damage: Damage,
    ended: bool,
}

#[async_trait]
impl ObjectReader for Damaged {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let Some(piece) = self.inner.next().await? else { return Ok(None) };
        let begins = self.at;
        self.at += piece.len() as u64;
        if !(begins..self.at).contains(&self.spot) {
            return Ok(Some(piece));
        }
        let within = usize::try_from(self.spot - begins).unwrap_or(0);
        if self.damage == Damage::Truncated {
            self.ended = true;
            return Ok(Some(piece.slice(..within)));
        }
        let mut bytes = piece.to_vec();
        bytes[within] ^= 1;
        Ok(Some(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_kinds_take_turns_and_a_wrong_key_needs_encryption() {
        let kinds = |encrypted| (0..6).map(|r| Damage::in_turn(r, 0, encrypted).as_str()).collect::<BTreeSet<_>>();
        assert_eq!(kinds(true), BTreeSet::from(["bit_flip", "truncated", "wrong_key"]));
        assert_eq!(kinds(false), BTreeSet::from(["bit_flip", "truncated"]));
        assert_ne!(Damage::in_turn(4, 0, false), Damage::in_turn(4, 1, false));
    }
}
