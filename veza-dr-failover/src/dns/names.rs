//! Domain names as they are compared and shown.

/// The name with its last dot.
#[must_use]
pub(crate) fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

/// Whether two names are the same: case and a last dot are no difference, and Route 53 writes `*` as `\052`.
#[cfg(any(test, feature = "route53"))]
#[must_use]
pub(crate) fn same_name(one: &str, two: &str) -> bool {
    plain(one) == plain(two)
}

/// Lower case, absolute, `*` as itself.
#[must_use]
pub(crate) fn plain(name: &str) -> String {
    absolute(&name.replace("\\052", "*")).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_dns_does() {
        assert!(same_name("API.Veza.com", "api.veza.com."));
        assert!(same_name("\\052.veza.com.", "*.veza.com"));
        assert!(!same_name("api.veza.com", "api.veza.com.au"));
    }
}
