//! Restores what `veza-dr-backup` stored: beside the live data, proven, then swapped in.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "files")]
#[cfg_attr(docsrs, doc(cfg(feature = "files")))]
pub mod files;
#[cfg(any(feature = "files", feature = "postgres", feature = "redis"))]
mod guards;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod verify;

pub use verify::verify;
