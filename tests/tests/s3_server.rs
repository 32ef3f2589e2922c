//! The S3 server starts, wants a signature, keeps its objects, and is gone afterwards.

use veza_dr_tests::fault_proxy::{Fault, FaultProxy, Rule};
use veza_dr_tests::http;
use veza_dr_tests::s3_server::S3Server;

#[tokio::test]
async fn stores_through_a_proxy_and_across_a_restart() {
    let mut server = S3Server::start().await.unwrap();
    assert_eq!(http::get(&server.address(), "/").await.unwrap().status, 403);
    assert!(server.endpoint().ends_with(&server.address()));

    server.create_bucket("backups").await.unwrap();
    let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7) as u8).collect();
    let key = "prod/a key with spaces/é+%";
    // The signature covers the host the client spoke to, so it holds only if the proxy leaves that as it is.
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let stored = server.request_through(proxy.address(), "PUT", "/backups/prod/through", &body).await.unwrap();
    assert_eq!(stored.status, 200, "{stored:?}");
    server.put_object("backups", key, &body).await.unwrap();
    let corrupt = proxy.add(Rule::new(Fault::CorruptRequestAt(1_000_000)).method("PUT"));
    server.request_through(proxy.address(), "PUT", "/backups/prod/through", &body).await.unwrap();
    assert_eq!(corrupt.fired(), 1);
    // The server does not compare the body with the hash in the signature, as AWS does: see its documentation.
    assert!(server.get_object("backups", "prod/through").await.unwrap() != body);
    server.put_object("backups", "prod/through", &body).await.unwrap();

    server.stop();
    assert!(http::get(&server.address(), "/").await.is_err());
    server.restart().await.unwrap();
    let mut keys = server.list_objects("backups", "prod/").await.unwrap();
    keys.sort();
    assert_eq!(keys, [key, "prod/through"]);
    for key in keys {
        assert!(server.get_object("backups", &key).await.unwrap() == body, "{key}");
    }
    server.corrupt_object("backups", key, 5).await.unwrap();
    assert_eq!(server.get_object("backups", key).await.unwrap()[5], body[5] ^ 1);
    server.delete_object("backups", key).await.unwrap();
    assert!(server.get_object("backups", key).await.unwrap_err().to_string().contains("NoSuchKey"));

    let address = server.address();
    drop(server);
    assert!(http::get(&address, "/").await.is_err());
}
