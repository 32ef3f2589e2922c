//! For the tests of a service: its data backed up, restored into a place of their own, compared, looked at, and gone
//! again. Needs the feature `testing`.

mod cleaning;
mod round_trip;
mod scratch;

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use crate::postgres::test_scratch::PostgresScratch;
pub use round_trip::{Restored, RoundTrip};
pub use scratch::ScratchPlace;
