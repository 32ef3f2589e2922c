//! The digest of a stream: its entries, last id, groups, and what was delivered and not acknowledged.
//!
//! What not every version keeps (entries ever added, when a consumer was last seen) is left out.

use std::io::Read;

use veza_dr_core::Result;

use super::{
    hasher::{Sink, Text},
    input::Input,
    packed::{Packed, Packing},
    types::ValueType,
    value_digest::Workbench,
};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

impl<R: Read> Input<R> {
    pub(super) fn stream(&mut self, kind: ValueType, bench: &mut Workbench) -> Result<u128> {
        let mut entries = Sum::default();
        for _ in 0..self.length()? {
            let first = self.node_id()?;
            self.node(first, bench, &mut entries)?;
        }
        let (announced, last) = self.stream_head(kind)?;
        if announced != entries.count {
            let text = format!("a stream announces {announced} entries and has {}", entries.count);
            return Err(self.corrupt(text));
        }
        let mut groups = Sum::default();
        for _ in 0..self.length()? {
            let group = self.group(kind, bench)?;
            groups.add(group);
        }
        entries.write(bench);
        last.iter().for_each(|n| bench.whole.number(*n));
        groups.write(bench);
        Ok(bench.whole.finish())
    }

    /// The id that the entries of a node are counted from: 16 bytes, big-endian.
    fn node_id(&mut self) -> Result<[u64; 2]> {
        let name = self.string()?;
        match name.as_chunks::<8>() {
            ([ms, seq], []) => Ok([u64::from_be_bytes(*ms), u64::from_be_bytes(*seq)]),
            _ => Err(self.corrupt("a stream node's id is not of 16 bytes")),
        }
    }

    /// One node: a head with the usual fields, then entries.
    fn node(&mut self, first: [u64; 2], bench: &mut Workbench, entries: &mut Sum) -> Result<()> {
        let mut packed = Packed::open(self, Packing::Listpack)?;
        let Some(live) = self.maybe_number(&mut packed)? else {
            return Err(self.corrupt("a stream node without head"));
        };
        let deleted = self.number(&mut packed)?;
        let mut fields = Vec::new();
        for _ in 0..self.number(&mut packed)? {
            fields.push(self.element(&mut packed, bench)?);
        }
        self.number(&mut packed)?;
        let (before, mut skipped) = (entries.count, 0);
        while let Some(flags) = self.maybe_number(&mut packed)? {
            bench.whole.number(first[0].wrapping_add(self.number(&mut packed)? as u64));
            bench.whole.number(first[1].wrapping_add(self.number(&mut packed)? as u64));
            if flags & SAME_FIELDS != 0 {
                for field in &fields {
                    bench.whole.hash(*field);
                    let value = self.element(&mut packed, bench)?;
                    bench.whole.hash(value);
                }
            } else {
                for _ in 0..self.number(&mut packed)? {
                    for _ in 0..2 {
                        let one = self.element(&mut packed, bench)?;
                        bench.whole.hash(one);
                    }
                }
            }
            self.number(&mut packed)?;
            let hash = bench.whole.finish();
            if flags & DELETED == 0 {
                entries.add(hash);
            } else {
                skipped += 1;
            }
        }
        if live != (entries.count - before) as i64 || deleted != skipped {
            return Err(self.corrupt("a stream node has other entries than it announces"));
        }
        Ok(())
    }

    fn group(&mut self, kind: ValueType, bench: &mut Workbench) -> Result<u128> {
        self.string_to(&mut bench.part)?;
        bench.part.end_item();
        let name = bench.part.finish();
        let last = [self.length()?, self.length()?];
        if kind.byte() >= 19 {
            self.length()?;
        }
        let mut pending = Sum::default();
        for _ in 0..self.length()? {
            let id_and_time: [u8; 24] = self.array()?;
            bench.part.piece(&id_and_time);
            bench.part.number(self.length()?);
            pending.add(bench.part.finish());
        }
        let mut consumers = Sum::default();
        for _ in 0..self.length()? {
            consumers.add(self.consumer(kind, bench)?);
        }
        bench.whole.hash(name);
        last.iter().for_each(|n| bench.whole.number(*n));
        pending.write(bench);
        consumers.write(bench);
        Ok(bench.whole.finish())
    }

    fn consumer(&mut self, kind: ValueType, bench: &mut Workbench) -> Result<u128> {
        self.string_to(&mut bench.part)?;
        bench.part.end_item();
        let name = bench.part.finish();
        self.skip(if kind.byte() >= 21 { 16 } else { 8 })?;
        let mut pending = Sum::default();
        for _ in 0..self.length()? {
            let id: [u8; 16] = self.array()?;
            bench.part.piece(&id);
            pending.add(bench.part.finish());
        }
        bench.whole.hash(name);
        pending.write(bench);
        Ok(bench.whole.finish())
    }

    fn element(&mut self, packed: &mut Packed, bench: &mut Workbench) -> Result<u128> {
        if !packed.next(self, &mut bench.part)? {
            return Err(self.corrupt("a stream entry ends too early"));
        }
        bench.part.end_item();
        Ok(bench.part.finish())
    }

    fn number(&mut self, packed: &mut Packed) -> Result<i64> {
        self.maybe_number(packed)?.ok_or_else(|| self.corrupt("a stream entry ends too early"))
    }

    fn maybe_number(&mut self, packed: &mut Packed) -> Result<Option<i64>> {
        let mut text = Text::default();
        if !packed.next(self, &mut text)? {
            return Ok(None);
        }
        text.parse().map(Some).ok_or_else(|| self.corrupt("a number of a stream entry is none"))
    }
}

/// Hashes of things whose order does not count.
#[derive(Default)]
struct Sum {
    count: u64,
    sum: u128,
}

impl Sum {
    fn add(&mut self, hash: u128) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    fn write(&self, bench: &mut Workbench) {
        bench.whole.number(self.count);
        bench.whole.hash(self.sum);
    }
}
