//! What a tree is made of, told by the same stock tools on both machines, so that two trees can be compared line by line.
//! Extended attributes and access lists are told by us here, and over there by `getfattr`, which not every machine has.

use std::{
    fmt::Write as _,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{scripts::Desk, send::Extras};
use crate::shell::quoted;

/// Attributes that belong to the file, not to the machine that it is on: names and beginnings of names.
const OWN: [&[u8]; 4] = [b"user.", b"trusted.", b"system.posix_acl_", b"security.capability"];
/// The line of an inventory that tells of attributes.
const TOLD: &str = "told attributes";

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
    sort -- "$f".[1-5] > "$f" || return 1
    rm -f -- "$f".[1-5]
)
"#
    )
}

/// The script that tells of one tree here, into a file, beside which lies what [`attributes`] told.
pub(super) fn here(owners: bool, folder: &str, name: &str, file: &str) -> String {
    let tree = format!("{} {} {}", quoted(folder), quoted(name), quoted(file));
    format!("set -u\nexport LC_ALL=C\numask 077\n{}inventory {tree} || exit 1\n", function(owners))
}

/// Where the attributes of a tree are told before the rest is.
pub(super) fn part_of_attributes(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".5");
    name.into()
}

/// The attributes and access lists of every entry below `folder/name`, a line each as `getfattr` writes them, and whether
/// there are any that `tar` must be told of.
///
/// # Errors
/// Those of the file system.
pub(super) fn attributes(folder: &Path, name: &str) -> std::io::Result<(Vec<u8>, Extras)> {
    let (mut lines, mut extras) = (format!("{TOLD}\n").into_bytes(), Extras::default());
    let mut open = vec![PathBuf::from(name)];
    let mut names = vec![0u8; 64 * 1024];
    while let Some(entry) = open.pop() {
        let path = folder.join(&entry);
        let n = match rustix::fs::llistxattr(&path, &mut names[..]) {
            Ok(n) => n,
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            Err(e) => return Err(e.into()),
        };
        for name in names[..n].split(|b| *b == 0).filter(|name| !name.is_empty()) {
            match name {
                // The machine's own policy gives it.
                b"security.selinux" => {}
                name if name.starts_with(b"system.posix_acl_") => extras.acls = true,
                _ => extras.attributes = true,
            }
            if !OWN.iter().any(|own| name.starts_with(own)) {
                continue;
            }
            let mut value = vec![0u8; 64 * 1024];
            let n = rustix::fs::lgetxattr(&path, name, &mut value[..])?;
            lines.extend_from_slice(b"attr ");
            escaped(&mut lines, entry.as_os_str().as_bytes(), b"\n\r\\");
            lines.push(b' ');
            escaped(&mut lines, name, b"=\n\r\\");
            let hex = value[..n].iter().fold(String::from("=0x"), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            lines.extend_from_slice(hex.as_bytes());
            lines.push(b'\n');
        }
        if std::fs::symlink_metadata(&path)?.is_dir() {
            for child in std::fs::read_dir(&path)? {
                open.push(entry.join(child?.file_name()));
            }
        }
    }
    Ok((lines, extras))
}

/// As `getfattr` writes names: these bytes by their octal number.
fn escaped(to: &mut Vec<u8>, text: &[u8], special: &[u8]) {
    for byte in text {
        if special.contains(byte) {
            to.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            to.push(*byte);
        }
    }
}

/// The script that compares a tree there with what was told of it before: it says `differs LINE` for the first lines that
/// do, and `unread` where attributes were told and cannot be read there.
pub(super) fn compare(owners: bool, desk: &Desk, folder: &str, name: &str, expected: &str) -> String {
    let found = quoted(&format!("{}/found-{}", desk.folder, desk.me));
    format!(
        r#"{}attributes() (
    cd -- "$1" || return 1
    getfattr -R -P -h -d -m - -e hex -- "./$2" > "$3.a" || return 1
    echo '{TOLD}' > "$3.5"
    awk '/^# file: / {{ path = substr($0, 9); next }}
        /^(user\.|trusted\.|system\.posix_acl_|security\.capability)/ {{ print "attr " path " " $0 }}' "$3.a" >> "$3.5" || return 1
    rm -f -- "$3.a"
)
f={found} x={} d={} n={}
: > "$f.5"
cp -- "$x" "$f.x" || failed 'read what is to be compared with'
if ! grep -qx '{TOLD}' "$f.x"; then :
elif command -v getfattr > /dev/null 2>&1; then attributes "$d" "$n" "$f" || failed 'read attributes and access lists'
else
    ! grep -q '^attr ' "$f.x" || say unread
    grep -v -e '^attr ' -e '^{TOLD}$' "$x" > "$f.x"
fi
inventory "$d" "$n" "$f" || failed 'read what is to be compared'
comm -3 -- "$f.x" "$f" > "$f.differs" || failed 'compare what was read'
head -n 10 -- "$f.differs" | cut -c1-400 | while IFS= read -r line; do say "differs $line"; done
rm -f -- "$f" "$f.x" "$f.differs"
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
        // Attributes count once they were told.
        assert_eq!(
            sh(&format!("rm -rf {b} && mkdir {b} && cp -a {a}/tree {b}/", a = at("a"), b = at("b"))).await.code,
            0
        );
        let set = |value: &[u8]| {
            let of = dir.path().join("b/tree/a file");
            rustix::fs::setxattr(of, "user.odd=name", value, rustix::fs::XattrFlags::empty()).unwrap();
        };
        set(b"x");
        assert_eq!(differs(dir.path()).await, Vec::<String>::new(), "they were not told");
        let (told, extras) = attributes(&dir.path().join("b"), "tree").unwrap();
        assert!(extras.attributes && !extras.acls);
        std::fs::write(part_of_attributes(&dir.path().join("told")), told).unwrap();
        assert_eq!(sh(&here(true, &at("b"), "tree", &at("told"))).await.code, 0);
        assert_eq!(differs(dir.path()).await, Vec::<String>::new());
        set(b"y");
        let told = differs(dir.path()).await;
        // Both names of the file, before and after.
        assert!(told.len() == 4 && told.iter().all(|l| l.contains(r" user.odd\075name=0x7")), "{told:?}");
        // A tree that is not there is no empty tree.
        assert_eq!(sh(&format!("rm -rf {}", at("b"))).await.code, 0);
        assert!(differs(dir.path()).await[0].starts_with("failed "));
    }
}
