//! The desk where alarms are raised: alerts and escalation over one durable book, and messages delivered from it.
//!
//! What is raised is on disk before anybody is told, and what was told is on disk after. A process that is killed in
//! between tells it again, under the same name (`id`): at least once, never lost. `serve` and `failover run` may share a
//! book: each alarm is raised by one of them, once.
//!
//! ```no_run
//! # async fn f() -> veza_dr_core::Result<()> {
//! use veza_dr_core::Cx;
//! use veza_dr_failover::{alarm::{Desk, Facts}, escalation::EscalationPolicy};
//! let desk = Desk::open("/var/lib/veza-dr".as_ref())?.with_policy(EscalationPolicy::guide());
//! desk.evaluate(&Facts::at(chrono::Utc::now()))?;
//! desk.deliver(&Cx::background()).await?;
//! # Ok(()) }
//! ```

mod acknowledge;
mod book;
mod deliver;
mod desk;
mod evaluate;
mod facts;
mod incident;
mod ledger;
mod record;
mod text;
mod view;
mod watchman;

pub use acknowledge::Acknowledged;
pub use desk::{Desk, Links};
pub use facts::Facts;
pub use record::{Incident, Message, Route};
pub use view::{AlarmView, AlertView, DeliveryView, IncidentView};
pub use watchman::{Watchman, points};
