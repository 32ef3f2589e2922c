//! Which events a channel is told of.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{Action, ComponentName, Event, Phase, Severity};

/// Which events pass. By default what is [`Severity::High`] or worse, the same failure again after four hours, and the
/// success that ends a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// The least severity that passes.
    pub severity: Severity,
    /// Only these phases, where given: then the severity does not count.
    pub phases: Option<Vec<Phase>>,
    /// Only these components, where given. An event about no component passes.
    pub components: Option<Vec<ComponentName>>,
    /// The same failure of the same component, action and store is told again only after this long.
    pub repeat: Duration,
    /// The first success after a failure that was told is told too.
    pub recovery: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            severity: Severity::High,
            phases: None,
            components: None,
            repeat: Duration::from_secs(4 * 3600),
            recovery: true,
        }
    }
}

impl Filter {
    /// From this severity on.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Exactly these phases.
    #[must_use]
    pub fn with_phases(mut self, phases: Vec<Phase>) -> Self {
        self.phases = Some(phases);
        self
    }

    /// Exactly these components.
    #[must_use]
    pub fn with_components(mut self, components: Vec<ComponentName>) -> Self {
        self.components = Some(components);
        self
    }

    /// The same failure again after this long.
    #[must_use]
    pub fn with_repeat(mut self, repeat: Duration) -> Self {
        self.repeat = repeat;
        self
    }

    /// Whether the end of a failure is told.
    #[must_use]
    pub fn with_recovery(mut self, recovery: bool) -> Self {
        self.recovery = recovery;
        self
    }
}

type Key = (Option<ComponentName>, Action, Option<String>, Option<String>);

/// A filter that remembers what it let through.
#[derive(Debug)]
pub(super) struct Sieve {
    filter: Filter,
    /// Failures that were told and have not ended: when, and when before that.
    told: HashMap<Key, (DateTime<Utc>, Option<DateTime<Utc>>)>,
}

fn key(event: &Event) -> Key {
    (event.component.clone(), event.action, event.store.clone(), event.name.clone())
}

impl Sieve {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, told: HashMap::new() }
    }

    pub(super) fn passes(&mut self, event: &Event) -> bool {
        let f = &self.filter;
        if let (Some(wanted), Some(component)) = (&f.components, &event.component)
            && !wanted.contains(component)
        {
            return false;
        }
        let key = key(event);
        let wanted = match &f.phases {
            Some(phases) => phases.contains(&event.phase),
            None => event.severity() >= f.severity,
        };
        match event.phase {
            Phase::Succeeded => {
                // A success of the whole ends the failures of its stores too.
                let before = self.told.len();
                self.told.retain(|k, _| {
                    !(k.0 == key.0
                        && k.1 == key.1
                        && k.3 == key.3
                        && (event.store.is_none() || k.2 == event.store || k.2.is_none()))
                });
                wanted || (f.recovery && self.told.len() < before)
            }
            Phase::Failed | Phase::Missed if wanted => {
                let repeat = TimeDelta::from_std(f.repeat).unwrap_or(TimeDelta::MAX);
                let before = self.told.get(&key).map(|(last, _)| *last);
                let again = before.is_none_or(|last| event.at - last >= repeat);
                if again {
                    self.told.insert(key, (event.at, before));
                }
                again
            }
            _ => wanted,
        }
    }

    /// An event that passed was not delivered: the same failure may be told the next time that it happens.
    pub(super) fn undo(&mut self, event: &Event) {
        let key = key(event);
        match self.told.get(&key).copied() {
            Some((last, Some(before))) if last == event.at => {
                self.told.insert(key, (before, None));
            }
            Some((last, None)) if last == event.at => {
                self.told.remove(&key);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(minute: i64, phase: Phase, store: Option<&str>) -> Event {
        let at = DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let event = Event::new(at, Action::Backup, phase, "x").about("database".parse().unwrap());
        match store {
            Some(store) => event.in_store(store),
            None => event,
        }
    }

    #[test]
    fn a_lasting_failure_is_told_seldom_and_its_end_once() {
        let mut sieve = Sieve::new(Filter::default().with_repeat(Duration::from_secs(3600)));
        let told: Vec<bool> = [
            (0, Phase::Started),
            (0, Phase::Retrying),
            (1, Phase::Failed),
            (30, Phase::Failed),
            (61, Phase::Failed),
            (70, Phase::Succeeded),
            (80, Phase::Succeeded),
            (81, Phase::Failed),
        ]
        .map(|(minute, phase)| sieve.passes(&event(minute, phase, None)))
        .into();
        assert_eq!(told, [false, false, true, false, true, true, false, true]);
    }

    #[test]
    fn stores_fail_on_their_own_and_end_together() {
        let mut sieve = Sieve::new(Filter::default());
        assert!(sieve.passes(&event(0, Phase::Failed, Some("a"))));
        assert!(sieve.passes(&event(0, Phase::Failed, Some("b"))));
        assert!(!sieve.passes(&event(1, Phase::Failed, Some("b"))));
        assert!(sieve.passes(&event(2, Phase::Succeeded, None)));
        assert!(sieve.passes(&event(3, Phase::Failed, Some("b"))));
    }

    #[test]
    fn phases_replace_the_severity_and_components_narrow() {
        let only = Filter::default().with_phases(vec![Phase::Started]).with_components(vec!["redis".parse().unwrap()]);
        let mut sieve = Sieve::new(only);
        let other = event(0, Phase::Started, None);
        assert!(!sieve.passes(&other));
        assert!(sieve.passes(&other.clone().about("redis".parse().unwrap())));
        assert!(!sieve.passes(&event(1, Phase::Failed, None).about("redis".parse().unwrap())));
        assert!(sieve.passes(&Event::new(other.at, Action::Prune, Phase::Started, "all")));
    }
}
