//! The product put to use by the Redis journeys: a component called `redis`.

use std::path::PathBuf;

use veza_dr_backup::redis::{RedisConfig, RedisTarget};
use veza_dr_backup::{BackupReport, back_up};
use veza_dr_core::{ComponentName, Cx, Manifest, Result, SecretString};

use crate::product::Depot;
use crate::redis_server::RedisServer;

/// The component of every Redis journey.
pub fn component() -> ComponentName {
    "redis".parse().expect("a name")
}

/// How the product reaches a private server, as its user `default`.
pub fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).with_password(SecretString::from(server.password().to_owned()))
}

/// The same by TLS, with this authority's client certificate.
pub fn tls_config(server: &RedisServer, ca: &crate::redis_tls::TestCa) -> RedisConfig {
    RedisConfig::new(server.tls_url())
        .with_password(SecretString::from(server.password().to_owned()))
        .with_ca_file(ca.ca())
        .with_client_cert(ca.cert("client"), ca.key("client"))
}

/// Backs a server up into a depot.
///
/// # Errors
/// Those of the product.
pub async fn back_up_redis(cx: &Cx, depot: &Depot, config: &RedisConfig) -> Result<BackupReport> {
    let target = RedisTarget::new(component(), config.clone())?;
    let report = back_up(cx, &target, std::slice::from_ref(&depot.repository), &depot.options).await?;
    report.ensure_complete()?;
    Ok(report)
}

/// The same, and the manifest.
///
/// # Errors
/// Those of the product.
pub async fn manifest_of(depot: &Depot, config: &RedisConfig) -> Result<Manifest> {
    let report = back_up_redis(&Cx::background(), depot, config).await?;
    Ok(report.manifest().expect("a complete backup has a manifest").clone())
}

/// The plain bytes of an object of a backup.
pub async fn plain(depot: &Depot, manifest: &Manifest, object: &str) -> Result<Vec<u8>> {
    use veza_dr_core::ArtifactSource as _;
    let record = manifest.object(object).expect("the object").clone();
    let mut reader = depot.repository.open(manifest).open(&Cx::background(), &record).await?;
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// A server that has what a backup's object holds.
pub async fn served(rdb: &[u8]) -> crate::Result<(RedisServer, PathBuf)> {
    let mut server = RedisServer::start(crate::redis_server::RedisOptions::default()).await?;
    server.kill9();
    let file = server.data_dir().join("dump.rdb");
    std::fs::write(&file, rdb)?;
    server.restart().await?;
    Ok((server, file))
}
