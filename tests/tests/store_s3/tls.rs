//! The S3 store over TLS, with a certificate of an authority that only the configuration names.

use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};
use veza_dr_backup::store::{S3Config, S3Store};
use veza_dr_core::{BackupStore, Condition, Cx, ErrorKind, PutOptions};
use veza_dr_tests::s3_server::S3Server;

use crate::bucket::{config, server};

/// Takes TLS off and passes on. Returns its address and the certificate.
async fn terminator(upstream: String) -> (String, NamedTempFile) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), own.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let settings = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (endpoint, file)
}

async fn behind_tls() -> (S3Config, NamedTempFile, Arc<S3Server>) {
    let server = server().await;
    let (endpoint, authority) = terminator(server.address()).await;
    (config(&server, endpoint), authority, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_authority_is_trusted() {
    let (mut config, authority, _server) = behind_tls().await;
    config.ca_file = Some(authority.path().to_owned());
    let store = S3Store::connect("tls", config).await.unwrap();
    let cx = Cx::background();
    let small = "run/small".parse().unwrap();
    store.put(&cx, &small, "{}".into(), Condition::Absent).await.unwrap();
    let e = store.put(&cx, &small, "[]".into(), Condition::Absent).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    let body: Vec<u8> = (0..12_000_000_u32).map(|n| (n / 7) as u8).collect();
    let large = "run/large".parse().unwrap();
    let mut writer = store.create(&cx, &large, PutOptions::default()).await.unwrap();
    writer.write(body.clone().into()).await.unwrap();
    writer.finish().await.unwrap();
    let mut reader = store.get(&cx, &large, 0).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert!(read == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_is_not() {
    let (mut config, _authority, _server) = behind_tls().await;
    config.attempts = 1;
    let store = S3Store::connect("tls", config).await.unwrap();
    let e = store.list(&Cx::background(), "").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert!(e.help().is_some_and(|h| h.contains("ca_file")), "{e:?}");
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_refused_at_once() {
    let mut config = S3Config::new("b");
    config.region = Some("eu-west-3".into());
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not a certificate").unwrap();
    for path in [file.path().to_owned(), "/no/such/file".into()] {
        config.ca_file = Some(path);
        let e = S3Store::connect("tls", config.clone()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config, "{e:?}");
        assert!(e.to_string().contains("ca_file"), "{e}");
    }
}
