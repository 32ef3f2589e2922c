//! The file that `veza-dr init` writes.

/// The first line of a file whose editor is to complete and check it from `veza-dr.schema.json` beside it.
pub const MODELINE: &str = "# yaml-language-server: $schema=veza-dr.schema.json";

/// A commented configuration that is valid as it stands.
///
/// ```
/// use veza_dr_cli::config::{MODELINE, template};
/// assert!(template().starts_with(MODELINE));
/// ```
#[must_use]
pub fn template() -> &'static str {
    include_str!("template.yml")
}
