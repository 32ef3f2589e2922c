//! Reads secrets from where the configuration says they are, at the moment they are needed.

use std::{process::Stdio, time::Duration};

use veza_dr_core::{Cx, Error, ErrorKind, Result, SecretString};

use crate::{
    config::{SecretText, Text},
    wiring::Wiring,
};

/// The ways in which a secret may be given; the file's check lets at most one through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) text: Option<&'a SecretText>,
    pub(crate) file: Option<&'a Text>,
    pub(crate) command: Option<&'a [Text]>,
}

impl<'a> Given<'a> {
    /// As three settings of a secret say: itself, its file, its command.
    pub(crate) fn of(text: &'a Option<SecretText>, file: &'a Option<Text>, command: &'a Option<Vec<Text>>) -> Self {
        Self { text: text.as_ref(), file: file.as_ref(), command: command.as_deref() }
    }
}

/// A command that asks a person, or a vault, answers within this time.
const PATIENCE: Duration = Duration::from_secs(60);

impl Wiring {
    /// The secret of the setting `path`, `path_file` or `path_command`; `None` where none of them is given.
    pub(crate) async fn secret(&self, cx: &Cx, path: &str, given: Given<'_>) -> Result<Option<SecretString>> {
        let located = |suffix: &str, e: Error| self.at(&format!("{path}{suffix}"), e);
        if let Some(text) = given.text {
            return text.expand(&self.env).map(Some).map_err(|e| located("", e));
        }
        if let Some(file) = given.file {
            let file = self.loaded.resolve(&self.text(&format!("{path}_file"), file)?);
            let read = std::fs::read_to_string(&file).map_err(|e| {
                let kind = match e.kind() {
                    std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                    _ => ErrorKind::Config,
                };
                Error::new(kind, format!("{} cannot be read", file.display())).with_source(e)
            });
            let read = read.and_then(|text| first_line(&text, &file.display().to_string()));
            return read.map(Some).map_err(|e| located("_file", e));
        }
        if let Some(command) = given.command {
            let words = command.iter().map(|t| self.text(&format!("{path}_command"), t)).collect::<Result<Vec<_>>>()?;
            return ask(cx, &words).await.map(Some).map_err(|e| located("_command", e));
        }
        Ok(None)
    }
}

async fn ask(cx: &Cx, words: &[String]) -> Result<SecretString> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::new(ErrorKind::Config, "names no program"));
    };
    let mut command = tokio::process::Command::new(program);
    // Its standard error is the operator's: that is where such commands say what is wrong.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let run = async {
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Err(_) => Err(Error::new(ErrorKind::Unavailable, format!("{program} did not answer within 60 s"))),
            Ok(Err(e)) => Err(Error::new(ErrorKind::Config, format!("{program} cannot be run")).with_source(e)),
            Ok(Ok(output)) => Ok(output),
        }
    };
    let output = cx.run("read a secret", run).await?;
    if !output.status.success() {
        let text = format!("{program} failed: {}", output.status);
        return Err(Error::new(ErrorKind::Denied, text).with_help("run it by hand to see why"));
    }
    // What is not UTF-8 is not repeated: it may be most of a secret.
    let text = String::from_utf8(output.stdout)
        .map_err(|_| Error::new(ErrorKind::Config, format!("{program} printed something that is no text")))?;
    first_line(&text, program)
}

fn first_line(text: &str, origin: &str) -> Result<SecretString> {
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line.to_owned())),
        _ => Err(Error::new(ErrorKind::Config, format!("the first line of {origin} is empty"))),
    }
}
