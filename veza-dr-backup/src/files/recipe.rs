//! The recovery recipe that lies beside each backup: stock tools alone, in the order that works.

use std::fmt::Write;

use veza_dr_core::Manifest;

use super::{detail::FilesDetail, path::unescape, problems::shown};
use crate::recipe_text::{block, code, encrypted, heredoc, needs, one_line, open, place, shell};

/// Writes `RECOVER.md` for one backup.
pub(crate) fn write(manifest: &Manifest) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = fill(&mut out, manifest);
    out
}

fn fill(out: &mut String, manifest: &Manifest) -> std::fmt::Result {
    let Ok(detail) = FilesDetail::of(manifest) else {
        return writeln!(out, "# Backup {}\n\nIts manifest cannot be read.", manifest.id);
    };
    writeln!(out, "# Recover files from backup {}\n", manifest.id)?;
    let roots: Vec<String> = manifest.contents.iter().map(|c| code(&c.name)).collect();
    writeln!(
        out,
        "{} as of {} UTC: {} entries, {} bytes. This page needs only this folder, {}`tar` (GNU) and `awk`; no veza-dr.\n",
        roots.join(", "),
        manifest.consistency.at.format("%Y-%m-%d %H:%M:%S"),
        manifest.rows(),
        detail.bytes(),
        needs(manifest),
    )?;
    let elsewhere = manifest.objects.iter().filter(|o| o.stored_in.is_some()).count();
    if elsewhere > 0 {
        writeln!(
            out,
            "{elsewhere} of its objects lie in the folders of earlier backups: fetch those too, and keep them side by \
             side, as in the store.\n"
        )?;
    }
    writeln!(
        out,
        "Run the commands in this folder, one block after the other, in a shell of their own that stops at the first \
         failure: `sh -eu`. Only root can give files back to their owners and make devices. Set these first:\n"
    )?;
    let mut first = String::from("export TARGET=/path/to/an/empty/folder\nexport LC_ALL=C\n");
    if encrypted(manifest) {
        first.push_str(
            "export AGE_KEY=/path/to/age-identity.txt         # the private key of this backup's recipient\n",
        );
    }
    block(out, &first)?;
    writeln!(out, "## 1. Check that nothing is damaged\n")?;
    let sums: String = manifest.objects.iter().map(|o| format!("{}  {}\n", o.stored_sha256, place(o))).collect();
    block(out, &heredoc("sha256sum --quiet -c", &sums))?;
    contents(out, manifest, &detail)?;
    writeln!(out, "## 3. Folders, links, pipes and devices, with the times of folders last\n")?;
    block(out, &format!("unpack {}\nrm -f whole.tmp\n", shell(&open(manifest, &detail.tree))))?;
    counts(out, &detail)?;
    writeln!(out, "What is under `$TARGET` now is to be moved to where it belongs.\n")?;
    if !manifest.skipped.is_empty() {
        writeln!(out, "## Not in this backup as it was\n")?;
        for skipped in &manifest.skipped {
            writeln!(out, "- {}: {}", code(&skipped.what), one_line(&skipped.why))?;
        }
    }
    Ok(())
}

fn contents(out: &mut String, manifest: &Manifest, detail: &FilesDetail) -> std::fmt::Result {
    writeln!(out, "## 2. The contents of files\n")?;
    let partly = detail.segments.iter().any(|s| s.live < s.members);
    if partly {
        writeln!(
            out,
            "Some segments hold files that are not part of this backup any more; of those, only what the index lists is \
             unpacked.\n"
        )?;
    }
    let mut script = String::from("mkdir -p \"$TARGET\"\n");
    // tar reads to the end of its input and cannot tell a complete one from one that was cut off.
    script.push_str(
        "unpack() { # command that prints an archive, options of tar\n  \
           from=$1; shift; rm -f whole.tmp\n  \
           { sh -c \"$from\" && : > whole.tmp; } \\\n    \
             | tar -x -p --numeric-owner --xattrs --xattrs-include='*' -C \"$TARGET\" -f - \"$@\" \\\n    \
             && [ -e whole.tmp ]\n}\n",
    );
    if partly {
        writeln!(script, "{} > index.tmp", open(manifest, &detail.index))?;
        script.push_str(
            "unpack_listed() { # command that prints an archive, its name in the index\n  \
               awk -F '\\t' -v segment=\"$2\" '$12 == segment { print ($1 ~ /^-/ ? \"--add-file=\" : \"\") $1 }' index.tmp > list.tmp\n  \
               unpack \"$1\" -T \"$PWD/list.tmp\"\n}\n",
        );
    }
    for segment in &detail.segments {
        let from = shell(&open(manifest, &segment.object()));
        if segment.live == segment.members {
            writeln!(script, "unpack {from}")?;
        } else {
            writeln!(script, "unpack_listed {from} {}", segment.name)?;
        }
    }
    if partly {
        script.push_str("rm -f index.tmp list.tmp\n");
    }
    block(out, &script)
}

fn counts(out: &mut String, detail: &FilesDetail) -> std::fmt::Result {
    writeln!(out, "## 4. What must be there\n")?;
    writeln!(out, "Each line begins with `ok`, or with `WRONG` and then stops the shell.\n")?;
    let mut script = String::from(
        "count() { # expected, path\n  \
           found=$(find \"$TARGET/$2\" -print0 | tr -dc '\\000' | wc -c)\n  \
           if [ \"$found\" -eq \"$1\" ]; then echo \"ok $found in $2\"; else echo \"WRONG $found of $1 in $2\"; return 1; fi\n}\n",
    );
    for root in &detail.roots {
        let member = unescape(root.member.as_bytes()).unwrap_or_default();
        // What no shell can be given in UTF-8 is counted by hand.
        let Ok(path) = std::str::from_utf8(&member) else {
            writeln!(script, "# {} has {} entries", one_line(&shown(&member)), root.entries)?;
            continue;
        };
        writeln!(script, "count {} {}", root.entries, shell(path))?;
    }
    block(out, &script)
}
