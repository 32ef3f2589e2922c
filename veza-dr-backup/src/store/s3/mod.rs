//! A store in an S3 bucket, of AWS or of any server that enforces conditional writes.

mod bucket;
mod client;
mod conditional;
mod config;
mod download;
mod errors;
mod part_sizes;
mod store;
mod upload;

pub use config::{S3Config, S3Encryption, S3ObjectLock};
pub use store::S3Store;
