//! The sections on what was measured and found.

use serde_json::Value;

use super::{
    Comparison,
    document::{Block, Cell, Tone, View},
};
use crate::runbook::StepStatus;

/// Evidence that is longer than this is cut in pages and Markdown; the JSON form has all of it.
const LONG: usize = 4000;

impl View<'_> {
    pub(super) fn objectives(self) -> Vec<Block> {
        let (r, w, l) = (self.report, self.words, self.language);
        let (time, point) = (&r.recovery_time, &r.recovery_point);
        let row = |what: &'static str, target: Option<f64>, actual: Option<f64>, outcome: Option<Cell>| {
            let gap = target.zip(actual).map(|(t, a)| l.span(a - t));
            let gap = gap.map_or_else(|| self.unknown(), |g| Cell::toned(g, Tone::Number));
            vec![what.into(), self.span(target), self.span(actual), gap, outcome.unwrap_or_else(|| "".into())]
        };
        let rows = vec![
            row(w.rta, time.target_seconds, time.actual_seconds, Some(self.outcome(time.outcome()))),
            row(w.rta_decision, time.target_seconds, time.since_decision_seconds, None),
            row(w.rta_plan, time.target_seconds, time.since_plan_seconds, None),
            row(w.rpa, point.target_seconds, point.actual_seconds, Some(self.outcome(point.outcome()))),
        ];
        let mut facts =
            vec![(w.records_lost, self.count(point.records_lost)), (w.newest, self.instant(point.newest_at))];
        facts.push((w.method, self.said(point.method.as_deref())));
        let head = vec![w.measure, w.target, w.actual, w.gap, w.outcome];
        vec![self.table(w.objectives_met, head, rows), Block::Facts { caption: w.rpa.to_owned(), rows: facts }]
    }

    pub(super) fn timeline(self) -> Vec<Block> {
        let (r, w, l) = (self.report, self.words, self.language);
        let points =
            r.clock.all().into_iter().map(|(name, at)| vec![Cell::code(name), l.point(name).into(), self.instant(at)]);
        let steps = r.steps.iter().map(|s| {
            let tone = match s.status {
                StepStatus::Done => Tone::Good,
                StepStatus::Failed | StepStatus::TimedOut | StepStatus::UndoFailed => Tone::Bad,
                StepStatus::Unknown => Tone::Unknown,
                _ => Tone::Plain,
            };
            let mut text = l.say(l.left_out(&s.text)).into_owned();
            if s.recovered {
                text = format!("{text} ({})", w.recovered);
            }
            // Steps of plans have names of their own; the rest is what a drill notes of itself.
            let id = if s.action.is_some() { s.id.as_str().into() } else { l.say(&s.id) };
            let name = s.marks.as_ref().map_or_else(|| id.clone().into_owned(), |m| format!("{id} ({m})"));
            vec![
                name.into(),
                Cell::toned(l.step_status(s.status), tone),
                s.began.map_or_else(|| "".into(), |at| Cell::new(l.instant(at))),
                s.took_seconds().map_or_else(|| "".into(), |t| Cell::toned(l.span(t), Tone::Number)),
                Cell::toned(s.attempts.to_string(), Tone::Number),
                text.into(),
            ]
        });
        let head = vec![w.step, w.state, w.started, w.took, w.tries, w.result];
        vec![
            Block::TimelineChart,
            self.table(w.clock, vec![w.point, w.meaning, w.when], points.collect()),
            self.table(w.steps, head, steps.collect()),
        ]
    }

    pub(super) fn availability(self) -> Vec<Block> {
        let (w, l) = (self.words, self.language);
        let Some(a) = &self.report.availability else {
            return vec![Block::Text(Cell::toned(w.not_measured, Tone::Unknown))];
        };
        let percent = |p: Option<f64>| p.map_or_else(|| self.unknown(), |p| Cell::new(l.percent(p)));
        let mut rows = vec![
            (w.window, Cell::new(format!("{} – {}", l.instant(a.from), l.instant(a.to)))),
            (w.actual, percent(a.percent)),
            (w.target, percent(a.target_percent)),
            (w.outcome, self.outcome(a.outcome())),
            (w.good_probes, Cell::new(format!("{} / {}", l.count(a.good), l.count(a.total)))),
            (w.missing_probes, Cell::new(l.count(a.missing))),
            (w.rate, self.or_unknown(a.rate_per_second.map(|r| l.decimal(r, 2)))),
            (w.outage, self.span(a.outage_seconds)),
            (w.longest_gap, self.span(a.longest_gap_seconds)),
            (w.degraded, self.span(a.degraded_seconds)),
        ];
        if !a.vantage_points.is_empty() {
            rows.push((w.vantage, a.vantage_points.join(", ").into()));
        }
        vec![Block::AvailabilityChart, Block::Facts { caption: w.availability.to_owned(), rows }]
    }

    pub(super) fn consistency(self) -> Vec<Block> {
        let (c, w) = (&self.report.consistency, self.words);
        if c.compared.is_empty() {
            return vec![Block::Text(Cell::toned(w.nothing_compared, Tone::Unknown))];
        }
        let facts = vec![(w.outcome, self.outcome(c.outcome())), (w.against, self.said(c.against.as_deref()))];
        let mut rows: Vec<Vec<Cell>> = c.compared.iter().map(|one| self.compared(one)).collect();
        // One that is not known makes the sum unknown.
        let sum = |of: &dyn Fn(&Comparison) -> Option<u64>| {
            self.count(c.compared.iter().map(of).try_fold(0u64, |all, n| Some(all.saturating_add(n?))))
        };
        rows.push(vec![
            w.total.into(),
            "".into(),
            sum(&|o| o.expected),
            sum(&|o| o.found),
            sum(&|o| o.missing),
            sum(&|o| o.extra),
            sum(&|o| o.different),
            "".into(),
            self.outcome(c.outcome()),
            "".into(),
        ]);
        let head =
            vec![w.component, w.what, w.expected, w.found, w.lost, w.extra, w.different, w.digest, w.outcome, w.remark];
        vec![Block::Facts { caption: w.consistency.to_owned(), rows: facts }, self.table(w.consistency, head, rows)]
    }

    fn compared(self, one: &Comparison) -> Vec<Cell> {
        let w = self.words;
        let digest = match (&one.expected_digest, &one.found_digest) {
            (Some(expected), Some(found)) if expected == found => Cell::toned(w.same_digest, Tone::Good),
            (Some(_), Some(_)) => Cell::toned(w.other_digest, Tone::Bad),
            _ => self.unknown(),
        };
        vec![
            one.component.as_str().into(),
            self.say(&one.what),
            self.count(one.expected),
            self.count(one.found),
            self.count(one.missing),
            self.count(one.extra),
            self.count(one.different),
            digest,
            self.outcome(one.outcome),
            self.say(one.text.as_deref().unwrap_or_default()),
        ]
    }

    pub(super) fn validation(self) -> Vec<Block> {
        let w = self.words;
        if self.report.validation.is_empty() {
            return vec![Block::Text(Cell::toned(w.no_validation, Tone::Unknown))];
        }
        let rows = self.report.validation.iter().map(|c| {
            vec![
                c.name.as_str().into(),
                c.site.as_deref().unwrap_or_default().into(),
                self.outcome(c.outcome),
                self.said(c.tolerance.as_deref()),
                self.said(c.measured.as_deref()),
                self.span(c.took_seconds),
                self.say(c.reason.as_deref().unwrap_or_default()),
            ]
        });
        let head = vec![w.check, w.step, w.outcome, w.tolerance, w.measured, w.took, w.reason];
        vec![self.table(w.validation, head, rows.collect())]
    }

    pub(super) fn clean_up(self) -> Vec<Block> {
        let w = self.words;
        let Some(clean_up) = &self.report.clean_up else { return vec![Block::Text(w.none.into())] };
        let facts = vec![(w.outcome, self.outcome(clean_up.outcome())), (w.when, self.instant(clean_up.at))];
        let mut blocks = vec![Block::Facts { caption: w.clean_up.to_owned(), rows: facts }];
        for (caption, list) in [(w.removed, &clean_up.removed), (w.untouched, &clean_up.production)] {
            let rows = list.iter().map(|i| vec![self.say(&i.what), self.outcome(i.outcome), self.say(&i.proof)]);
            blocks.push(self.table(caption, vec![w.what, w.outcome, w.proof], rows.collect()));
        }
        blocks
    }

    pub(super) fn evidence(self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for step in self.report.steps.iter().filter(|s| s.evidence != Value::Null) {
            let mut text = serde_json::to_string_pretty(&step.evidence).unwrap_or_default();
            if text.len() > LONG {
                let cut = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONG).last().unwrap_or_default();
                text.truncate(cut);
                text.push_str("\n…\n");
                text.push_str(self.words.evidence_cut);
            }
            blocks.push(Block::Code { title: step.id.clone(), text });
        }
        if blocks.is_empty() { vec![Block::Text(self.words.none.into())] } else { blocks }
    }
}
