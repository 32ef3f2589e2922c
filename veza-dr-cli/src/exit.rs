//! How the program ends: one number for each class of outcome, listed in `docs/exit-codes.md`.

use std::process::{ExitCode, Termination};

use veza_dr_core::{Error, ErrorKind, Verdict, status::Protection};

/// An exit code. The numbers are stable; new ones may be added, so treat an unknown one as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// A defect, or an answer nobody foresaw.
    Unexpected = 1,
    /// The command line or the configuration cannot be carried out as written.
    Usage = 2,
    /// Part of the work was done and recorded, the rest failed.
    Partial = 3,
    /// What was asked for does not exist.
    NotFound = 4,
    /// Something else holds or changed what was needed, or stands in the way.
    Conflict = 5,
    /// Credentials are wrong, missing or not sufficient.
    Denied = 6,
    /// The other side could not be reached, stopped answering, or asked to slow down for too long.
    Unavailable = 7,
    /// Data is not what its checksum, count or format says it must be.
    Corrupt = 8,
    /// A verification ran to its end and found a difference.
    Mismatch = 9,
    /// A verification could not be carried out; never a pass.
    Unverified = 10,
    /// The server, the store or this build cannot do what was asked.
    Unsupported = 11,
    /// No room is left at the place written to.
    Full = 12,
    /// Nothing was done: the operator said no, or nobody was there to ask and `--yes` was not given.
    NotConfirmed = 13,
    /// The work was stopped by a deadline.
    Cancelled = 14,
    /// `check` found a problem.
    CheckFailed = 15,
    /// `status` found a component whose protection is weaker than it should be.
    Weak = 16,
    /// `status` found a component that no store protects as it must be.
    Broken = 17,
    /// `assess` found a service that is degraded or down.
    Degraded = 18,
    /// `assess` could not tell how a service is; never a pass.
    Unknown = 19,
    /// `validate` found a check that does not hold.
    ValidationFailed = 20,
    /// Recovered, but later than the objective, with more lost than it allows, or with steps left out.
    TargetMissed = 21,
    /// A human must decide: an approval, a proof of a fence, a step whose outcome is unclear, a budget that is spent.
    NeedsHuman = 22,
    /// Refused by a safety rule, which is named.
    Unsafe = 23,
    /// A drill did not bring everything back, or what it brought back differs.
    DrillFailed = 24,
    /// A drill took a damaged copy for a good one: its other results prove nothing.
    ControlMissed = 25,
    /// Something of production is not as it was before a drill.
    ProductionChanged = 26,
    /// Something that a drill made could not be removed; it is named.
    CleanupIncomplete = 27,
    /// `wal fetch` could not tell whether the log has the file: the server must not take it for the end of the log.
    WalUnknown = 126,
    /// Stopped by SIGINT (Ctrl-C).
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every exit code with its stable name, in the order of its number.
    pub const ALL: [(Self, &'static str); 31] = [
        (Self::Ok, "ok"),
        (Self::Unexpected, "unexpected"),
        (Self::Usage, "config"),
        (Self::Partial, "partial"),
        (Self::NotFound, "not_found"),
        (Self::Conflict, "conflict"),
        (Self::Denied, "denied"),
        (Self::Unavailable, "unavailable"),
        (Self::Corrupt, "corrupt"),
        (Self::Mismatch, "mismatch"),
        (Self::Unverified, "unverified"),
        (Self::Unsupported, "unsupported"),
        (Self::Full, "full"),
        (Self::NotConfirmed, "not_confirmed"),
        (Self::Cancelled, "cancelled"),
        (Self::CheckFailed, "check_failed"),
        (Self::Weak, "weak"),
        (Self::Broken, "broken"),
        (Self::Degraded, "degraded"),
        (Self::Unknown, "unknown"),
        (Self::ValidationFailed, "validation_failed"),
        (Self::TargetMissed, "target_missed"),
        (Self::NeedsHuman, "needs_human"),
        (Self::Unsafe, "unsafe"),
        (Self::DrillFailed, "drill_failed"),
        (Self::ControlMissed, "control_missed"),
        (Self::ProductionChanged, "production_changed"),
        (Self::CleanupIncomplete, "cleanup_incomplete"),
        (Self::WalUnknown, "wal_unknown"),
        (Self::Interrupted, "interrupted"),
        (Self::Terminated, "terminated"),
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(exit, _)| *exit == self).map_or("unexpected", |(_, name)| name)
    }

    /// The code of a class of failures.
    #[must_use]
    pub fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Unavailable | ErrorKind::Throttled => Self::Unavailable,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Mismatch => Self::Mismatch,
            ErrorKind::Unverified => Self::Unverified,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Full => Self::Full,
            ErrorKind::Partial => Self::Partial,
            ErrorKind::Cancelled => Self::Cancelled,
            // The kind is open to additions: one without a number of its own is a failure nobody foresaw.
            _ => Self::Unexpected,
        }
    }

    /// The code of a comparison's result.
    #[must_use]
    pub fn of_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Equal => Self::Ok,
            Verdict::Different => Self::Mismatch,
            Verdict::Unverified => Self::Unverified,
        }
    }

    /// The code of how well everything is protected; what cannot be told is never a pass.
    #[must_use]
    pub fn of_protection(protection: Protection) -> Self {
        match protection {
            Protection::Good => Self::Ok,
            Protection::Weak => Self::Weak,
            Protection::Broken => Self::Broken,
            Protection::Unknown => Self::Unverified,
        }
    }

    /// The code of several outcomes together: that of all the failures when they agree and nothing succeeded, else
    /// [`Exit::Partial`].
    #[must_use]
    pub fn of_many(outcomes: &[Self]) -> Self {
        match outcomes {
            [] => Self::Ok,
            [first, rest @ ..] if rest.iter().all(|e| e == first) => *first,
            _ => Self::Partial,
        }
    }
}

impl From<&Error> for Exit {
    fn from(e: &Error) -> Self {
        Self::of_kind(e.kind())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        let numbers: std::collections::BTreeSet<u8> = Exit::ALL.iter().map(|(e, _)| e.code()).collect();
        let names: std::collections::BTreeSet<&str> = Exit::ALL.iter().map(|(_, n)| *n).collect();
        assert_eq!((numbers.len(), names.len()), (Exit::ALL.len(), Exit::ALL.len()));
    }

    #[test]
    fn agreement_keeps_its_code_and_a_mixture_is_partial() {
        assert_eq!(Exit::of_many(&[]), Exit::Ok);
        assert_eq!(Exit::of_many(&[Exit::Denied, Exit::Denied]), Exit::Denied);
        assert_eq!(Exit::of_many(&[Exit::Ok, Exit::Denied]), Exit::Partial);
        assert_eq!(Exit::of_many(&[Exit::Unavailable, Exit::Denied]), Exit::Partial);
    }

    #[test]
    fn every_kind_of_error_has_the_code_of_its_name() {
        for (kind, exit) in [
            (ErrorKind::Config, Exit::Usage),
            (ErrorKind::NotFound, Exit::NotFound),
            (ErrorKind::Conflict, Exit::Conflict),
            (ErrorKind::Denied, Exit::Denied),
            (ErrorKind::Unavailable, Exit::Unavailable),
            (ErrorKind::Corrupt, Exit::Corrupt),
            (ErrorKind::Mismatch, Exit::Mismatch),
            (ErrorKind::Unverified, Exit::Unverified),
            (ErrorKind::Unsupported, Exit::Unsupported),
            (ErrorKind::Full, Exit::Full),
            (ErrorKind::Partial, Exit::Partial),
            (ErrorKind::Cancelled, Exit::Cancelled),
            (ErrorKind::Unexpected, Exit::Unexpected),
        ] {
            assert_eq!(Exit::of_kind(kind), exit);
            assert_eq!(exit.name(), kind.as_str());
        }
        assert_eq!(Exit::of_kind(ErrorKind::Throttled), Exit::Unavailable);
    }
}
