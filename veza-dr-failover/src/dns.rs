//! DNS records switched as one transaction: what was there is saved, the change is compare-and-set, every name server is
//! asked, and one word brings it back.
//!
//! [`Switch`] does that over any [`DnsProvider`](veza_dr_core::DnsProvider); [`Route53`] is one. [`HealthFlag`] leads
//! users over without a call to anybody's control plane, where the zone was prepared for it (see `docs/dns.md`). This
//! module measures what DNS servers answer; it does not measure which clients still use an old address.

mod answers;
mod ask;
mod flag;
mod flag_switch;
mod in_sync;
mod names;
mod plan;
mod record;
mod report;
mod revert;
#[cfg(feature = "route53")]
mod route53;
mod saved;
mod show;
mod step;
mod switch;
mod ttl;
mod verify;
mod wording;

pub use answers::{Agreement, ServerAnswer};
pub use ask::{Answer, DnsServer, ask};
pub use flag::{FLAG_TEXT, FlagPlace, FlagState, HealthFlag};
pub use flag_switch::{FlagStep, FlagSwitch, ServedFlag};
pub use plan::{ForeignRecord, SwitchPlan, SwitchedRecord};
pub use record::{Goal, Side, SiteRecord, WeightedSets};
pub use report::{RecordReport, SwitchReport};
pub use revert::{Waited, has_lowered_ttls, overdue_switch};
#[cfg(feature = "route53")]
#[cfg_attr(docsrs, doc(cfg(feature = "route53")))]
pub use route53::{Route53, Route53Config};
pub use saved::{SavedSwitch, SwitchPhase};
pub use show::{RecordView, ZoneView};
pub use step::SwitchStep;
pub use switch::{NoJournal, Switch, SwitchJournal, SwitchSettings};
pub use wording::shown;
