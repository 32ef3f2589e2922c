//! What a drill in a copy of a site does of the plan that a failover would run, step by step, before anything is made.

use std::{collections::BTreeSet, fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result};

use super::fate::{fate, point};
use crate::{
    actions::{Kind, parameters::Point},
    runbook::{Bound, Step},
};

/// Which services of a copy are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Selection {
    /// All of them.
    All,
    /// Those that keep components.
    Data,
    /// All but those that keep components.
    Apps,
    /// These.
    Named(Vec<String>),
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all services"),
            Self::Data => f.write_str("the services that keep components"),
            Self::Apps => f.write_str("all services but those that keep components"),
            Self::Named(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// What is done in the copy for a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Deed {
    /// The backup that the drill takes is proven whole.
    VerifyCopy {
        /// The component.
        component: String,
    },
    /// A component is restored into the copy and compared with its manifest.
    Restore {
        /// The component.
        component: String,
    },
    /// Services are made and started.
    Up(Selection),
    /// Containers that are there are started.
    Start(Selection),
    /// Services are stopped, each within this time.
    Stop(Selection, Duration),
    /// Services become healthy within this time.
    WaitHealthy(Selection, Duration),
    /// The checks of the configuration are run against the copy.
    Validate,
}

/// Why a step of a plan is left out of a drill in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftOut {
    /// It closes a site off, or opens it again.
    Fence,
    /// It leads names elsewhere, or changes how long answers are kept.
    Names,
    /// It tells people.
    Notify,
    /// It would put a backup of the copy among production's.
    Backup,
    /// It compares with what production kept.
    Compare,
    /// It is a command for a machine of production.
    Command,
    /// It makes a replica take writes.
    Promotion,
    /// A person does or decides it.
    Person,
    /// It waits for something of production.
    Pause,
    /// It acts on another site than the one that the plan recovers.
    OtherSite,
    /// It has the tag `production`.
    Tagged,
}

impl LeftOut {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Fence,
        Self::Names,
        Self::Notify,
        Self::Backup,
        Self::Compare,
        Self::Command,
        Self::Promotion,
        Self::Person,
        Self::Pause,
        Self::OtherSite,
        Self::Tagged,
    ];

    /// Why, for people.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Fence => "production's sites are neither closed off nor opened by a drill",
            Self::Names => "production's names lead where they lead",
            Self::Notify => "nobody is told that production moves",
            Self::Backup => "a backup of the copy would lie among production's",
            Self::Compare => "what production kept is not in the copy",
            Self::Command => "a command for a machine of production is run by no drill",
            Self::Promotion => "a copy has no replica that could be made to take writes",
            Self::Person => "a person does or decides it",
            Self::Pause => "it waits for something of production",
            Self::OtherSite => "it acts on another site than the one that the plan recovers",
            Self::Tagged => "it has the tag `production`",
        }
    }
}

/// What becomes of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It is carried out in the copy.
    InTheCopy(Deed),
    /// It is left out.
    LeftOut(LeftOut),
    /// Nobody said what a step of this kind is in a copy.
    Unknown,
}

/// A step of the plan, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Walk {
    /// The step.
    pub step: Step,
    /// What becomes of it.
    pub fate: Fate,
}

/// What a disaster takes, so that the plan has something to recover from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Lost {
    /// The whole site: the plan restores data and starts services.
    Site,
    /// The data of these components; servers and other services are there: the plan starts nothing.
    Data(Vec<String>),
    /// All services but those that keep components: the plan restores nothing.
    Services,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.write_str("the whole site"),
            Self::Data(components) => write!(f, "the data of {}", components.join(", ")),
            Self::Services => f.write_str("all services but those that keep components"),
        }
    }
}

/// A plan as a drill in a copy follows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Course {
    /// The plan's name.
    pub plan: String,
    /// Its hash: the one that `failover run` demands.
    pub sha256: String,
    /// The site that it recovers, where it speaks of one; the copy stands for it.
    pub recovers: Option<String>,
    /// What the disaster takes.
    pub lost: Lost,
    /// How long the whole may take.
    pub timeout: Option<Duration>,
    /// Every step, in the plan's order.
    pub steps: Vec<Walk>,
    /// Steps that the configuration has nothing for, and that a failover would not do either.
    pub not_in_plan: Vec<String>,
}

impl Course {
    /// Works out what becomes of each step of a plan.
    ///
    /// ```
    /// use veza_dr_failover::{actions::Catalogue, drill::{Course, Fate, LeftOut}, runbook::{Bound, Plan}};
    /// let plan = Plan::from_yaml("name: x\nsteps: [{ id: a, do: note, with: { text: hello } }]", "x.yml").unwrap();
    /// let e = Course::of(&Bound::new(plan, &Catalogue::new()).unwrap(), Vec::new()).unwrap_err();
    /// assert!(e.to_string().contains("recovers nothing"), "{e}");
    /// ```
    ///
    /// # Errors
    /// The refusal that `failover run` would meet where the plan breaks a rule; `Config` when nothing of it can be
    /// rehearsed in a copy.
    pub fn of(bound: &Bound, not_in_plan: Vec<String>) -> Result<Self> {
        bound.check(&BTreeSet::new())?;
        let plan = bound.plan();
        let recovers = recovered(bound);
        let steps = plan.steps.iter().map(|step| {
            let site = bound.action(&step.id, false).and_then(|a| a.site().map(str::to_owned));
            let fate = fate(step, site.as_deref(), recovers.as_deref())?;
            Ok(Walk { step: step.clone(), fate })
        });
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let deeds = || steps.iter().filter_map(Walk::deed);
        let restored: BTreeSet<String> = deeds().filter_map(|d| d.restores().map(str::to_owned)).collect();
        let starts = deeds().any(|d| matches!(d, Deed::Up(_) | Deed::Start(_)));
        let lost = match (restored.is_empty(), starts) {
            (false, true) => Lost::Site,
            (false, false) => Lost::Data(restored.into_iter().collect()),
            (true, true) => Lost::Services,
            (true, false) => {
                let text = format!("plan {} recovers nothing in a copy: it neither restores nor starts", plan.name);
                return Err(Error::new(ErrorKind::Config, text)
                    .with_help("give it `restore`, `up` or `start` steps; what commands do is not rehearsed"));
            }
        };
        Ok(Self {
            plan: plan.name.clone(),
            sha256: bound.sha256(),
            recovers,
            lost,
            timeout: plan.timeout,
            steps,
            not_in_plan,
        })
    }

    /// Whether a step that is carried out restores the component.
    #[must_use]
    pub fn restores(&self, component: &str) -> bool {
        self.steps.iter().filter_map(Walk::deed).any(|d| d.restores() == Some(component))
    }

    /// The components that steps which are carried out restore or prove.
    #[must_use]
    pub fn components(&self) -> BTreeSet<String> {
        self.steps.iter().filter_map(|w| w.deed()?.component().map(str::to_owned)).collect()
    }

    /// Whether the disaster leaves the component where it is.
    #[must_use]
    pub fn stands(&self, component: &str) -> bool {
        match &self.lost {
            Lost::Site => false,
            Lost::Data(lost) => !lost.iter().any(|l| l == component),
            Lost::Services => true,
        }
    }

    /// The time that the plan itself names for a component.
    #[must_use]
    pub fn time_of(&self, component: &str) -> Option<DateTime<Utc>> {
        self.steps.iter().filter(|w| w.deed().is_some_and(|d| d.component() == Some(component))).find_map(|w| {
            match point(&w.step) {
                Some(Point::Time(at)) => Some(at),
                _ => None,
            }
        })
    }

    /// Whether it goes back to a time that a person names.
    #[must_use]
    pub fn asks_for_a_time(&self) -> bool {
        self.steps.iter().any(|w| w.deed().is_some() && point(&w.step) == Some(Point::Asked))
    }

    /// Whether the services that keep components are started before anything is restored into them: else they are
    /// taken to run.
    pub(super) fn starts_data_first(&self) -> bool {
        let before = |restore: &Walk| {
            let mut earlier = BTreeSet::new();
            let mut open: Vec<&str> = restore.step.needs.iter().map(String::as_str).collect();
            while let Some(id) = open.pop() {
                if earlier.insert(id) {
                    open.extend(
                        self.steps.iter().filter(|w| w.step.id == id).flat_map(|w| &w.step.needs).map(String::as_str),
                    );
                }
            }
            let brings = |w: &&Walk| {
                matches!(
                    w.deed(),
                    Some(Deed::Up(Selection::All | Selection::Data | Selection::Named(_)))
                        | Some(Deed::Start(Selection::All | Selection::Data | Selection::Named(_)))
                )
            };
            self.steps.iter().filter(brings).any(|w| earlier.contains(w.step.id.as_str()))
        };
        self.steps.iter().filter(|w| w.deed().is_some_and(|d| d.restores().is_some())).all(before)
    }
}

impl Walk {
    /// What is done in the copy, if anything.
    #[must_use]
    pub fn deed(&self) -> Option<&Deed> {
        match &self.fate {
            Fate::InTheCopy(deed) => Some(deed),
            Fate::LeftOut(_) | Fate::Unknown => None,
        }
    }
}

impl Deed {
    fn restores(&self) -> Option<&str> {
        match self {
            Self::Restore { component } => Some(component),
            _ => None,
        }
    }

    fn component(&self) -> Option<&str> {
        match self {
            Self::Restore { component } | Self::VerifyCopy { component } => Some(component),
            _ => None,
        }
    }
}

/// The site that a plan recovers: where it leads names to, else what it validates, else what it starts or restores to;
/// of several the last.
fn recovered(bound: &Bound) -> Option<String> {
    let last = |wanted: &[Kind]| {
        let steps = bound.plan().steps.iter().rev();
        let mut named = steps.filter(|s| Kind::named(&s.action).is_some_and(|kind| wanted.contains(&kind)));
        named.find_map(|s| bound.action(&s.id, false)?.site().map(str::to_owned))
    };
    last(&[Kind::Dns])
        .or_else(|| last(&[Kind::Validate]))
        .or_else(|| last(&[Kind::Up, Kind::Start, Kind::WaitHealthy]))
        .or_else(|| last(&[Kind::Restore]))
}
