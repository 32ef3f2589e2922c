//! The state of everything at once: all probes of all sites in parallel, one verdict, and what to do about it.
//!
//! ```no_run
//! # async fn f() {
//! use std::sync::Arc;
//! use veza_dr_core::Cx;
//! use veza_dr_failover::{assess::{Assess, ServiceKind, ServiceUnit, SiteUnit}, probe::HttpProbe, site::SiteRole};
//! let probe = HttpProbe::new("http://192.0.2.10:8080/health").unwrap();
//! let api = ServiceUnit::new("veza-backend-api", ServiceKind::Backend).with_alias("api").with_probe(Arc::new(probe));
//! let assess = Assess::new().with_site(SiteUnit::new("primary", SiteRole::Primary).with_service(api));
//! let found = assess.run(&Cx::background()).await;
//! println!("{:?}: next {:?}", found.condition, found.next);
//! # }
//! ```

mod finding;
mod judge;
mod plan;
mod run;
mod scenario;

pub use finding::{Assessment, Condition, Finding, ServiceFinding, SiteFinding, Suggestion};
pub use plan::{Assess, ServiceKind, ServiceUnit, SiteUnit, TtlAdvice};
