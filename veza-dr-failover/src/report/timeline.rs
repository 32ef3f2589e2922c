//! The charts, as drawings that a page holds in itself.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};

use super::{AvailabilitySpan, document::View, escape::html as escape, measured::seconds_between};
use crate::runbook::StepStatus;

const WIDTH: f64 = 960.0;
/// Where names end and time begins.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 24.0;
/// Bars of the availability chart; more would be thinner than a line.
const BARS: usize = 240;

/// Time on a line.
struct Scale {
    from: DateTime<Utc>,
    seconds: f64,
    left: f64,
    width: f64,
}

impl Scale {
    fn new(from: DateTime<Utc>, to: DateTime<Utc>, left: f64, width: f64) -> Self {
        Self { from, seconds: seconds_between(Some(from), Some(to)).unwrap_or_default().max(0.001), left, width }
    }

    fn x(&self, at: DateTime<Utc>) -> f64 {
        let since = seconds_between(Some(self.from), Some(at)).unwrap_or_default();
        self.left + (since / self.seconds).clamp(0.0, 1.0) * self.width
    }

    /// Five instants with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        let days = self.seconds > 2.0 * 86400.0;
        (0..5u8)
            .map(|n| {
                let share = f64::from(n) / 4.0;
                #[allow(clippy::cast_possible_truncation, reason = "milliseconds of centuries fit")]
                let at = self.from + TimeDelta::milliseconds((self.seconds * share * 1000.0) as i64);
                let label = if days { at.format("%d.%m. %H:%M") } else { at.format("%H:%M:%S") };
                (self.left + share * self.width, label.to_string())
            })
            .collect()
    }

    fn axis(&self, out: &mut String, top: f64, bottom: f64) {
        for (x, label) in self.ticks() {
            let _ =
                write!(out, "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>");
            let y = bottom + 15.0;
            let _ =
                write!(out, "<text class=\"faint\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>");
        }
    }
}

/// The start of a drawing, with the words that a reader hears who does not see it.
fn begin(name: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-labelledby=\"{name}-t {name}-d\">\
         <title id=\"{name}-t\">{}</title><desc id=\"{name}-d\">{}</desc>",
        escape(title),
        escape(description)
    )
}

fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

/// The steps as bars over time with the clock points as lines; nothing when no step has a time.
pub(super) fn steps(view: View<'_>) -> Option<String> {
    let r = view.report;
    let points: Vec<(&str, DateTime<Utc>)> =
        r.clock.all().into_iter().filter_map(|(name, at)| Some((name, at?))).collect();
    let timed: Vec<_> = r.steps.iter().filter_map(|s| Some((s, s.began?))).collect();
    let last = timed.iter().map(|(s, began)| s.ended.unwrap_or(*began)).chain(points.iter().map(|p| p.1)).max()?;
    let first = timed.iter().map(|t| t.1).chain(points.iter().map(|p| p.1)).min()?;
    let end = r.ended_at.map_or(last, |at| at.max(last));
    let scale = Scale::new(first, end, LEFT, WIDTH - LEFT - RIGHT);
    // Labels of points that lie close to each other go into rows of their own.
    let mut rows: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for (name, at) in &points {
        let x = scale.x(*at);
        let row = rows.iter().position(|free| *free <= x).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(0.0);
        }
        rows[row] = x + 24.0;
        placed.push((*name, x, row));
    }
    #[allow(clippy::cast_precision_loss, reason = "a few rows")]
    let (top, height) = (14.0 * rows.len() as f64 + 8.0, timed.len() as f64 * ROW);
    let mut out = begin("steps", view.words.timeline_chart, &described(view, &points), top + height + 26.0);
    scale.axis(&mut out, top, top + height);
    for (name, x, row) in placed {
        #[allow(clippy::cast_precision_loss, reason = "a few rows")]
        let y = 14.0 * row as f64 + 12.0;
        let bottom = top + height;
        let _ = write!(out, "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>");
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>", x + 3.0, y);
    }
    for (at, (step, began)) in timed.into_iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "a few rows")]
        let y = top + at as f64 * ROW;
        let x = scale.x(began);
        let width = (scale.x(step.ended.unwrap_or(end)) - x).max(3.0);
        let (class, sign) = match step.status {
            StepStatus::Done => ("good", "✓"),
            StepStatus::Failed | StepStatus::TimedOut | StepStatus::UndoFailed => ("bad", "✗"),
            StepStatus::Unknown => ("unknown", "?"),
            _ => ("plain", "–"),
        };
        let name = escape(&shortened(&step.id, 30));
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0, y + 16.0);
        let bar = y + 5.0;
        let _ = write!(
            out,
            "<rect class=\"bar-{class}\" x=\"{x:.1}\" y=\"{bar:.1}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/>"
        );
        let took = step.took_seconds().map_or_else(String::new, |t| view.language.span(t));
        let _ = write!(
            out,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\">{sign} {took}</text>",
            x + width + 5.0,
            y + 16.0
        );
    }
    out.push_str("</svg>");
    Some(out)
}

fn described(view: View<'_>, points: &[(&str, DateTime<Utc>)]) -> String {
    let steps = view.report.steps.iter().map(|s| {
        let took = s.took_seconds().map_or_else(|| view.words.unknown.to_owned(), |t| view.language.span(t));
        format!("{}: {}, {took}", s.id, view.language.step_status(s.status))
    });
    let points = points.iter().map(|(name, at)| format!("{name}: {}", at.format("%H:%M:%S")));
    steps.chain(points).collect::<Vec<_>>().join("; ")
}

/// Availability over its window; nothing when it was not measured span by span.
pub(super) fn availability(view: View<'_>) -> Option<String> {
    let a = view.report.availability.as_ref().filter(|a| !a.spans.is_empty())?;
    let (top, height) = (22.0, 120.0);
    let scale = Scale::new(a.from, a.to, 60.0, WIDTH - 100.0);
    let told = a.percent.map_or_else(|| view.words.unknown.to_owned(), |p| view.language.percent(p));
    let mut out = begin("availability-chart", view.words.availability_chart, &told, top + height + 26.0);
    scale.axis(&mut out, top, top + height);
    for (share, label) in [(0.0, "100"), (0.5, "50"), (1.0, "0")] {
        let y = top + share * height;
        let _ = write!(out, "<line class=\"axis\" x1=\"60\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>", WIDTH - 40.0);
        let _ = write!(out, "<text class=\"faint\" x=\"54\" y=\"{:.1}\" text-anchor=\"end\">{label} %</text>", y + 4.0);
    }
    for span in thinned(&a.spans) {
        let (x, end) = (scale.x(span.from), scale.x(span.to));
        let width = (end - x).max(1.0);
        #[allow(clippy::cast_precision_loss, reason = "probes of a span")]
        let good = if span.total == 0 { 0.0 } else { span.good.min(span.total) as f64 / span.total as f64 };
        let mut bar = |class: &str, from: f64, share: f64| {
            if share > 0.0 {
                let (y, tall) = (top + from * height, share * height);
                let _ = write!(
                    out,
                    "<rect class=\"bar-{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{tall:.1}\"/>"
                );
            }
        };
        if span.total == 0 {
            // Nothing is known: a mark at half height, unlike good and bad.
            bar("unknown", 0.45, 0.1);
        } else {
            bar("good", 1.0 - good, good);
            bar("bad", 0.0, 1.0 - good);
        }
    }
    for (name, at) in view.report.clock.all() {
        let Some(at) = at.filter(|at| *at >= a.from && *at <= a.to && matches!(name, "T0" | "T6")) else { continue };
        let x = scale.x(at);
        let bottom = top + height;
        let _ = write!(
            out,
            "<line class=\"mark\" x1=\"{x:.1}\" y1=\"8\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/><text x=\"{:.1}\" y=\"14\">{name}</text>",
            x + 3.0
        );
    }
    out.push_str("</svg>");
    Some(out)
}

/// Neighbours put together until there are few enough to be drawn.
fn thinned(spans: &[AvailabilitySpan]) -> Vec<AvailabilitySpan> {
    let together = spans.len().div_ceil(BARS).max(1);
    let groups = spans.chunks(together).filter_map(|group| {
        let (first, last) = (group.first()?, group.last()?);
        let sum = |of: fn(&AvailabilitySpan) -> u64| group.iter().map(of).fold(0u64, u64::saturating_add);
        Some(AvailabilitySpan { from: first.from, to: last.to, good: sum(|s| s.good), total: sum(|s| s.total) })
    });
    groups.collect()
}
