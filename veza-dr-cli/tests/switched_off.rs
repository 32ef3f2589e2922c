//! A configuration that names what this build lacks says which feature to enable. Only builds that lack something
//! have anything to test here.

#![cfg(not(all(feature = "postgres", feature = "redis", feature = "files", feature = "s3")))]

use veza_dr_cli::config::{parse, switched_off};

#[test]
fn the_feature_to_enable_is_named_with_the_place() {
    for (kind, text, place) in [
        ("postgres", "sources:\n  a: { postgres: { url: x } }\n", "2:8: sources.a.postgres"),
        ("redis", "sources:\n  a: { redis: { url: x } }\n", "2:8: sources.a.redis"),
        ("files", "sources:\n  a: { files: {} }\n", "2:8: sources.a.files"),
        ("s3", "stores:\n  a: { s3: { bucket: x } }\n", "2:8: stores.a.s3"),
    ] {
        let read = parse(text, "veza-dr.yml".as_ref());
        if switched_off(kind).is_none() {
            assert!(read.is_ok(), "{kind}");
            continue;
        }
        let told = read.unwrap_err().chain();
        let expected = format!(
            "veza-dr.yml has a problem: veza-dr.yml:{place}: this build has no support for {kind}; \
             enable the cargo feature: cargo install veza-dr-cli --features {kind}"
        );
        assert_eq!(told, expected);
    }
}
