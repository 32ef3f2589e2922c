//! Who is called about an outage or a recovery, when, and how it goes on when nobody answers.
//!
//! The levels of the operations guide are the default: DevOps at once, architect and DBA after 2 h, CTO and the senior
//! team after 4 h, direction and external support after 8 h. A level can also begin at a share of the recovery time
//! objective, or when the objective will probably be missed.
//!
//! ```
//! use std::time::Duration;
//! use veza_dr_failover::escalation::EscalationPolicy;
//! let guide = EscalationPolicy::guide();
//! assert_eq!(guide.level_at(Duration::from_secs(3 * 3600), None, false), Some(1));
//! ```

mod acknowledge;
mod contact;
mod policy;

pub use acknowledge::AckKey;
pub use contact::Contact;
pub use policy::{EscalationPolicy, Level};
