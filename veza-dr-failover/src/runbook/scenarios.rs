//! The plans that ship: one for each scenario of the operations guide, the count of what was lost, and the way back.

use veza_dr_core::{Error, ErrorKind, Result};

use super::{Plan, load::nearest};

const SHIPPED: [(&str, &str); 6] = [
    ("database", include_str!("scenarios/database.yml")),
    ("backend", include_str!("scenarios/backend.yml")),
    ("infrastructure", include_str!("scenarios/infrastructure.yml")),
    ("security", include_str!("scenarios/security.yml")),
    ("count", include_str!("scenarios/count.yml")),
    ("back", include_str!("scenarios/back.yml")),
];

impl Plan {
    /// A plan that ships: `database`, `backend`, `infrastructure`, `security`, `count` for what was lost, or `back` for
    /// the way back.
    ///
    /// ```
    /// use veza_dr_failover::runbook::Plan;
    /// assert_eq!(Plan::shipped("infrastructure").unwrap().timeout.unwrap().as_secs(), 6 * 3600);
    /// ```
    ///
    /// # Errors
    /// `NotFound` for any other name.
    pub fn shipped(name: &str) -> Result<Self> {
        let found = SHIPPED.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| {
            let names = SHIPPED.map(|(known, _)| known);
            let help = match nearest(name, names) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", names.join(", ")),
            };
            Error::new(ErrorKind::NotFound, format!("no plan `{name}` ships")).with_help(help)
        })?;
        Self::from_yaml(text, &format!("{name}.yml (shipped)"))
    }

    /// The text of a plan that ships, to begin one's own from.
    #[must_use]
    pub fn shipped_text(name: &str) -> Option<&'static str> {
        SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }
}
