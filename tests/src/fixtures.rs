//! Where the fixtures and the fetched servers are.

use std::path::{Path, PathBuf};

/// The path of a file in `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Where the scripts in `tests/servers` put what they fetch: `VEZA_DR_SERVERS`, else `target/servers`.
pub fn servers_dir() -> PathBuf {
    match std::env::var_os("VEZA_DR_SERVERS") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers"),
    }
}
