//! Backs up PostgreSQL, Redis and files to a directory or S3, in a format that stock tools open.
//!
//! The pieces: a [`BackupTarget`](veza_dr_core::BackupTarget) reads the source, a
//! [`BackupStore`](veza_dr_core::BackupStore) keeps the objects, [`back_up`] runs one backup from lease to manifest,
//! and a [`Repository`] lists and opens what a store holds.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod base;
mod codec;
mod encryption;
#[cfg(feature = "files")]
#[cfg_attr(docsrs, doc(cfg(feature = "files")))]
pub mod files;
mod hooks;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres;
pub mod quiesce;
#[cfg(any(feature = "files", feature = "postgres", feature = "redis"))]
mod recipe_text;
mod recovery_point;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod repository;
mod retention;
mod rpo;
mod runner;
mod schedule;
mod scheduler;
mod sink;
mod source;
pub mod status;
pub mod store;
mod sweep;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tls;
mod verify;

pub use codec::Compression;
pub use encryption::Encryption;
pub use hooks::BackupHooks;
pub use recovery_point::{RecoveryJob, back_up_together};
pub use repository::{BackupState, CatalogEntry, Level, Proof, Repository, Selector};
pub use retention::{
    Candidate, Decision, DeleteReason, KeepReason, PruneReport, Refused, RestoreHold, RetentionPolicy, SimulatedDay,
    Verdict as RetentionVerdict, decide, hold_for_restore, plan_prune, prune, simulate,
};
pub use rpo::{RpoFinding, check_rpo};
pub use runner::{BackupOptions, BackupReport, StoreResult, back_up};
pub use schedule::{Schedule, Timetable, WorstGap, Zone};
pub use scheduler::{
    ComponentState, PrepareBackup, Prepared, RunRetries, ScheduledComponent, Scheduler, SchedulerHandle, Stop,
    StoreAttempt,
};
pub use source::StoredBackup;
pub use verify::verify_objects;
