//! A WebSocket service that echoes, one that does not, and a token that is not taken.

use veza_dr_core::Health;
use veza_dr_failover::probe::WebSocketProbe;

use crate::{
    look,
    servers::{anywhere, http, listen, websocket},
};

#[tokio::test]
async fn a_round_trip_is_what_counts() {
    let chat = websocket(listen(anywhere()), true);
    let url = format!("ws://{}/chat", chat.at);
    let probe = |token: &str| WebSocketProbe::new(&url).unwrap().with_token(token.to_owned().into());
    let echoed = look(&probe("right").with_echo(), 5).await.unwrap();
    assert!(echoed.health == Health::Healthy && echoed.detail.contains("sends back what it is sent"), "{echoed:?}");
    let pinged = look(&probe("right"), 5).await.unwrap();
    assert!(pinged.health == Health::Healthy && pinged.detail.contains("answers a ping"), "{pinged:?}");
    let refused = look(&probe("wrong"), 5).await.unwrap();
    assert!(refused.health == Health::Degraded && refused.detail.contains("401"), "{refused:?}");

    let deaf = websocket(listen(anywhere()), false);
    let probe = WebSocketProbe::new(&format!("ws://{}/chat", deaf.at)).unwrap();
    let probe = probe.with_token("right".to_owned().into()).with_echo();
    let unanswered = look(&probe, 1).await.unwrap();
    assert!(unanswered.health == Health::Down && unanswered.reached, "{unanswered:?}");
}

#[tokio::test]
async fn what_speaks_http_only_is_no_websocket() {
    let server = http(listen(anywhere()), "primary");
    let seen = look(&WebSocketProbe::new(&format!("ws://{}/health", server.at)).unwrap(), 5).await.unwrap();
    assert!(seen.health == Health::Degraded && seen.detail.contains("refuses the WebSocket"), "{seen:?}");
}
