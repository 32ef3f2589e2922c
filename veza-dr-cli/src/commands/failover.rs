//! `veza-dr failover`: plans, runs, and what became of them.

use std::sync::Arc;

use veza_dr_core::{Clock, Error, ErrorKind, Result, SystemClock, lease::Holder};
use veza_dr_failover::measure::{Span, eta};
use veza_dr_failover::runbook::{
    Approver, ApprovesElsewhere, Attestation, Bound, Engine, Mode, NobodyApproves, NobodyWatches, RunOptions,
    RunReport, RunStatus, Watcher, predictions,
};

use super::{
    Session,
    failover_watch::{Watch, held_to},
    report::{copied, verify_chain, write_report},
    session::{Go, not_confirmed},
};
use crate::{
    Exit,
    args::{Consent, Decisions, Failover, FailoverCommand, OneRun, Resume, RunStatusArgs, WhichPlan},
    render::{PlanView, RunLines, plan_json, plan_text, run_json, run_text},
    wiring_approval::AtTheTerminal,
    wiring_failover::Runbooks,
};

pub(crate) async fn failover(session: &Session, args: &Failover) -> Result<Exit> {
    let done = match &args.command {
        FailoverCommand::Plan(which) => plan(session, which).await,
        FailoverCommand::Run(args) => run(session, &args.which, &args.decisions).await,
        FailoverCommand::Back(decisions) => {
            run(session, &WhichPlan { scenario: "back".to_owned(), file: None }, decisions).await
        }
        FailoverCommand::Count(decisions) => {
            run(session, &WhichPlan { scenario: "count".to_owned(), file: None }, decisions).await
        }
        FailoverCommand::Resume(args) => resume(session, args).await,
        FailoverCommand::Status(args) => status(session, args).await,
        FailoverCommand::Confirm => super::dns::confirm(session).await,
    };
    match done {
        // A refusal by a named rule has a number of its own.
        Err(e) if e.context().any(|(key, _)| key == "rule") && e.kind() == ErrorKind::Conflict => {
            session.out.error(&e, Exit::Unsafe);
            Ok(Exit::Unsafe)
        }
        other => other,
    }
}

async fn runbooks(session: &Session, shown: bool) -> Result<Runbooks> {
    let wiring = Arc::new(session.wiring()?);
    let watcher: Arc<dyn Watcher> =
        if shown && !session.global.quiet { Arc::new(RunLines(session.out.stderr())) } else { Arc::new(NobodyWatches) };
    wiring.runbooks(&session.cx, session.store(), operator(session), watcher).await
}

async fn plan(session: &Session, which: &WhichPlan) -> Result<Exit> {
    let books = runbooks(session, false).await?;
    let (bound, left_out) = bind(session, &books, which)?;
    let known = predictions(&books.engine, &bound.plan().name)?;
    let violations = bound.violations();
    let view = PlanView { bound: &bound, left_out: &left_out, known: &known, violations: &violations };
    session.out.result(|| plan_json(&view), |paint| plan_text(&view, paint));
    Ok(if violations.is_empty() { Exit::Ok } else { Exit::Unsafe })
}

fn bind(session: &Session, books: &Runbooks, which: &WhichPlan) -> Result<(Bound, Vec<String>)> {
    let (plan, left_out) = session.wiring()?.plan(which, &books.present)?;
    Ok((Bound::new(plan, books.catalogue.as_ref())?, left_out))
}

async fn run(session: &Session, which: &WhichPlan, decisions: &Decisions) -> Result<Exit> {
    let books = runbooks(session, true).await?;
    let (bound, left_out) = bind(session, &books, which)?;
    // Whoever gives the hash has seen the plan.
    if decisions.plan_sha.is_none() {
        let known = predictions(&books.engine, &bound.plan().name)?;
        let violations = bound.violations();
        let view = PlanView { bound: &bound, left_out: &left_out, known: &known, violations: &violations };
        session.out.show(|paint| plan_text(&view, paint));
        let consent = Consent { plan: false, yes: decisions.yes };
        if let Go::No(e) = session.consent(&consent, "Run it?").await? {
            session.out.json_only(|| not_confirmed(&e, plan_json(&view)));
            return Ok(Exit::NotConfirmed);
        }
    }
    let watch = Watch::begin(session).await;
    let mut options = options(decisions);
    // What probes saw is known to the second.
    options.outage_began = options.outage_began.or_else(|| watch.as_ref()?.outage_began());
    let engine = books.engine.with_approver(approver(session, decisions));
    let ran = engine.start(&session.cx, &bound, options).await;
    finish(session, &engine, watch, ran).await
}

/// Ends the watch over a run, whatever became of it, and tells how it stands.
async fn finish(session: &Session, engine: &Engine, watch: Option<Watch>, ran: Result<RunReport>) -> Result<Exit> {
    let run = ran.as_ref().map(|r| r.run.clone()).unwrap_or_default();
    let record = match watch {
        Some(watch) => watch.end(session, &run).await,
        None => None,
    };
    let report = ran?;
    keep_report(session, engine, &report).await;
    Ok(held_to(told(session, &report, None), &report, record.as_ref()))
}

async fn resume(session: &Session, args: &Resume) -> Result<Exit> {
    let books = runbooks(session, true).await?;
    let engine = &books.engine.with_approver(approver(session, &args.decisions));
    let run = match &args.run.run {
        Some(run) => run.clone(),
        None => engine.unfinished()?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no run is unfinished").with_help("see: veza-dr failover status")
        })?,
    };
    if args.abandon {
        let why = args.decisions.reason.as_deref().unwrap_or_default();
        let watch = Watch::begin(session).await;
        let ran = engine.abandon(&session.cx, &run, why).await;
        return finish(session, engine, watch, ran).await;
    }
    // A run that is under way in another process is told, not taken over.
    if args.only_tells()
        && let Some(holder) = engine.holder(&session.cx).await?
    {
        let mut report = engine.report(&run)?;
        if args.decisions.ungraceful {
            engine.request_ungraceful(&run)?;
        }
        if !args.decisions.approve.is_empty() {
            report = engine.approve(&session.cx, &run, &options(&args.decisions)).await?;
        }
        // What was asked is done, whatever becomes of the run.
        told(session, &report, Some(&holder));
        return Ok(Exit::Ok);
    }
    let mut options = options(&args.decisions);
    for (step, took_place) in &args.took_place {
        options = options.with_settled(step, *took_place);
    }
    let watch = Watch::begin(session).await;
    let ran = if args.rollback {
        engine.rollback(&session.cx, &run, options).await
    } else {
        engine.resume(&session.cx, &run, options).await
    };
    finish(session, engine, watch, ran).await
}

/// Who is asked for approvals: the person at the terminal, or whoever approves from another process.
fn approver(session: &Session, decisions: &Decisions) -> Arc<dyn Approver> {
    match (session.out.asker(), decisions.wait_for_approval) {
        (Some(asker), _) => Arc::new(AtTheTerminal { asker, who: operator(session) }),
        (None, Some(time)) => Arc::new(ApprovesElsewhere(time)),
        (None, None) => Arc::new(NobodyApproves),
    }
}

fn operator(session: &Session) -> String {
    let user = session.env.get("USER").unwrap_or_else(|| "operator".to_owned());
    format!("{user}@{}", Holder::this_process("").host)
}

async fn status(session: &Session, args: &RunStatusArgs) -> Result<Exit> {
    if args.verify_chain {
        return verify_chain(session);
    }
    let books = runbooks(session, false).await?;
    let report = one(&books.engine, &args.run)?;
    if let Some(format) = args.report {
        let told = session.wiring()?.run_report(&report, &books.engine.path(&report.run))?;
        write_report(session, &told, format, &args.place)?;
        return Ok(exit(&report));
    }
    if args.place.output.is_some() {
        let e = Error::new(ErrorKind::Config, "--output is for a report: its form is not given");
        return Err(e.with_help("add --report html, md or json"));
    }
    // That nobody can be asked is no reason to hide what this host knows.
    let holder = match books.engine.holder(&session.cx).await {
        Ok(holder) => holder,
        Err(e) => {
            session.out.warn(&e);
            None
        }
    };
    let left = time_left(&books.engine, &report)?;
    let json = || {
        let mut document = run_json(&report, holder.as_deref());
        document["left"] = serde_json::json!(left);
        document
    };
    session.out.result(json, |paint| {
        let text = run_text(&report, holder.as_deref(), paint);
        match &left {
            Some(left) => format!(
                "{}\nUsers are probably served in {:.0} s (95 of 100 times within {:.0} s), of {} runs",
                text.trim_end(),
                left.p50_seconds,
                left.p95_seconds,
                left.samples
            ),
            None => text,
        }
    });
    Ok(exit(&report))
}

/// For a run that is not over: how long until users are served, by the runs before it.
fn time_left(engine: &Engine, report: &RunReport) -> Result<Option<Span>> {
    let over = [RunStatus::Completed, RunStatus::CompletedWithSkips, RunStatus::RolledBack, RunStatus::Abandoned];
    if over.contains(&report.status) {
        return Ok(None);
    }
    let (report, plan) = engine.journals().read(&report.run)?;
    Ok(eta(&plan, &report, &predictions(engine, &plan.name)?, SystemClock.now()))
}

fn one(engine: &Engine, args: &OneRun) -> Result<RunReport> {
    let newest = || {
        engine.runs()?.pop().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there was no run yet")
                .with_help("see what one would do: veza-dr failover plan")
        })
    };
    engine.report(&args.run.clone().map_or_else(newest, Ok)?)
}

fn options(decisions: &Decisions) -> RunOptions {
    let mut options = RunOptions::default().with_outage_began(decisions.outage_began).with_restore_at(decisions.at);
    if let Some(sha) = &decisions.plan_sha {
        options = options.with_plan_sha(sha);
    }
    if decisions.ungraceful {
        options = options.with_mode(Mode::Ungraceful);
    }
    options = options.in_the_name_of(decisions.by.clone(), decisions.reason.clone());
    // The command line has no skip and no override without a reason.
    let reason = decisions.reason.clone().unwrap_or_default();
    for step in &decisions.approve {
        options = options.with_approval(step);
    }
    for step in &decisions.skip {
        options = options.with_skip(step, &reason);
    }
    for rule in &decisions.overrides {
        options = options.with_override(*rule, &reason);
    }
    for (by, statement) in &decisions.attest {
        options = options.with_attestation(Attestation::new(by, statement, SystemClock.now()));
    }
    options
}

impl Resume {
    /// Whether all that is asked for can be told to a run that is under way.
    fn only_tells(&self) -> bool {
        let d = &self.decisions;
        let tells = d.ungraceful || !d.approve.is_empty();
        let decides = !(d.skip.is_empty() && d.overrides.is_empty() && d.attest.is_empty());
        tells && !decides && self.took_place.is_empty() && !self.rollback
    }
}

/// Every run that has ended leaves its report. That it cannot be kept does not undo what the run did.
async fn keep_report(session: &Session, engine: &Engine, report: &RunReport) {
    let kept = session.wiring().and_then(|w| Ok((w.run_report(report, &engine.path(&report.run))?, w)));
    match kept {
        Ok((kept, wiring)) if kept.sha256.is_some() => {
            copied(session, &wiring).await;
            let run = &report.run;
            session.out.remark(&format!("report {}: veza-dr failover status {run} --report html", kept.id));
        }
        Ok(_) => {}
        Err(e) => session.out.warn(&e),
    }
}

fn told(session: &Session, report: &RunReport, holder: Option<&str>) -> Exit {
    session.out.result(|| run_json(report, holder), |paint| run_text(report, holder, paint));
    exit(report)
}

fn exit(report: &RunReport) -> Exit {
    match report.status {
        RunStatus::Completed | RunStatus::RolledBack | RunStatus::Abandoned => Exit::Ok,
        RunStatus::CompletedWithSkips => Exit::TargetMissed,
        RunStatus::NeedsHuman => Exit::NeedsHuman,
        RunStatus::Refused => Exit::Unsafe,
        _ => Exit::Partial,
    }
}
