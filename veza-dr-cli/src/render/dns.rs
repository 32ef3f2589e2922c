//! Where users are led, for people.

use comfy_table::Cell;
use veza_dr_failover::dns::{
    Agreement, FlagState, RecordReport, SavedSwitch, ServerAnswer, Side, SwitchPlan, SwitchReport, ZoneView, shown,
};

use super::{Paint, human::table, words::local};

pub(crate) fn dns_plan_text(plan: &SwitchPlan, paint: Paint) -> String {
    let mut text = format!("{}: {}\n", paint.strong("Plan"), plan.goal);
    for record in &plan.records {
        let (before, after) = (shown(record.before.as_ref()), shown(record.after.as_ref()));
        if before == after {
            text.push_str(&format!("  {} stays {before}\n", record.key));
        } else {
            text.push_str(&format!("  {}\n    from {before}\n    to   {after}\n", record.key));
        }
    }
    for warning in &plan.warnings {
        text.push_str(&format!("  {}: {warning}\n", paint.warn("note")));
    }
    if let Some(ttl) = plan.old_ttl() {
        text.push_str(&format!("  caches may keep the old answers for {ttl} s\n"));
    }
    text.push_str(&format!("  sha256 {}\n", plan.sha()));
    if plan.is_empty() {
        text.push_str("Nothing is to be changed.");
    }
    text
}

fn agreement(server: &ServerAnswer, paint: Paint) -> String {
    match server.agreement {
        Agreement::Wanted => paint.good("right"),
        Agreement::Before => paint.warn("old answer"),
        Agreement::Other => paint.bad("another answer"),
        Agreement::NoAnswer => paint.bad("no answer"),
        _ => "not compared".to_owned(),
    }
}

fn answers(record: &RecordReport, paint: Paint) -> String {
    let mut text = format!("  {}: {}\n", paint.strong(&record.record), record.wanted);
    if let Some(problem) = &record.problem {
        text.push_str(&format!("    {}: {problem}\n", paint.bad("name servers")));
    }
    let mut out = table(paint, &["who", "answers", "TTL", ""]);
    let each = record.servers.iter().map(|s| ("name server", s));
    for (role, server) in each.chain(record.resolvers.iter().map(|s| ("resolver", s))) {
        let (values, ttl) = match &server.answer {
            Some(answer) if answer.values.is_empty() => ("no record".to_owned(), String::new()),
            Some(answer) => (answer.values.join(", "), answer.ttl.map_or(String::new(), |t| format!("{t} s"))),
            None => (server.problem.clone().unwrap_or_default(), String::new()),
        };
        let who = format!("{role} {}", server.server);
        out.add_row([Cell::new(who), Cell::new(values), Cell::new(ttl), Cell::new(agreement(server, paint))]);
    }
    text.push_str(&out.trim_fmt());
    text.push('\n');
    text
}

pub(crate) fn dns_report_text(report: &SwitchReport, paint: Paint) -> String {
    let goal = if report.rolled_back { format!("Taken back: {}", report.goal) } else { report.goal.to_string() };
    let mut text = format!("{}\n", paint.strong(&goal));
    for record in &report.records {
        text.push_str(&answers(record, paint));
    }
    if let Some(at) = report.in_sync_at {
        text.push_str(&format!("  all servers of the provider had it at {}\n", local(at)));
    }
    if let Some(at) = report.caches_clear_at {
        text.push_str(&format!("  the last cached copy of the old answer runs out at {}\n", local(at)));
    }
    if let Some(by) = report.confirm_by {
        text.push_str(&format!("  taken back at {} unless confirmed\n", local(by)));
    }
    let next = if report.rolled_back { "veza-dr dns show" } else { "veza-dr dns show, or veza-dr dns rollback" };
    text.push_str(&format!("next: {next}"));
    text
}

fn last(saved: &SavedSwitch, overdue: bool, paint: Paint) -> String {
    let phase = serde_json::to_value(saved.phase).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " ")));
    let mut text = format!("Last switch: {}, {}, {}\n", saved.goal, local(saved.begun_at), phase.unwrap_or_default());
    match saved.confirm_by {
        Some(by) if overdue => text.push_str(&format!(
            "  {}: it was to be taken back at {} and was not\nnext: veza-dr dns rollback, or veza-dr dns confirm to keep it",
            paint.bad("not confirmed"),
            local(by)
        )),
        Some(by) if saved.awaits_confirmation() => {
            text.push_str(&format!("  taken back at {} unless confirmed\nnext: veza-dr dns confirm", local(by)));
        }
        _ => {}
    }
    text
}

pub(crate) fn dns_view_text(view: &ZoneView, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.strong(&view.provider));
    for record in &view.records {
        let side = record.side.map_or("leads to no one site".to_owned(), |side| format!("leads to the {side}"));
        match &record.problem {
            Some(problem) => text.push_str(&format!("{}: {}: {problem}\n", record.label, paint.bad("not known"))),
            None => text.push_str(&format!("{}: {side}\n", record.label)),
        }
        for held in &record.held {
            text.push_str(&format!("  holds {held}\n"));
        }
        if let Some(ttl) = record.normal_ttl {
            text.push_str(&format!("  its TTL is lowered from {ttl} s: veza-dr dns switch --restore-ttl\n"));
        }
        if let Some(report) = &record.answers {
            text.push_str(&answers(report, paint));
        }
    }
    for difference in &view.differences {
        text.push_str(&format!("{}: {difference}\n", paint.warn("differs")));
    }
    match &view.last {
        Some(saved) => text.push_str(&last(saved, view.overdue, paint)),
        None => text.push_str("This host made no switch.\nnext: veza-dr dns switch --to standby --plan"),
    }
    text
}

fn flag_word(state: &FlagState) -> &'static str {
    match state {
        FlagState::Lowered => "lowered: users are led to the primary",
        _ => "raised: users are led to the standby",
    }
}

pub(crate) fn flag_plan_text(state: &FlagState, to: Side, paint: Paint) -> String {
    let act = if to == Side::Standby { "raise" } else { "lower" };
    format!("{}: {act} the health flag, lead users to the {to}\n  it is {}", paint.strong("Plan"), flag_word(state))
}

/// How the flag stands; with what the name servers answer, where nothing else tells that.
pub(crate) fn flag_text(state: &FlagState, report: &SwitchReport, with_answers: bool, paint: Paint) -> String {
    let mut text = format!("{} is {}\n", paint.strong("The health flag"), flag_word(state));
    if let FlagState::Raised(why) = state {
        why.lines().skip(1).for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    if with_answers {
        report.records.iter().for_each(|record| text.push_str(&answers(record, paint)));
        let other = if *state == FlagState::Lowered { "standby" } else { "primary" };
        text.push_str(&format!("next: veza-dr dns switch --to {other} --by flag\n"));
    }
    text
}
