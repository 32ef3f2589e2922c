//! Switching DNS: Route 53's API, real authoritative servers and a caching resolver, and what goes wrong between them.

mod faults;
mod rollback;
mod step;
mod switching;
mod world;

mod contract {
    use std::sync::Arc;

    use veza_dr_core::testing::contract::dns::DnsPlace;
    use veza_dr_tests::route53_server::Route53Server;

    async fn fresh() -> (DnsPlace, Arc<Route53Server>) {
        let server = crate::world::server().await;
        let zone = crate::world::new_zone(&server).await;
        let provider = Arc::new(crate::world::route53(&format!("http://{}", server.address())).await);
        (DnsPlace { provider, zone, domain: "example.test.".into() }, server)
    }

    veza_dr_core::dns_contract!(fresh());
}
