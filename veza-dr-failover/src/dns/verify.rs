//! Asks every server of the zone until all follow.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep};
use veza_dr_core::{Cx, Result};

use super::{
    Agreement, RecordReport, SwitchSettings,
    answers::{Expected, ask_authorities, ask_resolvers, authorities},
};

/// Asks every server of the zone, again and again until all agree or the time is up, then some resolvers once.
pub(super) async fn verified(
    cx: &Cx,
    settings: &SwitchSettings,
    expected: &[Expected],
    within: Duration,
) -> Result<Vec<RecordReport>> {
    let limit = Instant::now() + within;
    try_join_all(expected.iter().map(|e| verify_one(cx, settings, e, limit))).await
}

async fn verify_one(cx: &Cx, settings: &SwitchSettings, expected: &Expected, limit: Instant) -> Result<RecordReport> {
    let mut report = asked(cx, settings, expected).await?;
    let settled = |r: &RecordReport| {
        let right = |a: Agreement| matches!(a, Agreement::Wanted | Agreement::Unjudged);
        r.problem.is_none() && r.servers.iter().all(|s| right(s.agreement))
    };
    while !settled(&report) && Instant::now() < limit {
        cx.run("wait for the name servers", async {
            sleep(settings.poll.min(Duration::from_secs(2))).await;
            Ok(())
        })
        .await?;
        report = asked(cx, settings, expected).await?;
    }
    report.resolvers = ask_resolvers(cx, &settings.resolvers, expected).await;
    Ok(report)
}

/// What the servers of the zone answer now.
pub(super) async fn asked(cx: &Cx, settings: &SwitchSettings, expected: &Expected) -> Result<RecordReport> {
    cx.check("ask the name servers")?;
    let key = &expected.key;
    let (servers, problem) = match authorities(cx, settings, &key.name).await {
        Ok(servers) => (ask_authorities(cx, &servers, expected).await, None),
        Err(e) => (Vec::new(), Some(e.chain())),
    };
    let (label, record) = (expected.label.clone(), key.to_string());
    Ok(RecordReport { label, record, wanted: expected.text(), servers, resolvers: Vec::new(), problem })
}
