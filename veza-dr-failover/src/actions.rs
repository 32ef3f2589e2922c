//! The actions of a failover: fences, sites, checks, names, data, commands and people.
//!
//! A [`Catalogue`] makes them of what plans say. Sites are controlled through [`SiteControl`](crate::site::SiteControl);
//! what needs another library (a restore, a backup, a check, a switch of names) is given as [`Work`].

mod catalogue;
mod command;
mod fence;
mod kind;
mod names;
mod notify;
pub(crate) mod parameters;
mod people;
mod site_actions;
mod work;

pub use catalogue::Catalogue;
pub(crate) use catalogue::said;
pub use kind::Kind;
pub use names::{LeadBy, Leading, Names};
pub use work::{ActionWork, Work};
