//! `veza-dr serve`: the daemon. Everything it does is a library's; here it is put together, watched and ended.

use std::{sync::Arc, time::Duration};

use veza_dr_backup::{ScheduledComponent, Scheduler, Stop, quiesce::Quiescer};
use veza_dr_core::{
    Action, Clock, Cx, Error, ErrorKind, Event, EventSink, ExposeSecret, Phase, Result, Sinks, SystemClock,
};
use veza_dr_failover::{
    dashboard::{Dashboard, DashboardConfig},
    http::{Server, ServerConfig, acknowledge_routes, routes},
    metrics::Metrics,
    notify::{DeliveryRecord, EventLog, Queued},
};

use super::{
    Session,
    serve_alarms::Alarms,
    serve_dns::{flag_server, take_back_overdue},
    serve_drills::ScheduledDrills,
    serve_parts::{FromConfig, LogSink, Refresher, sd_notify},
    serve_site::keep_site,
};
use crate::{Exit, args::Serve, config::ServeSettings, secrets::Given, wiring::Wiring, wiring_quiesce::repair};

/// Notifications that wait when the daemon ends get this long.
const LAST_WORDS: Duration = Duration::from_secs(15);
/// Services that rest are put back within this time, or by the next start.
const PUT_BACK: Duration = Duration::from_secs(60);

pub(crate) async fn serve(session: &Session, args: &Serve) -> Result<Exit> {
    let wiring = Arc::new(session.wiring()?);
    let cx = &session.cx;
    // A standby may do nothing but serve the flag; whoever switches names may do nothing but watch over that.
    let config = &wiring.loaded.config;
    if wiring.components().is_empty() && config.dns.is_none() && config.serve.site.is_none() {
        return Err(Error::new(ErrorKind::Config, format!("{} names no source", wiring.loaded.file.display()))
            .with_help("add one under `sources`"));
    }
    let server_config = server_config(cx, &wiring, args).await?;
    let quiescer = wiring.quiescer(true)?.ok_or_else(|| Error::new(ErrorKind::Unexpected, "no quiescer"))?;
    let log = Arc::new(EventLog::open(&wiring.state_dir()?.join("events.jsonl"))?);
    let metrics = Metrics::new();
    let records: [Arc<dyn DeliveryRecord>; 2] = [log.clone(), Arc::new(metrics.clone())];
    let channels = wiring.channels(cx, &records).await?;
    let flag = flag_server(&wiring).await?;
    let alarms = Alarms::new(cx, &wiring, vec![Arc::new(LogSink), log.clone()]).await;
    let shown = DashboardConfig::new(wiring.state_dir()?).with_scenarios(wiring.scenarios());
    let mut dashboard = Dashboard::open(shown, metrics.clone())?;
    if let Ok(alarms) = &alarms {
        dashboard = dashboard.with_desk(alarms.desk());
    }
    let parts = cx.child();
    let mut pages = dashboard.routes(&parts).merge(routes(metrics.registry(), metrics.clone()));
    let mut server_config = server_config;
    if let Some((desk, key)) = alarms.as_ref().ok().and_then(Alarms::links) {
        pages = pages.merge(acknowledge_routes(desk, key));
        server_config = server_config.with_signed_links();
    }
    let server = Server::bind(server_config, pages).await?;
    let (refresher, trigger) = Refresher::new(wiring.clone(), metrics.clone());
    let mut sinks: Vec<Arc<dyn EventSink>> =
        vec![Arc::new(LogSink), log, dashboard.calendar(), Arc::new(metrics.clone()), Arc::new(trigger)];
    sinks.extend(channels.iter().map(|c| c.clone() as Arc<dyn EventSink>));
    let sinks = Arc::new(Sinks(sinks));
    put_right(cx, &quiescer, sinks.as_ref()).await?;
    // Backups go on without alarms, and somebody hears of it.
    let alarms = match alarms {
        Ok(alarms) => Some(alarms),
        Err(e) => {
            let text = format!("no alarm can be raised: {}", e.chain());
            let event = Event::new(SystemClock.now(), Action::Alert, Phase::Failed, text).named("AlarmsBroken");
            tell(sinks.as_ref(), &event.with_help(e.help().unwrap_or("veza-dr check"))).await;
            None
        }
    };
    let scheduler = scheduler(&wiring, &quiescer)?.with_events(sinks.clone());
    let handle = scheduler.handle();
    tracing::info!("listening on http://{}", server.address());
    sd_notify("READY=1");
    let serving = async { server.run(&parts).await };
    let refreshing = refresher.run(&parts, handle);
    let scheduling = async {
        if wiring.components().is_empty() {
            parts.token().cancelled().await;
            return Ok(());
        }
        let ended = scheduler.run(&parts).await;
        // Nothing is left to watch over.
        parts.cancel();
        ended
    };
    let alarming = async {
        if let Some(alarms) = &alarms {
            alarms.run(&parts, &metrics).await;
        }
    };
    let flagging = async {
        match flag {
            Some(server) => server.run(&parts).await,
            None => Ok(()),
        }
    };
    let names = take_back_overdue(&parts, &wiring, sinks.as_ref());
    let site = keep_site(&parts, &wiring, &sinks);
    let watching = dashboard.watch(&parts);
    let drills = ScheduledDrills::new(wiring.clone(), sinks.clone());
    let rehearsing = drills.run(&parts);
    let (served, (), scheduled, (), flagged, (), site, (), ()) =
        tokio::join!(serving, refreshing, scheduling, alarming, flagging, names, site, watching, rehearsing);
    sd_notify("STOPPING=1");
    end(&quiescer, &channels, sinks.as_ref()).await;
    scheduled?;
    served?;
    flagged?;
    site?;
    session.out.json_only(|| serde_json::json!({ "ended": SystemClock.now() }));
    tracing::info!("ended");
    Ok(Exit::Ok)
}

async fn server_config(cx: &Cx, wiring: &Wiring, args: &Serve) -> Result<ServerConfig> {
    let settings = &wiring.loaded.config.serve;
    let listen = match (&args.listen, &settings.listen) {
        (Some(listen), _) => ServeSettings::address(listen).map_err(|why| Error::new(ErrorKind::Config, why))?,
        (None, Some(text)) => {
            let refuse = |why| wiring.at("serve.listen", Error::new(ErrorKind::Config, why));
            ServeSettings::address(&wiring.text("serve.listen", text)?).map_err(refuse)?
        }
        (None, None) => ServeSettings::address(ServeSettings::LISTEN).map_err(|e| Error::new(ErrorKind::Config, e))?,
    };
    let given = Given::of(&settings.token, &settings.token_file, &settings.token_command);
    let config = ServerConfig::new(listen);
    match wiring.secret(cx, "serve.token", given).await? {
        Some(token) if token.expose_secret().len() < 16 => {
            let e = Error::new(ErrorKind::Config, "the token is shorter than 16 characters");
            Err(wiring.at("serve.token", e.with_help("make one: openssl rand -hex 32")))
        }
        Some(token) => Ok(config.with_token(token)),
        None => Ok(config),
    }
}

/// What a run that was killed left stopped is put back before anything else.
async fn put_right(cx: &Cx, quiescer: &Quiescer, sinks: &Sinks) -> Result<()> {
    for (component, told) in repair(cx, quiescer).await? {
        let event = match told {
            Ok(text) => Event::new(SystemClock.now(), Action::Quiesce, Phase::Succeeded, text),
            Err(e) => {
                let event = Event::new(SystemClock.now(), Action::Quiesce, Phase::Failed, e.chain());
                event.with_help(e.help().unwrap_or("start it by hand"))
            }
        };
        tell(sinks, &event.about(component)).await;
    }
    Ok(())
}

fn scheduler(wiring: &Arc<Wiring>, quiescer: &Arc<Quiescer>) -> Result<Scheduler> {
    let mut scheduled = Vec::new();
    for component in wiring.components() {
        let timetable = wiring.timetable(&component);
        let mut options = wiring.options(&component);
        if quiescer.has_plan(&component) {
            options = options.with_hooks(quiescer.clone());
        }
        let source = Arc::new(FromConfig::new(wiring.clone(), component.clone()));
        let retention = wiring.retention(&component);
        let mut one = ScheduledComponent::new(component, source, timetable).with_options(options);
        one.retention = retention;
        scheduled.push(one);
    }
    let scheduler = Scheduler::new(scheduled)?;
    Ok(match wiring.loaded.config.serve.finish_within {
        Some(span) => scheduler.with_stop(Stop::Finish { at_most: span.0 }),
        None => scheduler,
    })
}

async fn end(quiescer: &Quiescer, channels: &[Arc<Queued>], sinks: &Sinks) {
    let cx = Cx::background().with_deadline(std::time::SystemTime::now() + PUT_BACK);
    for (component, e) in quiescer.put_back_all(&cx).await {
        let event = Event::new(SystemClock.now(), Action::Quiesce, Phase::Failed, e.chain()).about(component);
        tell(sinks, &event).await;
    }
    for channel in channels {
        channel.close(LAST_WORDS).await;
    }
}

pub(super) async fn tell(sinks: &Sinks, event: &Event) {
    if let Err(e) = sinks.tell(&Cx::background(), event).await {
        tracing::warn!(error = %e.chain(), "an event could not be told everywhere");
    }
}
