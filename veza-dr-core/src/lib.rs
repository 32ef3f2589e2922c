//! The nouns and traits that every part of Veza DR shares: what can be backed up, restored, probed and switched,
//! how a failure is described, what a backup's manifest holds.
//!
//! This crate opens no socket, starts no process and knows no database. An embedding service that brings its own
//! [`BackupTarget`], [`RestoreTarget`], [`ServiceProbe`], [`DnsProvider`] or [`BackupStore`] implements it against
//! these traits and runs the suites of the `testing` feature against the result.
//!
//! ```
//! use veza_dr_core::{BackupId, Cx, Error, ErrorKind};
//!
//! let cx = Cx::background();
//! assert!(cx.check("copy table").is_ok());
//! cx.cancel();
//! let stopped: Error = cx.check("copy table").unwrap_err();
//! assert_eq!(stopped.kind(), ErrorKind::Cancelled);
//!
//! let id: BackupId = "20261123T104500Z-7f3a9c".parse()?;
//! assert_eq!(id.started_at().to_rfc3339(), "2026-11-23T10:45:00+00:00");
//! # Ok::<(), Error>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backup;
mod clock;
mod cx;
mod dns;
mod error;
mod event;
mod id;
pub mod lease;
pub mod manifest;
mod policy;
mod probe;
mod progress;
mod report;
mod restore;
mod retry;
mod secret;
pub mod status;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use backup::{ArtifactSink, BackupCaps, BackupRequest, BackupTarget, BaseBackup, ObjectHandle, TargetInfo};
pub use clock::{Clock, SystemClock};
pub use cx::{Cx, OperationId};
pub use dns::{
    AliasTarget, ChangeId, ChangeSet, ChangeState, DnsProvider, FailoverRole, RecordKey, RecordSet, RecordType, diff,
};
pub use error::{Effect, Error, ErrorKind, Result, Retry};
pub use event::{Action, Event, EventSink, Phase, Severity, Sinks};
pub use id::{BackupId, ComponentName, IdError, ObjectKey};
pub use manifest::Manifest;
pub use policy::{Rpo, Rto, Scenario, ScenarioKind, parse_duration};
pub use probe::{Health, Observation, ServiceProbe, ServiceProbeExt};
pub use progress::{NoProgress, Progress, ProgressSink, Unit};
pub use report::{Outcome, Report, Step};
pub use restore::{
    ArtifactSource, Finding, PlannedStep, RestoreCaps, RestorePlan, RestoreReport, RestoreRequest, RestoreTarget,
    Verdict, Verification,
};
pub use retry::{RetryPolicy, retrying};
pub use secret::{ExposeSecret, SecretSource, SecretString};
pub use store::{
    BackupStore, Condition, ObjectMeta, ObjectReader, ObjectWriter, PutOptions, StoreCaps, StoreInfo, VersionTag,
};
