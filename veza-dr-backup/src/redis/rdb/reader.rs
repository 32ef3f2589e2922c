//! Reads an RDB item by item, and proves at its end that it was whole.

use std::{collections::BTreeMap, fmt, io::Read, ops::Range};

use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    input::Input,
    skip::module_name,
    types::{Header, ValueType},
    value_digest::Workbench,
};

/// A key, met before its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// The number of its database.
    pub db: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// The form of its value.
    pub kind: ValueType,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// For how many seconds nobody used it, where the server evicts by that (`RESTORE … IDLETIME`).
    pub idle: Option<u64>,
    /// How often it is used, where the server evicts by that (`RESTORE … FREQ`).
    pub freq: Option<u8>,
}

/// What an RDB consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// A fact about the server: `redis-ver`, `ctime`, `used-mem`.
    Aux(Vec<u8>, Vec<u8>),
    /// A function library's code.
    Function(Vec<u8>),
    /// What the module of this name saved beside the keys.
    Module(String),
    /// A key; its value comes next.
    Key(Key),
}

/// A value as it lies in the RDB, without its type byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawValue {
    /// Its bytes.
    Whole(Vec<u8>),
    /// It is larger than asked for: where it lies in the RDB.
    Large(Range<u64>),
}

/// Reads an RDB from its first byte to its last, in bounded memory: 128 KiB, the longest key, the longest library.
///
/// Calls block while the input does. Whatever the input holds, the answer is an item or an error: no length that it
/// announces is believed before the bytes are there.
///
/// ```
/// use veza_dr_backup::redis::rdb::{Item, RawValue, Reader};
/// // One key, `k` = `v`, without checksum.
/// let rdb = b"REDIS0010\xfe\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
/// let mut reader = Reader::new(&rdb[..])?;
/// let Some(Item::Key(key)) = reader.next()? else { panic!("a key comes first") };
/// assert_eq!((key.db, &key.name[..]), (0, &b"k"[..]));
/// assert_eq!(reader.value(1024)?, RawValue::Whole(b"\x01v".to_vec()));
/// assert!(reader.next()?.is_none() && !reader.has_checksum());
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
pub struct Reader<R> {
    input: Input<R>,
    header: Header,
    db: u64,
    databases: BTreeMap<u64, Totals>,
    /// The value of the key that was given out last, if nobody read it.
    pending: Option<ValueType>,
    bench: Workbench,
    checksum: bool,
    ended: bool,
}

#[derive(Default)]
struct Totals {
    announced: Option<u64>,
    found: u64,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("header", &self.header).field("db", &self.db).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the first nine bytes.
    ///
    /// # Errors
    /// `Corrupt` when they begin no RDB.
    pub fn new(from: R) -> Result<Self> {
        let mut input = Input::new(from);
        let header = Header::parse(input.array()?)?;
        let (databases, bench) = (BTreeMap::new(), Workbench::default());
        Ok(Self { input, header, db: 0, databases, pending: None, bench, checksum: false, ended: false })
    }

    /// Whose format it is, and which version.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many bytes were read so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// At the end: whether the file had a checksum (and it was right). Servers with `rdbchecksum no` write none.
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.checksum
    }

    /// The next item; a value that was not asked for is passed over. `None` once the end was reached and found right:
    /// checksum, number of keys of each database, nothing behind it.
    ///
    /// # Errors
    /// `Corrupt` where the data is not an RDB, is cut off, or not what its checksum says; `Unsupported` for an item
    /// that this build does not know; `Unavailable` when the input cannot be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot lend its values, and would go on after errors"
    )]
    pub fn next(&mut self) -> Result<Option<Item>> {
        if self.ended {
            return Ok(None);
        }
        self.skip_value()?;
        let (mut expires_at, mut idle, mut freq) = (None, None, None);
        loop {
            match self.input.u8()? {
                0xff => return self.end().map(|()| None),
                0xfe => {
                    self.db = self.input.length()?;
                    self.databases.entry(self.db).or_default();
                }
                0xfd => {
                    let seconds = i32::from_le_bytes(self.input.array()?);
                    expires_at = Some(u64::try_from(i64::from(seconds) * 1000).unwrap_or(0));
                }
                0xfc => expires_at = Some(u64::try_from(i64::from_le_bytes(self.input.array()?)).unwrap_or(0)),
                0xfb => {
                    let (keys, _expiring) = (self.input.length()?, self.input.length()?);
                    let totals = self.databases.entry(self.db).or_default();
                    totals.announced = Some(totals.announced.unwrap_or(0).saturating_add(keys));
                }
                0xfa => return Ok(Some(Item::Aux(self.input.string()?, self.input.string()?))),
                0xf9 => freq = Some(self.input.u8()?),
                0xf8 => idle = Some(self.input.length()?),
                0xf7 => {
                    let name = module_name(self.input.length()?);
                    self.input.skip_module()?;
                    return Ok(Some(Item::Module(name)));
                }
                0xf5 => return Ok(Some(Item::Function(self.input.string()?))),
                // How many keys the next cluster slot has: the databases' totals say more.
                0xf4 => {
                    for _ in 0..3 {
                        self.input.length()?;
                    }
                }
                byte if byte >= 0xf0 => return Err(self.unknown(byte)),
                byte => {
                    let kind = ValueType::of(byte, self.header).map_err(|e| {
                        e.with_context("offset", self.input.offset().to_string())
                            .with_context("db", self.db.to_string())
                    })?;
                    let name = self.input.string()?;
                    self.pending = Some(kind);
                    self.databases.entry(self.db).or_default().found += 1;
                    return Ok(Some(Item::Key(Key { db: self.db, name, kind, expires_at, idle, freq })));
                }
            }
        }
    }

    /// Passes over the value of the key that came last; does nothing when it was read.
    ///
    /// # Errors
    /// Those of [`Reader::next`].
    pub fn skip_value(&mut self) -> Result<()> {
        self.pending.take().map_or(Ok(()), |kind| self.input.skip_value(kind))
    }

    /// The value of the key that came last as it lies in the RDB: what follows the type byte in a `RESTORE` payload.
    /// One of more than `limit` bytes is passed over, and its place given.
    ///
    /// # Errors
    /// Those of [`Reader::next`]; `Unexpected` when the value was read already.
    pub fn value(&mut self, limit: u64) -> Result<RawValue> {
        let kind = self.take_pending()?;
        self.input.keep(limit);
        self.input.skip_value(kind)?;
        let (from, bytes) = self.input.kept();
        Ok(bytes.map_or_else(|| RawValue::Large(from..self.input.offset()), RawValue::Whole))
    }

    /// The digest of the content of the value of the key that came last, the same in every form that a server may
    /// keep it in; `None` for one that only its module understands. Large values pass through.
    ///
    /// # Errors
    /// Those of [`Reader::next`]; `Unexpected` when the value was read already.
    pub fn value_digest(&mut self) -> Result<Option<u128>> {
        let kind = self.take_pending()?;
        self.input.digest_value(kind, &mut self.bench)
    }

    /// The name of the module that understands the value of the key that came last, which is passed over; `None`
    /// when it is of no module.
    pub(super) fn value_module(&mut self) -> Result<Option<String>> {
        match self.pending {
            Some(kind) if kind.byte() == 7 => {
                self.pending = None;
                let name = module_name(self.input.length()?);
                self.input.skip_module()?;
                Ok(Some(name))
            }
            _ => Ok(None),
        }
    }

    fn take_pending(&mut self) -> Result<ValueType> {
        self.pending.take().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the value of this key was read already"))
    }

    fn end(&mut self) -> Result<()> {
        if self.header.version >= 5 {
            let computed = self.input.crc();
            let stored = u64::from_le_bytes(self.input.array()?);
            if stored != 0 && stored != computed {
                let text = format!("its checksum is {computed:016x}, {stored:016x} was stored");
                return Err(self.input.corrupt(text));
            }
            self.checksum = stored != 0;
        }
        if !self.input.peek()?.is_empty() {
            return Err(self.input.corrupt("it goes on after its end"));
        }
        for (db, totals) in &self.databases {
            if totals.announced.is_some_and(|announced| announced != totals.found) {
                let (announced, found) = (totals.announced.unwrap_or(0), totals.found);
                return Err(self.input.corrupt(format!("db{db} announces {announced} keys and has {found}")));
            }
        }
        self.ended = true;
        Ok(())
    }

    fn unknown(&self, byte: u8) -> Error {
        let text = format!("item {byte} of {} at byte {} is not known to this build", self.header, self.offset());
        Error::new(ErrorKind::Unsupported, text)
            .with_help("the server is newer than this build of veza-dr: use a newer one")
    }
}
