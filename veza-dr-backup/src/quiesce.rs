//! Services at rest while their data is read: containers are stopped or paused, or commands are run, right before the
//! read, and all of it is put back right after it, in reverse order, and only what was running.
//!
//! A [`Quiescer`] is a [`BackupHooks`](crate::BackupHooks): put it in the options of a backup
//! ([`BackupOptions::with_hooks`](crate::BackupOptions::with_hooks)).
//!
//! What has to be put back is on disk before anything is touched. A process that is killed in between leaves a to-do
//! file, and the next one to start puts things right first: [`Quiescer::repair`].
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use veza_dr_backup::quiesce::{QuiescePlan, Quiescer, Step};
//! use veza_dr_core::Cx;
//! let (place, cx) = (tempfile::tempdir()?, Cx::background());
//! let words = |s: &[&str]| s.iter().map(|w| w.to_string()).collect::<Vec<_>>();
//! let flag = place.path().join("stopped").display().to_string();
//! let step = Step::command(words(&["touch", &flag]), words(&["rm", &flag]));
//! let quiescer = Quiescer::new(place.path().join("state"))?.with_plan("files".parse()?, QuiescePlan::new(vec![step]));
//! quiescer.rest(&cx, &"files".parse()?).await?;
//! assert!(std::fs::exists(&flag)?);
//! quiescer.put_back(&cx, &"files".parse()?).await?;
//! assert!(!std::fs::exists(&flag)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod command;
#[cfg(feature = "docker")]
mod containers;
mod hold;
mod hooks;
#[cfg(not(feature = "docker"))]
mod no_containers;
mod plan;
mod quiescer;
mod todo;

#[cfg(not(feature = "docker"))]
use no_containers as containers;
pub use plan::{ContainerSelection, OnError, QuiescePlan, Step};
pub use quiescer::{Quiescer, Repaired};
