//! A report as sections of tables and lists, before it is a page or Markdown: what is shown is decided here, once.

use chrono::{DateTime, Utc};

use super::{Language, Outcome, RecoveryReport, words::Words};

/// How a piece of text is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Unknown,
    /// A hash, a command.
    Code,
    /// A number, to be set to the right.
    Number,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    pub(super) fn code(text: impl Into<String>) -> Self {
        Self::toned(text, Tone::Code)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// A number that sums the report up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) label: &'static str,
    pub(super) value: Cell,
    pub(super) detail: String,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Figures(Vec<Figure>),
    Text(Cell),
    List(Vec<String>),
    Facts { caption: String, rows: Vec<(&'static str, Cell)> },
    Table { caption: String, head: Vec<&'static str>, rows: Vec<Vec<Cell>> },
    TimelineChart,
    AvailabilityChart,
    Code { title: String, text: String },
}

/// A section with its heading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    /// Its name in links.
    pub(super) anchor: &'static str,
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

/// What the builders of sections have at hand.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) report: &'a RecoveryReport,
    pub(super) language: Language,
    pub(super) words: &'static Words,
}

impl<'a> View<'a> {
    pub(super) fn new(report: &'a RecoveryReport, language: Language) -> Self {
        Self { report, language, words: language.words() }
    }

    /// The document's title: the type, the scenario and the name.
    pub(super) fn title(self) -> String {
        let kind = self.language.kind(self.report.kind);
        match &self.report.scenario {
            Some(scenario) => format!("{kind}{}{}", self.language.colon(), self.language.scenario(scenario)),
            None => kind.to_owned(),
        }
    }

    pub(super) fn outcome(self, outcome: Outcome) -> Cell {
        let tone = match outcome {
            Outcome::Passed => Tone::Good,
            Outcome::Failed => Tone::Bad,
            Outcome::Unknown => Tone::Unknown,
            Outcome::NotDone => Tone::Plain,
        };
        Cell::toned(self.language.outcome(outcome), tone)
    }

    pub(super) fn unknown(self) -> Cell {
        Cell::toned(self.words.unknown, Tone::Unknown)
    }

    /// A sentence of the engine in the report's language; other texts as they are.
    pub(super) fn say(self, text: &str) -> Cell {
        Cell::new(self.language.say(text))
    }

    /// The same of one that may be unknown.
    pub(super) fn said(self, text: Option<&str>) -> Cell {
        self.or_unknown(text.map(|text| self.language.say(text)))
    }

    /// A text that may be unknown.
    pub(super) fn or_unknown(self, text: Option<impl Into<String>>) -> Cell {
        text.map_or_else(|| self.unknown(), Cell::new)
    }

    pub(super) fn instant(self, at: Option<DateTime<Utc>>) -> Cell {
        self.or_unknown(at.map(|at| self.language.instant(at)))
    }

    pub(super) fn span(self, seconds: Option<f64>) -> Cell {
        match seconds {
            Some(seconds) => Cell::toned(self.language.span(seconds), Tone::Number),
            None => self.unknown(),
        }
    }

    pub(super) fn count(self, n: Option<u64>) -> Cell {
        match n {
            Some(n) => Cell::toned(self.language.count(n), Tone::Number),
            None => self.unknown(),
        }
    }

    pub(super) fn hash(self, sum: Option<&String>) -> Cell {
        sum.map_or_else(|| self.unknown(), Cell::code)
    }

    /// A list, or the word that there is nothing on it.
    pub(super) fn list(self, lines: &[String]) -> Block {
        if lines.is_empty() { Block::Text(self.words.none.into()) } else { self.lines(lines) }
    }

    /// A list that is not empty.
    pub(super) fn lines(self, lines: &[String]) -> Block {
        Block::List(lines.iter().map(|line| self.language.say(line).into_owned()).collect())
    }

    /// A table, or the word that there is nothing in it.
    pub(super) fn table(self, caption: &str, head: Vec<&'static str>, rows: Vec<Vec<Cell>>) -> Block {
        if rows.is_empty() {
            return Block::Text(format!("{caption}{}{}", self.language.colon(), self.words.none.to_lowercase()).into());
        }
        Block::Table { caption: caption.to_owned(), head, rows }
    }

    /// All sections, in the order in which they are read.
    pub(super) fn sections(self) -> Vec<Section> {
        let w = self.words;
        let section = |anchor, title, blocks| Section { anchor, title, blocks };
        vec![
            section("summary", w.summary, self.summary()),
            section("identity", w.identity, self.identity()),
            section("scope", w.scope, self.scope()),
            section("criteria", w.criteria, self.criteria()),
            section("objectives", w.objectives_met, self.objectives()),
            section("timeline", w.timeline, self.timeline()),
            section("deviations", w.deviations, self.deviations()),
            section("availability", w.availability, self.availability()),
            section("consistency", w.consistency, self.consistency()),
            section("validation", w.validation, self.validation()),
            section("people", w.people, self.people()),
            section("communication", w.communication, self.communication()),
            section("clean-up", w.clean_up, self.clean_up()),
            section("findings", w.findings, self.findings()),
            section("plan", w.plan, self.plan()),
            section("sign-off", w.sign_off, self.sign_off()),
            section("chain", w.chain, self.chain()),
            section("evidence", w.evidence, self.evidence()),
        ]
    }

    fn summary(self) -> Vec<Block> {
        let (r, w, l) = (self.report, self.words, self.language);
        let against = |outcome: Outcome, target: Option<f64>| {
            let target = target.map_or_else(|| w.unknown.to_owned(), |t| l.span(t));
            match outcome {
                Outcome::Passed => format!("{} ({target})", w.within),
                Outcome::Failed => format!("{} ({target})", w.beyond),
                _ => format!("{} {target}", w.objective),
            }
        };
        let toned = |mut cell: Cell, outcome: Outcome| {
            cell.tone = self.outcome(outcome).tone;
            cell
        };
        let (time, point) = (&r.recovery_time, &r.recovery_point);
        let done = r.steps.iter().filter(|s| s.status == crate::runbook::StepStatus::Done).count();
        let mut figures = vec![
            Figure {
                label: w.rto_card,
                value: toned(self.span(time.actual_seconds), time.outcome()),
                detail: against(time.outcome(), time.target_seconds),
            },
            Figure {
                label: w.rpo_card,
                value: toned(self.span(point.actual_seconds), point.outcome()),
                detail: against(point.outcome(), point.target_seconds),
            },
            Figure { label: w.lost_card, value: self.count(point.records_lost), detail: String::new() },
        ];
        let percent = r.availability.as_ref().and_then(|a| a.percent);
        figures.push(Figure {
            label: w.availability,
            value: percent.map_or_else(|| self.unknown(), |p| Cell::new(l.percent(p))),
            detail: r.availability.as_ref().map_or_else(String::new, |a| {
                let seconds = super::measured::seconds_between(Some(a.from), Some(a.to)).unwrap_or_default();
                format!("{}{}{}", w.window, l.colon(), l.span(seconds))
            }),
        });
        figures.push(Figure {
            label: w.steps_done,
            value: Cell::new(format!("{done}/{}", r.steps.len())),
            detail: String::new(),
        });
        let mut blocks = vec![Block::Figures(figures)];
        if !r.reasons.is_empty() {
            blocks.push(Block::Text(Cell::toned(format!("{}{}", w.why_not, l.colon().trim_end()), Tone::Plain)));
            blocks.push(self.lines(&r.reasons));
        }
        blocks
    }

    fn identity(self) -> Vec<Block> {
        let (r, w) = (self.report, self.words);
        let mut rows = vec![
            (w.id, Cell::code(&r.id)),
            (w.kind, self.language.kind(r.kind).into()),
            (w.scenario, self.or_unknown(r.scenario.as_deref().map(|s| self.language.scenario(s)))),
        ];
        if !r.about.is_empty() {
            rows.push((w.about, self.say(&r.about)));
        }
        rows.push((w.started, self.instant(Some(r.started_at))));
        rows.push((w.ended, self.instant(r.ended_at)));
        if let Some(run) = &r.run {
            rows.push((w.run, Cell::code(run)));
            rows.push((w.journal, self.hash(r.journal_sha256.as_ref())));
        }
        if let Some(sum) = &r.revises {
            rows.push((w.revises, Cell::code(sum)));
        }
        vec![Block::Facts { caption: w.identity.to_owned(), rows }]
    }

    fn chain(self) -> Vec<Block> {
        let (r, w) = (self.report, self.words);
        let Some(link) = &r.chain else { return vec![Block::Text(w.draft.into())] };
        let before = link.previous_sha256.as_ref().map_or_else(|| w.first.into(), Cell::code);
        let rows = vec![
            (w.number, self.count(Some(link.seq))),
            (w.own_hash, self.hash(r.sha256.as_ref())),
            (w.previous_hash, before),
        ];
        vec![Block::Facts { caption: w.chain.to_owned(), rows }]
    }
}
