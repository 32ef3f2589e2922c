//! File trees on the machine of a site: sent there beside what is live, proven there, swapped in by renames, with stock
//! tools alone on the other end.

mod exchange;
mod hold;
mod inventory;
mod journal;
mod look;
mod place;
mod scripts;
mod send;
mod stage;
mod target;

pub use place::TreeRoot;
pub use target::{RootsOf, SiteFiles};
