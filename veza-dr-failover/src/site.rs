//! Sites: places where the services run, each a Docker Compose project, here or behind SSH.

#[cfg(feature = "docker")]
mod apart;
#[cfg(feature = "docker")]
mod compose_fence;
#[cfg(feature = "docker")]
mod compose_file;
#[cfg(feature = "docker")]
mod compose_site;
mod control;
mod duty;
#[cfg(feature = "docker")]
mod engine;
#[cfg(feature = "docker")]
mod fence;
#[cfg(feature = "docker")]
mod files;
#[cfg(feature = "docker")]
mod forward;
#[cfg(feature = "docker")]
mod job;
#[cfg(feature = "docker")]
mod machine;
#[cfg(feature = "docker")]
mod machine_folder;
#[cfg(feature = "docker")]
mod networks;
mod notice;
mod settings;
#[cfg(feature = "docker")]
mod ssh;
#[cfg(feature = "docker")]
mod states;
#[cfg(feature = "docker")]
mod tunnel;
mod watchdog;
#[cfg(feature = "docker")]
mod whole_project;

#[cfg(feature = "docker")]
#[cfg_attr(docsrs, doc(cfg(feature = "docker")))]
pub use compose_site::ComposeSite;
pub use control::{Job, JobResult, ServiceState, SiteControl};
pub use duty::{DutySettings, SiteDuty};
#[cfg(feature = "docker")]
#[cfg_attr(docsrs, doc(cfg(feature = "docker")))]
pub use files::{RootsOf, SiteFiles, TreeRoot};
#[cfg(feature = "docker")]
pub(crate) use machine_folder::Lies;
pub use notice::FenceNotice;
pub use settings::{ComposeProject, SiteRole, Ssh};
pub use watchdog::Watchdog;
