//! What bringing one service back takes, judged by what is seen before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use veza_dr_core::{Cx, Error, ErrorKind, Health, Result, ScenarioKind};

use crate::site::{ServiceState, SiteControl};

/// One service that is restarted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restarted {
    /// The service.
    pub service: String,
    /// Why, in words.
    pub why: String,
}

/// What is restarted, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecoverPlan {
    /// The site.
    pub site: String,
    /// The service that was asked for.
    pub service: String,
    /// What it needs and is not healthy, then the service itself, then what needs it and is not healthy.
    pub restart: Vec<Restarted>,
    /// What needs one of these and is healthy: looked at again afterwards, restarted only when it was hurt.
    pub watched: Vec<String>,
    /// What was seen of every service.
    pub before: Vec<ServiceState>,
    /// The kind of disaster that this is when restarting does not help.
    pub escalates_to: ScenarioKind,
}

/// Looks at a site and says what bringing `service` back would restart. Changes nothing.
///
/// # Errors
/// `NotFound` when the site has no such service; those of the site.
pub async fn plan(cx: &Cx, site: &dyn SiteControl, service: &str) -> Result<RecoverPlan> {
    let before = site.services(cx).await?;
    let needs: BTreeMap<String, Vec<String>> = match site.order(cx).await {
        Ok(order) => order.into_iter().collect(),
        // The engine told the services; without the file, only the service itself is known to be concerned.
        Err(e) if e.kind() == ErrorKind::Config => {
            tracing::warn!(error = %e.chain(), "dependencies are not known");
            BTreeMap::new()
        }
        Err(e) => return Err(e),
    };
    if !before.iter().any(|s| s.service == service) {
        let names: Vec<&str> = before.iter().map(|s| s.service.as_str()).collect();
        let text = format!("site {} has no service `{service}`", site.name());
        return Err(Error::new(ErrorKind::NotFound, text).with_help(format!("its services are {}", names.join(", "))));
    }
    Ok(make(site.name(), service, before, &needs))
}

fn make(site: &str, service: &str, before: Vec<ServiceState>, needs: &BTreeMap<String, Vec<String>>) -> RecoverPlan {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (user, needed) in needs {
        for one in needed {
            users.entry(one.clone()).or_default().push(user.clone());
        }
    }
    let ill: BTreeSet<&str> =
        before.iter().filter(|s| s.health != Health::Healthy).map(|s| s.service.as_str()).collect();
    let below = reach(needs, service);
    let mut restart = Vec::new();
    // `before` has dependencies first.
    for state in before.iter().filter(|s| below.contains(&s.service) && ill.contains(s.service.as_str())) {
        let why = format!("{service} needs it, and it is {}", state.state);
        restart.push(Restarted { service: state.service.clone(), why });
    }
    restart.push(Restarted { service: service.to_owned(), why: "asked for".to_owned() });
    let first: Vec<String> = restart.iter().map(|r| r.service.clone()).collect();
    let above: BTreeSet<String> = first.iter().flat_map(|s| reach(&users, s)).collect();
    let mut watched = Vec::new();
    for state in before.iter().filter(|s| above.contains(&s.service) && !first.contains(&s.service)) {
        if ill.contains(state.service.as_str()) {
            let why = format!("it needs {service}, and it is {}", state.state);
            restart.push(Restarted { service: state.service.clone(), why });
        } else {
            watched.push(state.service.clone());
        }
    }
    let escalates_to = if holds_data(service) { ScenarioKind::Database } else { ScenarioKind::Backend };
    RecoverPlan { site: site.to_owned(), service: service.to_owned(), restart, watched, before, escalates_to }
}

fn reach(edges: &BTreeMap<String, Vec<String>>, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(at) = left.pop() {
        for next in edges.get(at).into_iter().flatten() {
            if found.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    found.remove(from);
    found
}

fn holds_data(service: &str) -> bool {
    ["postgres", "redis", "db", "database"].iter().any(|word| service.split(['-', '_']).any(|part| part == *word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(service: &str, health: Health) -> ServiceState {
        ServiceState { health, state: "seen".to_owned(), ..ServiceState::absent(service) }
    }

    #[test]
    fn ill_dependencies_come_first_and_only_hurt_dependents_are_touched() {
        let needs: BTreeMap<String, Vec<String>> =
            [("api", vec!["db", "redis"]), ("chat", vec!["api"]), ("mail", vec!["api"])]
                .into_iter()
                .map(|(s, n)| (s.to_owned(), n.into_iter().map(str::to_owned).collect()))
                .collect();
        let before = vec![
            state("db", Health::Down),
            state("redis", Health::Healthy),
            state("api", Health::Down),
            state("chat", Health::Degraded),
            state("mail", Health::Healthy),
            state("other", Health::Down),
        ];
        let plan = make("primary", "api", before, &needs);
        let names: Vec<&str> = plan.restart.iter().map(|r| r.service.as_str()).collect();
        assert_eq!(names, ["db", "api", "chat"]);
        assert_eq!(plan.watched, ["mail"]);
        assert_eq!(plan.escalates_to, ScenarioKind::Backend);
        assert!(holds_data("veza-db") && holds_data("postgres") && !holds_data("veza-backend-api"));
    }
}
