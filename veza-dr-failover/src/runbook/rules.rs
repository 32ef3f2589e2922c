//! The rules that every plan and every run obeys, each with a name that an override must repeat.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{Bound, Effects, Establishes, Safety, StepAction, UndoPolicy, load::nearest};

/// A rule. The first five are about a plan's form and cannot be overridden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// No step comes before itself.
    NoCycle,
    /// Every need names a step of the plan.
    KnownSteps,
    /// No two steps share a name.
    UniqueIds,
    /// What must be undoable has a way back.
    UndoGiven,
    /// Of every step it can be found out whether it took place, or it is done at most once.
    ProbeOrAtMostOnce,
    /// A site takes writes only while every other site is proven not to.
    OneWritableSite,
    /// Names lead to a site only after it was validated by its own address.
    ValidatedBeforeDns,
    /// Data is replaced or deleted only while a verified copy of it exists.
    VerifiedCopy,
    /// Names are led elsewhere only while they lead to one of the two sites: what somebody else set is not written over.
    KnownNames,
    /// Only one run at a time, by a lease in the store.
    OneRun,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 10] = [
        Self::NoCycle,
        Self::KnownSteps,
        Self::UniqueIds,
        Self::UndoGiven,
        Self::ProbeOrAtMostOnce,
        Self::OneWritableSite,
        Self::ValidatedBeforeDns,
        Self::VerifiedCopy,
        Self::KnownNames,
        Self::OneRun,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCycle => "no-cycle",
            Self::KnownSteps => "known-steps",
            Self::UniqueIds => "unique-ids",
            Self::UndoGiven => "undo-given",
            Self::ProbeOrAtMostOnce => "probe-or-at-most-once",
            Self::OneWritableSite => "one-writable-site",
            Self::ValidatedBeforeDns => "validated-before-dns",
            Self::VerifiedCopy => "verified-copy",
            Self::KnownNames => "known-names",
            Self::OneRun => "one-run",
        }
    }

    /// Whether a person may decide to go on without it.
    #[must_use]
    pub fn can_be_overridden(self) -> bool {
        matches!(
            self,
            Self::OneWritableSite | Self::ValidatedBeforeDns | Self::VerifiedCopy | Self::KnownNames | Self::OneRun
        )
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let help = match nearest(text, names) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("the rules are {}", names.join(", ")),
            };
            Error::new(ErrorKind::Config, format!("there is no rule `{text}`")).with_help(help)
        })
    }
}

/// A rule that a plan or a run would break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// The step that breaks it.
    pub step: String,
    /// How.
    pub text: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, step: impl Into<String>, text: impl Into<String>) -> Self {
        Self { rule, step: step.into(), text: text.into() }
    }

    /// The refusal.
    pub(super) fn refusal(&self) -> Error {
        let text = format!("refused by rule {}: step {}: {}", self.rule, self.step, self.text);
        let help = if self.rule.can_be_overridden() {
            format!("put the plan right, or take the risk in your name: --override {} --reason TEXT", self.rule)
        } else {
            "put the plan right: docs/runbooks.md".to_owned()
        };
        let kind = if self.rule.can_be_overridden() { ErrorKind::Conflict } else { ErrorKind::Config };
        Error::new(kind, text).with_help(help).with_context("rule", self.rule.name())
    }
}

impl Bound {
    /// Every rule that the plan breaks as it stands.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = self.form();
        // Who comes before whom is only known of a plan in form.
        if found.iter().all(|v| !matches!(v.rule, Rule::NoCycle | Rule::KnownSteps | Rule::UniqueIds)) {
            found.extend(self.safety());
        }
        found
    }

    /// Fails on the first rule broken that is not among `overridden`.
    ///
    /// # Errors
    /// `Config` for a plan out of form, `Conflict` for an unsafe one; the context names the `rule`.
    pub fn check(&self, overridden: &BTreeSet<Rule>) -> Result<()> {
        let broken = self.violations();
        let first = broken.iter().find(|v| !(v.rule.can_be_overridden() && overridden.contains(&v.rule)));
        let Some(first) = first else { return Ok(()) };
        let at = self.plan.steps.iter().position(|s| s.id == first.step).and_then(|at| self.plan.place(at));
        let e = first.refusal();
        match at {
            Some(place) => Err(e.with_context("place", place)),
            None => Err(e),
        }
    }

    fn form(&self) -> Vec<Violation> {
        let steps = &self.plan.steps;
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for step in steps {
            if !seen.insert(step.id.as_str()) {
                found.push(Violation::new(Rule::UniqueIds, &step.id, "two steps have this name"));
            }
            for need in &step.needs {
                if !steps.iter().any(|s| s.id == *need) {
                    let others = steps.iter().map(|s| s.id.as_str());
                    let hint = nearest(need, others).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
                    let text = format!("it needs `{need}`, which is no step of the plan{hint}");
                    found.push(Violation::new(Rule::KnownSteps, &step.id, text));
                }
            }
        }
        if let Some(ring) = cycle(&self.needs()) {
            let text = format!("it comes before itself: {}", ring.join(" → "));
            found.push(Violation::new(Rule::NoCycle, &ring[0], text));
        }
        for (step, action) in self.all_actions() {
            if matches!(step.undo, UndoPolicy::Required | UndoPolicy::OnFailure) && !action.can_undo() {
                let text = format!("its undo is demanded, and `{}` has no way back", step.action);
                found.push(Violation::new(Rule::UndoGiven, &step.id, text));
            }
            match action.effects() {
                Effects::Undeclared => {
                    let text = "nothing says how to find out whether it took place; give it `probe`, or say \
                                `idempotent: true` or `at_most_once: true`";
                    found.push(Violation::new(Rule::ProbeOrAtMostOnce, &step.id, text));
                }
                Effects::AtMostOnce if step.retry.max > 1 => {
                    let text = "it must not be repeated, and has a retry";
                    found.push(Violation::new(Rule::ProbeOrAtMostOnce, &step.id, text));
                }
                _ => {}
            }
        }
        found
    }

    fn safety(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (step, action) in self.all_actions() {
            for (rule, text) in self.wants(&step.id, action.as_ref()) {
                if self.gates(&step.id, rule, action.site()).is_empty() {
                    found.push(Violation::new(rule, &step.id, text));
                }
            }
        }
        found.dedup();
        found
    }

    /// The rules that a step has to wait for, and what to say when there is nothing to wait for.
    pub(super) fn wants(&self, _step: &str, action: &dyn StepAction) -> Vec<(Rule, String)> {
        let site = action.site().unwrap_or("a site");
        let mut wants = Vec::new();
        for kind in action.safety() {
            match kind {
                Safety::Writes => wants.push((
                    Rule::OneWritableSite,
                    format!("it lets {site} take writes, and no step before it proves that the other site takes none"),
                )),
                Safety::Replaces => wants.push((
                    Rule::OneWritableSite,
                    format!("it replaces the data of {site}, and no step before it proves that the other site takes no writes"),
                )),
                Safety::Dns => wants.push((
                    Rule::ValidatedBeforeDns,
                    format!("it leads names to {site}, and no step before it validates {site} by its own address"),
                )),
                Safety::Destructive => wants
                    .push((Rule::VerifiedCopy, "it replaces data, and no step before it verifies a copy".to_owned())),
                Safety::Production => {}
            }
        }
        wants
    }

    /// The steps before `step` that can satisfy `rule`.
    pub(super) fn gates(&self, step: &str, rule: Rule, site: Option<&str>) -> Vec<&str> {
        let before = self.ancestors(step);
        let gives = |action: &dyn StepAction| {
            let gives = action.establishes();
            match rule {
                Rule::OneWritableSite => {
                    gives.contains(&Establishes::Fenced) && (site.is_none() || action.site() != site)
                }
                Rule::ValidatedBeforeDns => {
                    gives.contains(&Establishes::Validated) && (site.is_none() || action.site() == site)
                }
                Rule::VerifiedCopy => gives.contains(&Establishes::VerifiedCopy),
                _ => false,
            }
        };
        self.plan
            .steps
            .iter()
            .filter(|s| before.contains(s.id.as_str()))
            .filter(|s| self.actions.get(&s.id).is_some_and(|a| gives(a.graceful.as_ref())))
            .map(|s| s.id.as_str())
            .collect()
    }

    fn needs(&self) -> BTreeMap<&str, Vec<&str>> {
        self.plan.steps.iter().map(|s| (s.id.as_str(), s.needs.iter().map(String::as_str).collect())).collect()
    }

    fn ancestors(&self, step: &str) -> BTreeSet<&str> {
        let needs = self.needs();
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = needs.get(step).cloned().unwrap_or_default();
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(needs.get(next).into_iter().flatten());
            }
        }
        found
    }
}

/// A ring of needs, if there is one.
fn cycle(needs: &BTreeMap<&str, Vec<&str>>) -> Option<Vec<String>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    // Steps whose needs are all done are done; what is left when nothing moves is on or behind a ring.
    loop {
        let before = done.len();
        for (step, of) in needs {
            if of.iter().all(|n| done.contains(n) || !needs.contains_key(n)) {
                done.insert(step);
            }
        }
        if done.len() == before {
            break;
        }
    }
    let mut path: Vec<&str> = vec![needs.keys().find(|s| !done.contains(*s))?];
    loop {
        let last = path.last()?;
        let next = needs.get(last)?.iter().find(|n| needs.contains_key(*n) && !done.contains(*n))?;
        if let Some(start) = path.iter().position(|s| s == next) {
            let mut ring: Vec<String> = path[start..].iter().map(|s| (*s).to_owned()).collect();
            ring.push((*next).to_owned());
            return Some(ring);
        }
        path.push(next);
    }
}
