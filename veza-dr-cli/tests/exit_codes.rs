//! The documented table of exit codes is the program's own.

use veza_dr_cli::Exit;

#[test]
fn the_documented_table_equals_the_code() {
    let document = include_str!("../../docs/exit-codes.md");
    let documented: Vec<(u8, &str)> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let code = cells.next()?.parse().ok()?;
            Some((code, cells.next()?.trim_matches('`')))
        })
        .collect();
    let known: Vec<(u8, &str)> = Exit::ALL.iter().map(|(exit, name)| (exit.code(), *name)).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_code_has_the_sentence_of_its_documentation() {
    let source = include_str!("../src/exit.rs");
    let document = include_str!("../../docs/exit-codes.md");
    for line in document.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| Co")) {
        let Some(meaning) = line.trim_matches('|').split(" | ").nth(2) else { continue };
        assert!(source.contains(&format!("/// {}", meaning.trim())), "{meaning}");
    }
}
