//! The site of this machine: the daemon keeps its right to serve, or closes it.

use std::{sync::Arc, time::Duration};

use veza_dr_core::{Action, Clock, Cx, Event, Phase, Result, Sinks, SystemClock};
use veza_dr_failover::site::SiteDuty;

use super::serve::tell;
use crate::wiring::{Access, Wiring};

/// How soon what cannot be set up is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Until `cx` is cancelled. Without `serve.site` a watchdog of an earlier configuration is ended.
pub(super) async fn keep_site(cx: &Cx, wiring: &Wiring, sinks: &Arc<Sinks>) -> Result<()> {
    let Some(name) = &wiring.loaded.config.serve.site else { return SiteDuty::end(&wiring.duty_folder()?) };
    let duty = async || {
        let site = wiring.site(Some(name.as_str()))?.control;
        let store = wiring.failover_store(cx, None, Access::Write).await?.store().clone();
        Ok::<_, veza_dr_core::Error>(SiteDuty::new(site, store, sinks.clone(), wiring.duty(name)?))
    };
    while !cx.is_cancelled() {
        let kept = match duty().await {
            Ok(duty) => duty.run(cx).await,
            Err(e) => Err(e),
        };
        match kept {
            Ok(()) => return Ok(()),
            Err(e) => {
                let text = format!("the lease of site {name} cannot be kept: {}", e.chain());
                let event = Event::new(SystemClock.now(), Action::Failover, Phase::Failed, text);
                tell(sinks, &event.with_help(e.help().unwrap_or("put it right, or the watchdog closes the site")))
                    .await;
            }
        }
        let wait = async {
            tokio::time::sleep(AGAIN).await;
            Ok(())
        };
        if cx.run("wait", wait).await.is_err() {
            break;
        }
    }
    Ok(())
}
