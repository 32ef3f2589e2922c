//! Which engines and stores this build has.

/// An optional part of the program, by the name of its cargo feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The feature, and the word the configuration uses.
    pub name: &'static str,
    /// Whether this build has it.
    pub enabled: bool,
}

const FEATURES: [Feature; 6] = [
    Feature { name: "postgres", enabled: cfg!(feature = "postgres") },
    Feature { name: "redis", enabled: cfg!(feature = "redis") },
    Feature { name: "files", enabled: cfg!(feature = "files") },
    Feature { name: "s3", enabled: cfg!(feature = "s3") },
    Feature { name: "docker", enabled: cfg!(feature = "docker") },
    Feature { name: "route53", enabled: cfg!(feature = "route53") },
];

/// The feature that `kind` (of a source or store) needs and this build lacks.
#[must_use]
pub fn switched_off(kind: &str) -> Option<Feature> {
    FEATURES.into_iter().find(|f| f.name == kind && !f.enabled)
}
