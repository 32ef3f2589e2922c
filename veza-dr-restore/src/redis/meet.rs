//! Where the target is to connect to us.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpStream;
use veza_dr_backup::redis::Endpoint;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    options::{RedisRestoreOptions, ReplicationTls},
    replicate::Meeting,
};

/// The address that our own connection to the target has, unless another one is configured.
pub(crate) async fn meeting(cx: &Cx, endpoint: &Endpoint, options: &RedisRestoreOptions, tls: bool) -> Result<Meeting> {
    let connect = async {
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        Ok::<_, std::io::Error>((stream.local_addr()?.ip(), stream.peer_addr()?.ip()))
    };
    let (ours, theirs) = cx
        .run("find the way to the target", async {
            connect.await.map_err(|e| {
                Error::new(ErrorKind::Unavailable, format!("{} cannot be reached", endpoint.location())).with_source(e)
            })
        })
        .await?;
    let tls = match (&options.replication_tls, tls) {
        (Some(files), true) => Some(server_config(files)?),
        _ => None,
    };
    let port = options.advertise.as_ref().map_or(0, |(_, port)| *port);
    Ok(Meeting {
        host: options.advertise.as_ref().map_or_else(|| ours.to_string(), |(host, _)| host.clone()),
        port,
        bind: options.bind.unwrap_or_else(|| SocketAddr::new(ours, port)),
        tls,
        // With something in between, nobody knows whose address the connection will have.
        peers: options.advertise.is_none().then(|| vec![theirs]),
        connect_within: options.connect_within,
    })
}

fn server_config(files: &ReplicationTls) -> Result<Arc<ServerConfig>> {
    let bad = |what: &str, path: &std::path::Path, e: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Config, format!("{what} {} cannot be used", path.display())).with_source(e)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad("the certificate", &files.certificate, e.into()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad("the key", &files.key, e.into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad("the certificate", &files.certificate, e.into()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| bad("the certificate", &files.certificate, e.into()))?;
    Ok(Arc::new(config))
}
