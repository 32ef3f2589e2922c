//! The TCP proxy in front of a real PostgreSQL: what a client sees of each failure of the network.

use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};
use veza_dr_tests::postgres_server::{PgOptions, PgServer};
use veza_dr_tests::tcp_proxy::TcpProxy;

async fn connect(server: &PgServer, proxy: &TcpProxy) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = Config::new()
        .host("127.0.0.1")
        .port(proxy.port())
        .user("postgres")
        .password(server.password())
        .connect_timeout(Duration::from_secs(5))
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn cuts_refuses_and_swallows() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    let proxy = TcpProxy::start(&format!("127.0.0.1:{}", server.port())).await.unwrap();
    let client = connect(&server, &proxy).await.unwrap();
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    assert_eq!((proxy.open(), proxy.accepted()), (1, 1));

    proxy.cut();
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
    let client = connect(&server, &proxy).await.unwrap();

    proxy.refuse().await;
    assert!(connect(&server, &proxy).await.is_err());
    assert_eq!(client.query_one("SELECT 2", &[]).await.unwrap().get::<_, i32>(0), 2);
    proxy.heal().await;
    connect(&server, &proxy).await.unwrap();

    proxy.blackhole();
    let waiting = tokio::time::timeout(Duration::from_millis(500), client.query_one("SELECT 3", &[]));
    assert!(waiting.await.is_err(), "a byte passed");
    proxy.heal().await;
    assert_eq!(client.query_one("SELECT 4", &[]).await.unwrap().get::<_, i32>(0), 4);

    proxy.cut_after(1_000_000);
    let long = client.query("SELECT repeat('x', 10000) FROM generate_series(1, 1000)", &[]).await;
    assert!(long.is_err() && proxy.bytes_from_server() < 3_000_000);
    let client = connect(&server, &proxy).await.unwrap();
    assert_eq!(client.query("SELECT repeat('x', 10000) FROM generate_series(1, 1000)", &[]).await.unwrap().len(), 1000);
}
