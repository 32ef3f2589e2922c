//! What recovery recipes are written with: Markdown, commands, and nothing in a name that either could take wrongly.

use std::fmt::Write;

use veza_dr_core::{
    Manifest,
    manifest::{Codec, ObjectRecord},
};

/// A block of commands, in a fence that no line of it can end.
pub(crate) fn block(out: &mut String, script: &str) -> std::fmt::Result {
    let mut fence = "```".to_owned();
    while script.lines().any(|l| l.starts_with(&fence)) {
        fence.push('`');
    }
    writeln!(out, "{fence}sh\n{script}{fence}\n")
}

/// A command with its input, under an end mark that no line of the input is: a name may have line breaks in it.
pub(crate) fn heredoc(command: &str, input: &str) -> String {
    let mut mark = "END".to_owned();
    while input.lines().any(|l| l == mark) {
        mark.push('_');
    }
    format!("{command} <<'{mark}'\n{input}{mark}\n")
}

/// Whether a private key is needed.
pub(crate) fn encrypted(manifest: &Manifest) -> bool {
    manifest.objects.iter().any(|o| o.codec.contains(&Codec::Age))
}

/// The stock tools that its codecs need, in words, each with a comma after it.
pub(crate) fn needs(manifest: &Manifest) -> String {
    let used = |codec| manifest.objects.iter().any(|o| o.codec.contains(&codec));
    let mut text = String::new();
    for (codec, what) in [(Codec::Age, "`age` with its key, "), (Codec::Zstd, "`zstd`, "), (Codec::Gzip, "`gunzip`, ")]
    {
        if used(codec) {
            text.push_str(what);
        }
    }
    text
}

/// The shell command that prints an object's plain bytes.
pub(crate) fn open(manifest: &Manifest, name: &str) -> String {
    let Some(object) = manifest.object(name) else { return format!("echo 'missing: {name}' >&2; false") };
    pipeline(object)
}

/// Where an object lies, from this backup's folder.
pub(crate) fn place(object: &ObjectRecord) -> String {
    match &object.stored_in {
        Some(owner) => format!("../{owner}/{}", object.name),
        None => object.name.clone(),
    }
}

fn pipeline(object: &ObjectRecord) -> String {
    let place = place(object);
    let mut command = String::new();
    for (at, codec) in object.codec.iter().rev().enumerate() {
        let tool = match codec {
            Codec::Age => "age -d -i \"$AGE_KEY\"",
            Codec::Zstd => "zstd -dcq",
            Codec::Gzip => "gunzip -c",
            Codec::None => continue,
        };
        if at > 0 {
            command.push_str(" | ");
        }
        command.push_str(tool);
        if at == 0 {
            command.push_str(" < ");
            command.push_str(&place);
        }
    }
    if command.is_empty() { format!("cat {place}") } else { command }
}

/// One word for the shell.
pub(crate) fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Markdown code, in marks that nothing in the text can end.
pub(crate) fn code(text: &str) -> String {
    let text = one_line(text);
    let mut mark = "`".to_owned();
    while text.contains(&mark) {
        mark.push('`');
    }
    if mark.len() == 1 { format!("`{text}`") } else { format!("{mark} {text} {mark}") }
}

/// Without line breaks.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
