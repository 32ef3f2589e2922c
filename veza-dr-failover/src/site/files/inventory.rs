//! What a tree is made of, told by the same stock tools on both machines, so that two trees can be compared line by line.

use super::scripts::Desk;
use crate::shell::quoted;

/// Defines `inventory FOLDER NAME FILE`: kind, mode, owner, time and target of every entry, which names share a file,
/// which device, and the SHA-256 of every content, sorted. Each part is written whole before it counts.
fn function(owners: bool) -> String {
    let owner = if owners { "%U:%G " } else { "" };
    format!(
        r#"inventory() (
    f=$3
    cd -- "$1" || return 1
    find "./$2" -printf 'is %y %m {owner}%T@ %p -> %l\n' > "$f.1" || return 1
    find "./$2" -type f -links +1 -printf '%D:%i %p\n' > "$f.0" || return 1
    sort "$f.0" | awk '{{ path = substr($0, index($0, " ") + 1)
        if ($1 != last) {{ last = $1; first = path }}
        print "same " first " " path }}' > "$f.2" || return 1
    find "./$2" \( -type b -o -type c \) -exec stat -c 'device %t:%T %n' {{}} + > "$f.3" || return 1
    find "./$2" -type f -print0 > "$f.0" || return 1
    xargs -0 -r sha256sum -- < "$f.0" > "$f.4" || return 1
    rm -f -- "$f.0"
    sort -- "$f".[1-4] > "$f" || return 1
    rm -f -- "$f".[1-4]
)
"#
    )
}

/// The script that tells of one tree here, into a file.
pub(super) fn here(owners: bool, folder: &str, name: &str, file: &str) -> String {
    let tree = format!("{} {} {}", quoted(folder), quoted(name), quoted(file));
    format!("set -u\nexport LC_ALL=C\numask 077\n{}inventory {tree} || exit 1\n", function(owners))
}

/// The script that compares a tree there with what was told of it before: it says `differs LINE` for the first lines that
/// do.
pub(super) fn compare(owners: bool, desk: &Desk, folder: &str, name: &str, expected: &str) -> String {
    let found = quoted(&format!("{}/found-{}", desk.folder, desk.me));
    format!(
        r#"{}f={found} x={}
inventory {} {} "$f" || failed 'read what is to be compared'
comm -3 -- "$x" "$f" > "$f.differs" || failed 'compare what was read'
head -n 10 -- "$f.differs" | while IFS= read -r line; do say "differs $line"; done
rm -f -- "$f" "$f.differs"
"#,
        function(owners),
        quoted(expected),
        quoted(folder),
        quoted(name),
    )
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use veza_dr_core::Cx;

    use super::*;
    use crate::site::{files::scripts::answers, machine::Machine};

    async fn sh(script: &str) -> crate::site::machine::Said {
        Machine::Here.sh(&Cx::background(), "try", script, Duration::from_secs(20)).await.unwrap()
    }

    async fn differs(dir: &Path) -> Vec<String> {
        let desk =
            Desk { machine: Machine::Here, site: "here".into(), folder: dir.display().to_string(), me: "me".into() };
        let at = |name: &str| dir.join(name).display().to_string();
        let script = desk.script(&compare(true, &desk, &at("b"), "tree", &at("told")));
        answers(&sh(&script).await)
    }

    #[tokio::test]
    async fn two_trees_are_equal_until_anything_of_one_changes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let make = format!(
            "set -e; mkdir -p {a}/tree/sub {b}; cd {a}/tree; echo one > 'a file'; ln -s 'a file' link; ln 'a file' sub/same\n\
             touch -d '2001-02-03 04:05:06.123456789' 'a file'; mkfifo sub/pipe; cp -a {a}/tree {b}/",
            a = at("a"),
            b = at("b")
        );
        assert_eq!(sh(&make).await.code, 0);
        let said = sh(&here(true, &at("a"), "tree", &at("told"))).await;
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        assert_eq!(differs(dir.path()).await, Vec::<String>::new());
        for (change, back) in [
            ("chmod 600 'a file'", "chmod 644 'a file'"),
            ("touch -d '2001-02-03 04:05:06.123456780' 'a file'", "touch -d '2001-02-03 04:05:06.123456789' 'a file'"),
            ("printf 'two\\n' > 'a file'; touch -d '2001-02-03 04:05:06.123456789' 'a file'", "true"),
        ] {
            assert_eq!(sh(&format!("cd {}/tree && {change}", at("b"))).await.code, 0);
            let told = differs(dir.path()).await;
            assert!(!told.is_empty() && told.iter().all(|l| l.starts_with("differs ")), "{change}: {told:?}");
            assert_eq!(sh(&format!("cd {}/tree && {back}", at("b"))).await.code, 0, "{back}");
        }
        for change in ["rm link && ln -s other link", "rm sub/same && cp -p 'a file' sub/same", "touch extra"] {
            assert_eq!(
                sh(&format!("rm -rf {b} && mkdir {b} && cp -a {a}/tree {b}/", a = at("a"), b = at("b"))).await.code,
                0
            );
            assert_eq!(sh(&format!("cd {}/tree && {change}", at("b"))).await.code, 0);
            assert!(!differs(dir.path()).await.is_empty(), "{change}");
        }
        // A tree that is not there is no empty tree.
        assert_eq!(sh(&format!("rm -rf {}", at("b"))).await.code, 0);
        assert!(differs(dir.path()).await[0].starts_with("failed "));
    }
}
