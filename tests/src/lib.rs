//! Test servers, fixtures and comparisons shared by the journeys.
//!
//! But for [`product`] and [`redis_product`], which put the product to use, nothing in here uses its code: a test that
//! compared a backup with the code that wrote it would prove only that the code agrees with itself.

pub mod child;
pub mod compose_site;
pub mod daemon_site;
pub mod demo_http;
pub mod docker;
pub mod far_machine;
pub mod fault_proxy;
pub mod files_scene;
pub mod fixtures;
pub mod french;
pub mod hook_store;
pub mod http;
pub mod knot;
pub mod netns;
pub mod observer;
pub mod oracle;
pub mod outage_store;
pub mod ports;
pub mod postgres_majors;
pub mod postgres_options;
pub mod postgres_server;
pub mod postgres_tools;
pub mod product;
pub mod redis_client;
pub mod redis_cluster;
pub mod redis_data;
pub mod redis_fake;
pub mod redis_oracle;
pub mod redis_product;
pub mod redis_recovery;
pub mod redis_server;
pub mod redis_tls;
pub mod route53_proxy;
pub mod route53_server;
pub mod s3_request;
pub mod s3_server;
pub mod scene;
pub mod sshd;
pub mod tcp_proxy;
pub mod tripwire;
pub mod victim;

/// What the helpers fail with: a test only prints it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of the helpers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
