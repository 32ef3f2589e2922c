//! Restores Redis: over replication, key by key, or by files; what is replaced is kept, and every byte is proven first.

mod by_file;
mod by_keys;
mod by_replication;
mod choose;
mod cluster;
mod cold;
mod control;
mod copy;
mod databases;
#[cfg(feature = "docker")]
mod docker;
mod durable;
mod expiry;
mod frames;
mod glob;
mod info;
mod instance;
mod keys;
mod look;
mod master;
mod meet;
mod merge;
mod options;
mod pause;
mod place;
mod plan;
mod proof;
mod prove_scratch;
mod repair;
mod replicate;
mod run;
mod scratch;
mod send;
mod sentinel;
mod settings;
mod slots;
mod spool;
mod state_dir;
mod structure;
mod target;

#[cfg(feature = "docker")]
#[cfg_attr(docsrs, doc(cfg(feature = "docker")))]
pub use docker::DockerInstance;
pub use instance::{Instance, ServerFiles};
pub use options::{KeyConflict, RedisRestoreOptions, RedisWay, ReplicationTls, Sentinels, TtlPolicy};
pub use structure::verify_structure;
pub use target::RedisRestore;

/// Forty random hexadecimal digits: the form of a replication id and of the mark at the end of a transfer.
fn random_hex() -> String {
    let bytes: [u8; 20] = rand::random();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
