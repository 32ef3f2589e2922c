//! The places backups are written to, and leases on them.

mod directory;
mod free_space;
#[cfg(feature = "s3")]
#[cfg_attr(docsrs, doc(cfg(feature = "s3")))]
mod s3;

pub use directory::DirectoryStore;
pub use free_space::free_bytes;
#[cfg(feature = "s3")]
#[cfg_attr(docsrs, doc(cfg(feature = "s3")))]
pub use s3::{S3Config, S3Encryption, S3ObjectLock, S3Store};
pub use veza_dr_core::lease::{Holder, Lease, LeaseGuard, ProbedCaps, probe_conditional_put};
