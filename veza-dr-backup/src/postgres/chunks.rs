//! Cuts tables into ranges of pages that are copied in parallel, each range its own object.

use std::collections::BTreeMap;

use super::catalog::SourceTable;

const BLOCK: u64 = 8192;
/// Below this a chunk is not worth a connection's turn.
const SMALLEST: u64 = 16 << 20;
/// How much of a table one object holds at the most, unless the configuration says otherwise.
pub(crate) const DEFAULT_CHUNK: u64 = 128 << 20;

/// One range of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Index into the list of tables.
    pub(crate) table: usize,
    /// Its place in the table, from 0.
    pub(crate) index: usize,
    /// First page; `None` where the whole table is one chunk.
    pub(crate) from: Option<u64>,
    /// The page after the last; `None` for the last chunk, which is open-ended.
    pub(crate) to: Option<u64>,
    /// About how many bytes it has at the source.
    pub(crate) weight: u64,
}

impl Chunk {
    /// The condition that selects its rows; empty for a whole table.
    pub(crate) fn condition(&self) -> String {
        let mut parts = Vec::new();
        if let Some(from) = self.from {
            parts.push(format!("ctid >= '({from},0)'::pg_catalog.tid"));
        }
        if let Some(to) = self.to {
            parts.push(format!("ctid < '({to},0)'::pg_catalog.tid"));
        }
        if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
    }
}

/// Cuts every table, biggest chunk first. `sizes` were taken after the snapshot: rows added later lie beyond the last
/// page, in a chunk without an end, where the snapshot hides them.
pub(crate) fn cut(
    tables: &[SourceTable],
    sizes: &BTreeMap<u32, (u64, u64, u32)>,
    jobs: usize,
    limit: u64,
    server_major: u32,
) -> Vec<Chunk> {
    let weigh = |t: &SourceTable| sizes.get(&t.oid).map_or((0, 0), |s| (s.0, s.1));
    let total: u64 = tables.iter().map(|t| weigh(t).0 + weigh(t).1).sum();
    // Enough pieces that no stream is left alone with a long tail.
    let target = (total / (jobs as u64 * 8)).clamp(SMALLEST.min(limit), limit);
    let mut chunks = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let (heap, toast) = weigh(table);
        let weight = heap + toast;
        let blocks = heap / BLOCK;
        // TID range scans exist since 14; before, each range would read the whole table.
        let divisible = table.heap && server_major >= 14 && !table.residual && blocks > 1 && weight > target;
        if !divisible {
            chunks.push(Chunk { table: index, index: 0, from: None, to: None, weight });
            continue;
        }
        let count = weight.div_ceil(target).min(blocks);
        let step = blocks.div_ceil(count);
        let mut from = 0;
        let mut at = 0;
        while from < blocks {
            let to = from + step;
            chunks.push(Chunk {
                table: index,
                index: at,
                from: (from > 0).then_some(from),
                to: (to < blocks).then_some(to),
                weight: weight * step / blocks,
            });
            from = to;
            at += 1;
        }
    }
    chunks.sort_by_key(|c| std::cmp::Reverse(c.weight));
    chunks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(oid: u32) -> SourceTable {
        SourceTable {
            oid,
            schema: "s".into(),
            name: "t".into(),
            qualified: "s.t".into(),
            columns: vec!["a".into()],
            root: None,
            load_via_root: false,
            residual: false,
            heap: true,
            readable: true,
            row_security_hides: false,
            unlogged: false,
            relfilenode: 1,
        }
    }

    proptest! {
        #[test]
        fn every_page_lies_in_exactly_one_chunk(blocks in 0u64..2_000_000, toast in 0u64..1 << 40, jobs in 1usize..64) {
            let sizes = BTreeMap::from([(7, (blocks * BLOCK, toast, 1))]);
            let mut chunks = cut(&[table(7)], &sizes, jobs, DEFAULT_CHUNK, 15);
            chunks.sort_by_key(|c| c.index);
            prop_assert!(!chunks.is_empty());
            prop_assert_eq!(chunks[0].from, None);
            prop_assert_eq!(chunks[chunks.len() - 1].to, None);
            for pair in chunks.windows(2) {
                prop_assert!(pair[0].to.is_some());
                prop_assert_eq!(pair[0].to, pair[1].from);
            }
        }
    }

    #[test]
    fn a_table_is_never_cut_before_14_nor_without_heap_pages() {
        let sizes = BTreeMap::from([(7, (10 << 30, 0, 1))]);
        assert_eq!(cut(&[table(7)], &sizes, 2, DEFAULT_CHUNK, 13).len(), 1);
        let other = SourceTable { heap: false, ..table(7) };
        assert_eq!(cut(&[other], &sizes, 2, DEFAULT_CHUNK, 15).len(), 1);
        assert!(cut(&[table(7)], &sizes, 2, DEFAULT_CHUNK, 15).len() > 50);
    }
}
