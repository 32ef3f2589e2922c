//! The sections on what people planned, did and decided.

use super::{
    Criterion, Decision,
    document::{Block, Cell, Tone, View},
};

impl View<'_> {
    pub(super) fn scope(self) -> Vec<Block> {
        let (s, w) = (&self.report.scope, self.words);
        let listed = |list: &[String]| if list.is_empty() { self.unknown() } else { Cell::new(list.join(", ")) };
        let mut rows = vec![(w.components, listed(&s.components)), (w.sites, listed(&s.sites))];
        rows.push((w.place, self.said(s.place.as_deref())));
        if !s.third_parties.is_empty() {
            rows.push((w.third_parties, s.third_parties.join(", ").into()));
        }
        rows.push((w.risk, s.risk_reference.as_deref().map_or_else(|| w.not_set.into(), Cell::from)));
        let mut blocks = vec![Block::Facts { caption: w.scope.to_owned(), rows }];
        if !s.exclusions.is_empty() {
            let rows = s.exclusions.iter().map(|e| vec![self.say(&e.what), self.say(&e.why)]).collect();
            blocks.push(self.table(w.exclusions, vec![w.what, w.why], rows));
        }
        if !self.report.objectives.is_empty() {
            blocks.push(Block::Text(format!("{}{}", w.objectives, self.language.colon().trim_end()).into()));
            blocks.push(self.lines(&self.report.objectives));
        }
        blocks
    }

    pub(super) fn criteria(self) -> Vec<Block> {
        let (c, w) = (&self.report.criteria, self.words);
        let mut rows = vec![(w.criteria_fixed, self.instant(c.fixed_at))];
        if let Some(source) = &c.source {
            rows.push((w.criteria_source, self.say(source)));
        }
        let mut blocks = vec![Block::Facts { caption: w.criteria.to_owned(), rows }, self.judged(w.criteria, &c.list)];
        if c.fixed_at.is_some_and(|at| at > self.report.started_at) {
            blocks.push(Block::Text(Cell::toned(w.fixed_late, Tone::Bad)));
        }
        if !self.report.preconditions.is_empty() {
            blocks.push(self.judged(w.preconditions, &self.report.preconditions));
        }
        blocks
    }

    fn judged(self, caption: &str, list: &[Criterion]) -> Block {
        let w = self.words;
        let rows = list.iter().map(|c| {
            let text = self.language.criterion(&c.id, &c.text);
            let measured = self.said(c.measured.as_deref());
            vec![
                Cell::new(format!("{}{}{text}", c.id, self.language.colon())),
                self.say(&c.target),
                measured,
                self.outcome(c.outcome),
            ]
        });
        self.table(caption, vec![w.criterion, w.target, w.measured, w.outcome], rows.collect())
    }

    pub(super) fn deviations(self) -> Vec<Block> {
        let (r, w) = (self.report, self.words);
        let decided = |caption: &str, what: &'static str, list: &[Decision]| {
            let rows = list.iter().map(|d| {
                let when = self.instant(d.at);
                vec![d.what.as_str().into(), d.who.as_str().into(), d.why.as_str().into(), when]
            });
            self.table(caption, vec![what, w.who, w.why, w.when], rows.collect())
        };
        vec![self.list(&r.deviations), decided(w.skips, w.step, &r.skips), decided(w.overrides, w.rule, &r.overrides)]
    }

    pub(super) fn people(self) -> Vec<Block> {
        let w = self.words;
        let rows = self.report.people.iter().map(|p| {
            let of = p.of.as_deref().unwrap_or_default();
            vec![p.name.as_str().into(), self.language.role(&p.role).into(), of.into(), self.instant(p.at)]
        });
        vec![self.table(w.people, vec![w.name, w.role, w.concerning, w.when], rows.collect())]
    }

    pub(super) fn communication(self) -> Vec<Block> {
        let w = self.words;
        let rows = self.report.communication.iter().map(|c| {
            let to = self.or_unknown(c.to.as_deref());
            vec![c.channel.as_str().into(), to, self.instant(c.at), self.outcome(c.outcome), c.text.as_str().into()]
        });
        vec![self.table(w.communication, vec![w.channel, w.to, w.when, w.outcome, w.text], rows.collect())]
    }

    pub(super) fn findings(self) -> Vec<Block> {
        let (r, w) = (self.report, self.words);
        let open = |text: Option<String>| text.map_or_else(|| Cell::toned(w.not_set, Tone::Unknown), Cell::new);
        let rows = r.findings.iter().map(|f| {
            vec![
                Cell::code(&f.id),
                self.language.severity(f.severity).into(),
                self.say(&f.text),
                open(f.owner.clone()),
                open(f.due.map(|d| self.language.date(d))),
            ]
        });
        let mut blocks =
            vec![self.table(w.findings, vec![w.id, w.severity, w.finding, w.owner, w.due], rows.collect())];
        if !r.retests.is_empty() {
            let rows = r.retests.iter().map(|t| {
                let (report, finding) = (Cell::code(&t.report), Cell::code(&t.finding));
                vec![report, finding, self.outcome(t.outcome), self.say(&t.text)]
            });
            let head = vec![w.earlier_report, w.finding, w.outcome, w.text];
            blocks.push(self.table(w.retests, head, rows.collect()));
        }
        for (title, list) in [(w.lessons, &r.lessons), (w.plan_changes, &r.plan_changes)] {
            if !list.is_empty() {
                blocks.push(Block::Text(format!("{title}{}", self.language.colon().trim_end()).into()));
                blocks.push(Block::List(list.clone()));
            }
        }
        blocks
    }

    pub(super) fn plan(self) -> Vec<Block> {
        let (r, w) = (self.report, self.words);
        let name = if r.plan.name.is_empty() { self.unknown() } else { self.say(&r.plan.name) };
        let mut facts = vec![(w.plan_name, name), (w.plan_hash, self.hash(r.plan.sha256.as_ref()))];
        if !r.plan.left_out.is_empty() {
            facts.push((w.left_out, r.plan.left_out.join(", ").into()));
        }
        let rows = r.versions.iter().map(|v| vec![v.what.as_str().into(), self.or_unknown(v.version.as_deref())]);
        vec![
            Block::Facts { caption: w.plan.to_owned(), rows: facts },
            self.table(w.versions, vec![w.what, w.version], rows.collect()),
        ]
    }

    pub(super) fn sign_off(self) -> Vec<Block> {
        let (r, w) = (self.report, self.words);
        let rows: Vec<Vec<Cell>> = r
            .sign_off
            .iter()
            .map(|s| {
                let said = s.statement.as_deref().unwrap_or_default();
                vec![s.name.as_str().into(), s.role.as_str().into(), self.instant(Some(s.at)), said.into()]
            })
            .collect();
        let signed = if rows.is_empty() {
            Block::Text(Cell::toned(w.unsigned, Tone::Unknown))
        } else {
            self.table(w.sign_off, vec![w.name, w.role, w.when, w.statement], rows)
        };
        let next = r.next_due.map_or_else(|| w.not_set.into(), |at| Cell::new(self.language.instant(at)));
        vec![signed, Block::Facts { caption: w.next_due.to_owned(), rows: vec![(w.next_due, next)] }]
    }
}
