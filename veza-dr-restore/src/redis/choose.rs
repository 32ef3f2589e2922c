//! Which way a restore takes, and what stands in its way: rules over facts, without I/O.

use std::collections::BTreeMap;

use super::{
    info::{Product, Version},
    options::{RedisRestoreOptions, RedisWay, TtlPolicy},
};

/// What is known of the data to restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BackupFacts {
    /// `REDIS` or `VALKEY`.
    pub(crate) magic: String,
    pub(crate) rdb_version: u32,
    /// Keys per database.
    pub(crate) databases: BTreeMap<u64, u64>,
    /// Modules whose data are in it.
    pub(crate) modules: Vec<String>,
    /// What the source's data took in memory.
    pub(crate) used_memory: Option<u64>,
    pub(crate) functions: u64,
}

/// What is known of the server.
#[derive(Debug, Clone)]
pub(crate) struct TargetFacts {
    pub(crate) product: Product,
    pub(crate) version: Version,
    /// The newest RDB that it reads; `None` when that is not known.
    pub(crate) reads: Option<u32>,
    pub(crate) run_id: String,
    /// The host and port it replicates from; `None` for a master.
    pub(crate) replica_of: Option<(String, u16)>,
    pub(crate) cluster: bool,
    pub(crate) loading: bool,
    /// `CONFIG GET databases`; `None` when it may not be asked.
    pub(crate) databases: Option<u64>,
    pub(crate) keyspace: BTreeMap<u64, u64>,
    pub(crate) used_memory: u64,
    pub(crate) maxmemory: u64,
    pub(crate) system_memory: Option<u64>,
    pub(crate) modules: Vec<String>,
    /// `CONFIG` may be used.
    pub(crate) configurable: bool,
    pub(crate) tls_replication: bool,
    /// Sentinels that are connected; `None` when that may not be asked.
    pub(crate) sentinels: Option<usize>,
    pub(crate) replicas: u64,
}

/// The way that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) way: RedisWay,
    pub(crate) reason: String,
    /// The server keeps its data in memory until the new ones are there.
    pub(crate) swapdb: bool,
    pub(crate) blockers: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Chooses. `only` is true when single keys are asked for; `ours` when what it replicates from is a restore of ours
/// that was cut off.
pub(crate) fn choose(
    options: &RedisRestoreOptions,
    only: bool,
    ours: bool,
    target: &TargetFacts,
    backup: &BackupFacts,
) -> Choice {
    let mut choice = Choice {
        way: options.way,
        reason: "the configuration says so".to_owned(),
        swapdb: fits_twice(target, backup) && target.version >= Version(7, 0, 0) && target.modules.is_empty(),
        blockers: whatever_the_way(ours, target, backup),
        warnings: Vec::new(),
    };
    let replication = against_replication(options, target, backup);
    let keys = against_keys(options, only, target, backup);
    match options.way {
        RedisWay::Auto if only => {
            (choice.way, choice.reason) = (RedisWay::Keys, "single keys are asked for".to_owned())
        }
        RedisWay::Auto if options.ttl != TtlPolicy::Keep => {
            (choice.way, choice.reason) = (RedisWay::Keys, "expiries are to be changed".to_owned());
        }
        RedisWay::Auto if replication.is_empty() => {
            let reason = "a master that can replicate from us: atomic, without restart";
            (choice.way, choice.reason) = (RedisWay::Replication, reason.to_owned());
        }
        RedisWay::Auto => {
            (choice.way, choice.reason) = (RedisWay::Keys, format!("no replication: {}", replication.join("; ")));
        }
        RedisWay::Replication | RedisWay::File if only => {
            choice.blockers.push("single keys can only be restored by the way of keys".to_owned());
        }
        RedisWay::Replication | RedisWay::File if options.ttl != TtlPolicy::Keep => {
            choice.blockers.push("expiries can only be changed by the way of keys".to_owned());
        }
        _ => {}
    }
    match choice.way {
        RedisWay::Replication => {
            choice.blockers.extend(replication);
            if !choice.swapdb {
                choice.warnings.push(
                    "while it loads, the server answers -LOADING: there is no room, or no way, to load \
                    beside the old data"
                        .to_owned(),
                );
            }
            if target.replicas > 0 {
                choice.warnings.push(format!("its {} replicas will copy all data from it again", target.replicas));
            }
        }
        RedisWay::Keys => choice.blockers.extend(keys),
        RedisWay::File if options.instance.is_none() => {
            choice.blockers.push("no container is named whose files could be replaced".to_owned());
        }
        RedisWay::File | RedisWay::Auto => {}
    }
    if target.reads.is_none() {
        choice.warnings.push(format!(
            "which RDB versions {} reads is not known: that is seen from the copy that it makes of itself",
            target.version
        ));
    }
    choice
}

fn whatever_the_way(ours: bool, target: &TargetFacts, backup: &BackupFacts) -> Vec<String> {
    let mut blockers = Vec::new();
    if let Some((host, port)) = &target.replica_of
        && !ours
    {
        blockers.push(format!("the server is a replica of {host}:{port}: restore to the master"));
    }
    if target.loading && !ours {
        blockers.push("the server is loading its data: wait until it has".to_owned());
    }
    if let (Some(databases), Some((last, _))) = (target.databases, backup.databases.last_key_value())
        && *last >= databases
    {
        blockers.push(format!(
            "the backup has database {last}, the server has {databases}: set `databases {}` in its configuration",
            last + 1
        ));
    }
    let missing: Vec<&str> =
        backup.modules.iter().filter(|m| !target.modules.contains(m)).map(String::as_str).collect();
    if !missing.is_empty() {
        blockers.push(format!("the server lacks modules that the data are of: {}", missing.join(", ")));
    }
    if let Some(needed) = backup.used_memory.filter(|n| target.maxmemory > 0 && *n > target.maxmemory) {
        blockers.push(format!(
            "the data took {needed} bytes, the server's maxmemory is {}: raise it, or keys would be evicted or refused",
            target.maxmemory
        ));
    }
    if backup.magic != "REDIS" && !(backup.magic == "VALKEY" && target.product == Product::Valkey) {
        blockers.push(format!("a file of the format {} cannot be read by this server", backup.magic));
    }
    blockers
}

/// What Redis came up with after Valkey had gone its own way: to Valkey these versions are somebody else's (`rdb.h` of
/// Valkey 9), although its own numbers are higher.
fn foreign(target: &TargetFacts, backup: &BackupFacts) -> Option<String> {
    let theirs = target.product == Product::Valkey && backup.magic == "REDIS" && backup.rdb_version > 11;
    theirs.then(|| format!("the backup is RDB version {} of Redis, which Valkey does not read", backup.rdb_version))
}

fn against_replication(options: &RedisRestoreOptions, target: &TargetFacts, backup: &BackupFacts) -> Vec<String> {
    let mut against = Vec::new();
    if target.cluster {
        against.push("it is part of a cluster".to_owned());
    }
    if target.version < Version(6, 0, 0) {
        against.push(format!("version {} has no masteruser", target.version));
    }
    if let Some(reads) = target.reads.filter(|reads| *reads < backup.rdb_version) {
        against.push(format!("the backup is RDB version {}, it reads up to {reads}", backup.rdb_version));
    }
    against.extend(foreign(target, backup));
    if !target.configurable {
        against.push("CONFIG is not allowed".to_owned());
    }
    if target.tls_replication && options.replication_tls.is_none() {
        against.push("it replicates over TLS, and no certificate is given for that: replication_tls".to_owned());
    }
    match target.sentinels.filter(|_| options.sentinels.is_none()) {
        None if options.sentinels.is_none() => against
            .push("whether sentinels watch it may not be asked: allow CLIENT LIST, or name them: sentinels".to_owned()),
        None | Some(0) => {}
        Some(watching) => against
            .push(format!("{watching} sentinels watch it and would fail over to an old replica: name them: sentinels")),
    }
    against
}

fn against_keys(options: &RedisRestoreOptions, only: bool, target: &TargetFacts, backup: &BackupFacts) -> Vec<String> {
    let mut against = Vec::new();
    if target.cluster && backup.databases.keys().any(|d| *d != 0) {
        let list: Vec<String> = backup.databases.keys().map(u64::to_string).collect();
        against.push(format!("a cluster has one database, the backup has {}", list.join(", ")));
    }
    if !backup.modules.is_empty() {
        against.push(format!("data of modules cannot be restored key by key: {}", backup.modules.join(", ")));
    }
    if let Some(reads) = target.reads.filter(|reads| *reads < backup.rdb_version && !options.allow_downgrade) {
        against.push(format!(
            "the backup is RDB version {}, the server reads up to {reads}: restore to a newer server, or try \
             allow_downgrade",
            backup.rdb_version
        ));
    }
    if !options.allow_downgrade {
        against.extend(foreign(target, backup));
    }
    if !only && !target.cluster {
        let spare = spare_databases(target, backup);
        if let Err(why) = spare {
            against.push(why);
        }
    }
    against
}

/// For each database of the backup or of the target an empty one that is nobody's, to fill beside it.
pub(crate) fn spare_databases(target: &TargetFacts, backup: &BackupFacts) -> Result<BTreeMap<u64, u64>, String> {
    let databases = target.databases.unwrap_or(16);
    let mut free = (0..databases)
        .rev()
        .filter(|d| target.keyspace.get(d).is_none_or(|keys| *keys == 0) && !backup.databases.contains_key(d));
    let mut spare = BTreeMap::new();
    for database in backup.databases.keys() {
        let Some(beside) = free.next() else {
            return Err(format!(
                "the server has no empty database left to fill beside database {database}: raise `databases`"
            ));
        };
        spare.insert(*database, beside);
    }
    Ok(spare)
}

/// The old and the new data fit into memory together.
fn fits_twice(target: &TargetFacts, backup: &BackupFacts) -> bool {
    let Some(needed) = backup.used_memory.and_then(|n| n.checked_add(target.used_memory)) else { return false };
    let limit = match (target.maxmemory, target.system_memory) {
        (0, None) => return false,
        (0, Some(system)) => system / 10 * 8,
        (max, Some(system)) => max.min(system / 10 * 8),
        (max, None) => max,
    };
    needed <= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> TargetFacts {
        TargetFacts {
            product: Product::Redis,
            version: Version(7, 0, 15),
            reads: Some(10),
            run_id: "r".into(),
            replica_of: None,
            cluster: false,
            loading: false,
            databases: Some(16),
            keyspace: BTreeMap::from([(0, 5)]),
            used_memory: 1 << 20,
            maxmemory: 0,
            system_memory: Some(1 << 30),
            modules: Vec::new(),
            configurable: true,
            tls_replication: false,
            sentinels: Some(0),
            replicas: 0,
        }
    }

    fn backup() -> BackupFacts {
        BackupFacts {
            magic: "REDIS".into(),
            rdb_version: 10,
            databases: BTreeMap::from([(0, 3), (5, 1)]),
            modules: Vec::new(),
            used_memory: Some(1 << 20),
            functions: 0,
        }
    }

    fn chosen(options: &RedisRestoreOptions, target: &TargetFacts, backup: &BackupFacts) -> Choice {
        choose(options, false, false, target, backup)
    }

    #[test]
    fn replication_where_it_can_be_had_and_keys_with_the_reason_elsewhere() {
        let options = RedisRestoreOptions::new("/x");
        let choice = chosen(&options, &target(), &backup());
        assert_eq!((choice.way, choice.swapdb), (RedisWay::Replication, true));
        assert_eq!(choice.blockers, [""; 0]);
        type Change = fn(&mut TargetFacts);
        let changes: [(&str, Change); 4] = [
            ("CONFIG", |t| t.configurable = false),
            ("sentinels", |t| t.sentinels = Some(3)),
            ("whether sentinels", |t| t.sentinels = None),
            ("TLS", |t| t.tls_replication = true),
        ];
        for (why, change) in changes {
            let mut target = target();
            change(&mut target);
            let choice = chosen(&options, &target, &backup());
            assert_eq!(choice.way, RedisWay::Keys, "{why}");
            assert!(choice.reason.contains(why), "{}", choice.reason);
            assert_eq!(choice.blockers, [""; 0]);
            let forced = chosen(&options.clone().with_way(RedisWay::Replication), &target, &backup());
            assert!(forced.blockers[0].contains(why), "{forced:?}");
        }
        assert_eq!(choose(&options, true, false, &target(), &backup()).way, RedisWay::Keys);
    }

    #[test]
    fn what_no_way_leads_around_is_a_blocker() {
        let options = RedisRestoreOptions::new("/x");
        let blocked = |target: &TargetFacts, backup: &BackupFacts, why: &str| {
            for way in [RedisWay::Auto, RedisWay::Replication, RedisWay::Keys] {
                let choice = chosen(&options.clone().with_way(way), target, backup);
                assert!(choice.blockers.iter().any(|b| b.contains(why)), "{way:?} {why}: {choice:?}");
            }
        };
        let mut t = target();
        t.databases = Some(4);
        blocked(&t, &backup(), "databases 6");
        t = target();
        t.maxmemory = 1000;
        blocked(&t, &backup(), "maxmemory");
        t = target();
        t.replica_of = Some(("elsewhere".into(), 1));
        blocked(&t, &backup(), "replica of elsewhere:1");
        let mut b = backup();
        b.modules = vec!["ReJSON".into()];
        blocked(&target(), &b, "ReJSON");
        b = backup();
        b.magic = "VALKEY".into();
        blocked(&target(), &b, "VALKEY");
        b = backup();
        b.rdb_version = 12;
        blocked(&target(), &b, "RDB version 12");
        // A number below Valkey's own is no version that it reads.
        (t, b) = (target(), backup());
        (t.product, t.version, t.reads, b.rdb_version) = (Product::Valkey, Version(9, 1, 2), Some(80), 12);
        blocked(&t, &b, "RDB version 12 of Redis, which Valkey does not read");
        b.rdb_version = 11;
        assert_eq!(chosen(&RedisRestoreOptions::new("/x"), &t, &b).blockers, [""; 0]);
    }

    #[test]
    fn a_cluster_takes_one_database_by_keys() {
        let options = RedisRestoreOptions::new("/x");
        let mut t = target();
        t.cluster = true;
        assert!(chosen(&options, &t, &backup()).blockers.iter().any(|b| b.contains("0, 5")));
        let mut b = backup();
        b.databases = BTreeMap::from([(0, 3)]);
        let choice = chosen(&options, &t, &b);
        assert_eq!((choice.way, choice.blockers.len()), (RedisWay::Keys, 0), "{choice:?}");
    }

    #[test]
    fn loading_beside_needs_room_for_both() {
        let mut t = target();
        t.maxmemory = (1 << 20) + 100;
        let choice = chosen(&RedisRestoreOptions::new("/x"), &t, &backup());
        assert_eq!((choice.way, choice.swapdb), (RedisWay::Replication, false));
        assert_eq!(choice.blockers, [""; 0]);
    }

    #[test]
    fn spare_databases_are_empty_ones_that_the_backup_does_not_use() {
        let mut t = target();
        t.databases = Some(8);
        t.keyspace = BTreeMap::from([(0, 1), (7, 1)]);
        assert_eq!(spare_databases(&t, &backup()).unwrap(), BTreeMap::from([(0, 6), (5, 4)]));
        t.databases = Some(3);
        t.keyspace = BTreeMap::from([(0, 1), (1, 1)]);
        assert!(spare_databases(&t, &backup()).is_err());
    }
}
