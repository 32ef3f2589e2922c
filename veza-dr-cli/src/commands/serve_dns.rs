//! What the daemon does for names: a switch that nobody confirmed is taken back, and the health flag is served.

use std::time::Duration;

use chrono::TimeDelta;
use veza_dr_core::{Action, Clock, Cx, Error, ErrorKind, Event, Phase, Result, Sinks, SystemClock};
use veza_dr_failover::{
    dns::overdue_switch,
    http::{Server, ServerConfig, flag_routes},
};

use super::serve::tell;
use crate::{config::ServeSettings, wiring::Wiring};

/// How often it is looked for a switch whose time is up.
const LOOK: Duration = Duration::from_secs(2);
/// Whoever waits for the confirmation takes the switch back itself, if it is still there.
const FIRST_TO_OTHERS: TimeDelta = TimeDelta::seconds(5);
/// How soon it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// The listener of the flag, where this machine serves it.
pub(super) async fn flag_server(wiring: &Wiring) -> Result<Option<Server>> {
    let flag = wiring.loaded.config.dns.as_ref().and_then(|dns| dns.flag.as_ref());
    let Some((flag, listen)) = flag.and_then(|f| Some((f, f.listen.as_ref()?))) else { return Ok(None) };
    let path = "dns.flag.listen";
    let refuse = |why| wiring.at(path, Error::new(ErrorKind::Config, why));
    let at = ServeSettings::address(&wiring.text(path, listen)?).map_err(refuse)?;
    let config = ServerConfig::new(at).for_everybody();
    let server = Server::bind(config, flag_routes(wiring.flag_file(flag)?)).await.map_err(|e| wiring.at(path, e))?;
    tracing::info!("the health flag is served on http://{}", server.address());
    Ok(Some(server))
}

/// Until `cx` is cancelled.
pub(super) async fn take_back_overdue(cx: &Cx, wiring: &Wiring, sinks: &Sinks) {
    let has_records = wiring.loaded.config.dns.as_ref().is_some_and(|dns| dns.route53.is_some());
    while has_records && !cx.is_cancelled() {
        let pause = match take_back(cx, wiring).await {
            Ok(None) => LOOK,
            Ok(Some(text)) => {
                tell(sinks, &Event::new(SystemClock.now(), Action::Failover, Phase::Succeeded, text)).await;
                LOOK
            }
            Err(e) if e.kind() == ErrorKind::Cancelled => return,
            Err(e) => {
                let text = format!("a switch of names that nobody confirmed could not be taken back: {}", e.chain());
                let help = e.help().unwrap_or("look at it: veza-dr dns show; take it back: veza-dr dns rollback");
                let event = Event::new(SystemClock.now(), Action::Failover, Phase::Failed, text).with_help(help);
                tell(sinks, &event).await;
                AGAIN
            }
        };
        let wait = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        if cx.run("wait", wait).await.is_err() {
            return;
        }
    }
}

/// What was taken back, if anything was.
async fn take_back(cx: &Cx, wiring: &Wiring) -> Result<Option<String>> {
    let Some(late) = overdue_switch(&wiring.state_dir()?, SystemClock.now() - FIRST_TO_OTHERS)? else {
        return Ok(None);
    };
    let switch = wiring.dns_switch(cx).await?;
    let Some(report) = switch.revert_if_overdue(cx).await? else { return Ok(None) };
    report.ensure_everywhere()?;
    Ok(Some(format!("nobody confirmed the switch of names ({}) in time: it was taken back", late.goal)))
}
