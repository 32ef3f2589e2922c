//! Why a site is known to take no writes, and for how long that is believed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How it was made sure that a site takes no writes; the rungs of the ladder, the strongest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FencedBy {
    /// Its services were stopped and seen to be stopped, and its machine carries the mark.
    ConfirmedStop,
    /// A command closed it off: a firewall, a security group, the power.
    Hook {
        /// The command.
        command: String,
    },
    /// The lease that it must renew to keep serving ended, and its time and more was waited out.
    LeaseExpired {
        /// The lease.
        lease: String,
    },
    /// Two different people declared it.
    Attestation {
        /// Who.
        by: Vec<String>,
    },
}

/// A proof that a site takes no writes. It is believed until it expires; then the fence is made sure of again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FenceProof {
    /// The site.
    pub site: String,
    /// How.
    pub how: FencedBy,
    /// When it was established.
    pub at: DateTime<Utc>,
    /// From when on it is no longer believed.
    pub expires: DateTime<Utc>,
}

impl FenceProof {
    /// A proof.
    ///
    /// ```
    /// use chrono::{TimeDelta, Utc};
    /// use veza_dr_failover::runbook::{FenceProof, FencedBy};
    /// let now = Utc::now();
    /// let proof = FenceProof::new("primary", FencedBy::ConfirmedStop, now, now + TimeDelta::minutes(30));
    /// assert!(proof.holds(now) && !proof.holds(now + TimeDelta::hours(1)));
    /// ```
    #[must_use]
    pub fn new(site: impl Into<String>, how: FencedBy, at: DateTime<Utc>, expires: DateTime<Utc>) -> Self {
        Self { site: site.into(), how, at, expires }
    }

    /// Whether it is believed at `now`. One from the future is not: a clock was set.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.at <= now && now < self.expires
    }
}

/// What a person declares, under their name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attestation {
    /// Who.
    pub by: String,
    /// What: "primary is powered off, I stand before it".
    pub statement: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl Attestation {
    /// A declaration.
    #[must_use]
    pub fn new(by: impl Into<String>, statement: impl Into<String>, at: DateTime<Utc>) -> Self {
        Self { by: by.into(), statement: statement.into(), at }
    }
}
