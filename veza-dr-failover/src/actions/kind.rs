//! The kinds of actions: each name once, so that whoever must say something about every kind cannot forget one.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A kind of action that a [`Catalogue`](super::Catalogue) makes: what a step's `do` names.
        ///
        /// ```
        /// use veza_dr_failover::actions::Kind;
        /// assert_eq!(Kind::named("wait_healthy"), Some(Kind::WaitHealthy));
        /// assert_eq!(Kind::named("dance"), None);
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind, by name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in plans.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The kind of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

kinds! {
    /// Backs a component up.
    Backup = "backup",
    /// A shell command, here or on a site.
    Command = "command",
    /// Tells the difference between a site's data and what a restore replaced.
    Compare = "compare",
    /// Counts what a move to another site lost, on the old site's own data, while the other serves.
    Count = "count",
    /// Leads names to a site.
    Dns = "dns",
    /// Changes how long answers of name servers are kept.
    DnsTtl = "dns_ttl",
    /// Makes sure that a site takes no writes.
    Fence = "fence",
    /// Backs a component of a site up for the last time.
    FinalBackup = "final_backup",
    /// Says something; with `approval: true` a gate.
    Note = "note",
    /// Tells channels.
    Notify = "notify",
    /// Makes a replica of PostgreSQL take writes.
    PromotePostgres = "promote_postgres",
    /// Restores a component.
    Restore = "restore",
    /// Starts containers that are there.
    Start = "start",
    /// Stops services.
    Stop = "stop",
    /// Lifts a fence.
    Unfence = "unfence",
    /// Makes and starts services.
    Up = "up",
    /// Runs the checks of a site.
    Validate = "validate",
    /// Proves that a backup is whole.
    VerifyBackup = "verify_backup",
    /// Lets time pass.
    Wait = "wait",
    /// Waits for services to be healthy.
    WaitHealthy = "wait_healthy",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
