//! Indexes, keys, triggers, rights: which archive entries can be built early, and what is left for the end.

use std::collections::{BTreeMap, BTreeSet};

use veza_dr_backup::postgres::{IndexRecord, PostgresDetail, TocEntry};

use super::schedule::Build;

/// Tables smaller than this leave their indexes to one `pg_restore` at the end: starting a process costs more.
const WORTH_A_PROCESS: u64 = 8 << 20;

/// Entries that `pg_restore` restores after everything else, or that we apply in a pass of their own.
pub(crate) fn is_acl(entry: &TocEntry) -> bool {
    matches!(entry.kind.as_str(), "ACL" | "DEFAULT ACL" | "DATABASE ACL")
}

/// Kinds that rows still missing may depend on.
pub(crate) fn is_index_like(entry: &TocEntry) -> bool {
    matches!(entry.kind.as_str(), "INDEX" | "CONSTRAINT" | "INDEX ATTACH" | "STATISTICS")
}

/// Archive entries by the table they are built on, for tables worth it.
pub(crate) fn early(
    toc: &[TocEntry],
    dependencies: &BTreeMap<u32, BTreeSet<u32>>,
    detail: &PostgresDetail,
) -> BTreeMap<usize, Vec<Build>> {
    let tables: BTreeMap<String, usize> = detail
        .tables
        .iter()
        .enumerate()
        .filter(|(_, t)| t.source_bytes >= WORTH_A_PROCESS && !t.residual)
        .map(|(at, t)| (listed(&t.schema, &t.name), at))
        .collect();
    // A list line is "schema name owner": only a name that leaves one line without doubt is used.
    let mut by_id: BTreeMap<u32, usize> = BTreeMap::new();
    for entry in toc.iter().filter(|e| e.kind == "TABLE") {
        let mut candidates = tables
            .iter()
            .filter(|(name, _)| entry.rest.strip_prefix(name.as_str()).is_some_and(|r| r.starts_with(' ')));
        if let (Some((_, at)), None) = (candidates.next(), candidates.next()) {
            by_id.insert(entry.id, *at);
        }
    }
    let mut found: BTreeMap<usize, Vec<Build>> = BTreeMap::new();
    for entry in toc.iter().filter(|e| matches!(e.kind.as_str(), "INDEX" | "CONSTRAINT")) {
        let Some(needs) = dependencies.get(&entry.id) else { continue };
        let on: Vec<usize> = needs.iter().filter_map(|d| by_id.get(d).copied()).collect();
        // Anything else that it needs must come before: left to pg_restore, which knows the order.
        let ([table], true) = (on.as_slice(), needs.len() == 1) else { continue };
        let build =
            Build { entry: entry.id, exclusive: entry.kind == "CONSTRAINT", cost: cost(entry, &detail.indexes) };
        found.entry(*table).or_default().push(build);
    }
    found
}

/// How long an index takes, judged by its size at the source and its kind: inverted and search-tree indexes take many
/// times as long for each byte as sorted ones.
fn cost(entry: &TocEntry, indexes: &[IndexRecord]) -> u64 {
    let mine = indexes.iter().filter(|i| {
        entry
            .rest
            .strip_prefix(i.schema.as_str())
            .is_some_and(|rest| rest.split(' ').any(|word| word == i.name) || rest.contains(&format!(" {} ", i.name)))
    });
    mine.map(|i| {
        let factor = match i.method.as_str() {
            "gin" => 12,
            "gist" | "spgist" | "hnsw" | "ivfflat" => 8,
            "hash" => 2,
            _ => 1,
        };
        i.bytes.saturating_mul(factor)
    })
    .max()
    .unwrap_or(1)
}

fn listed(schema: &str, name: &str) -> String {
    let plain = |s: &str| s.replace(['\n', '\r'], " ");
    format!("{} {}", plain(schema), plain(name))
}

#[cfg(test)]
mod tests {
    use veza_dr_backup::postgres::parse_toc;

    use super::*;

    #[test]
    fn inverted_indexes_count_as_slower_than_larger_sorted_ones() {
        let toc = parse_toc(
            "3313; 1259 16528 INDEX public messages_search postgres\n\
             3312; 1259 16527 INDEX public messages_room_created postgres\n",
        );
        let record = |name: &str, method: &str, bytes| IndexRecord {
            schema: "public".into(),
            name: name.into(),
            method: method.into(),
            bytes,
        };
        let indexes = [record("messages_search", "gin", 10), record("messages_room_created", "btree", 100)];
        assert!(cost(&toc[0], &indexes) > cost(&toc[1], &indexes));
    }
}
