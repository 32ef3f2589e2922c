//! Whole databases exchanged in one step, and spare ones emptied.

use std::{collections::BTreeMap, io};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::control::Control;

/// What takes the place of what.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Filled databases, by the number that they are to have.
    pub(crate) filled: BTreeMap<u64, u64>,
    /// Databases whose keys are not in the backup.
    pub(crate) emptied: Vec<u64>,
    /// What `FUNCTION RESTORE` takes; `None` leaves the functions.
    pub(crate) functions: Option<Vec<u8>>,
    /// Writes are being held back, and go on with the new data.
    pub(crate) paused: bool,
}

/// Exchanges all in one transaction. Clients see all the old data, then all the new.
///
/// # Errors
/// With the effect `None` when nothing was sent or the server refused the transaction as a whole, `Applied` when it
/// carried it out in part, `Unknown` when its answer did not come or it held the commands for single ones.
pub(crate) async fn exchange(cx: &Cx, on: &Control, order: &Exchange) -> Result<()> {
    let mut commands = Vec::new();
    if order.paused {
        // In one burst with the transaction: nobody else's write comes between.
        commands.push(words(&["CLIENT", "UNPAUSE"]));
    }
    commands.push(words(&["MULTI"]));
    for (database, beside) in &order.filled {
        commands.push(words(&["SWAPDB", &database.to_string(), &beside.to_string()]));
    }
    let gone = order.filled.values().chain(&order.emptied);
    for database in gone {
        commands.push(words(&["SELECT", &database.to_string()]));
        commands.push(words(&["FLUSHDB", "ASYNC"]));
    }
    if let Some(functions) = &order.functions {
        commands.push(vec![b"FUNCTION".to_vec(), b"RESTORE".to_vec(), functions.clone(), b"FLUSH".to_vec()]);
    }
    commands.push(words(&["EXEC"]));
    talk(cx, on, "exchange the databases", &commands).await
}

/// Empties these databases.
pub(crate) async fn flush(cx: &Cx, on: &Control, databases: &[u64]) -> Result<()> {
    if databases.is_empty() {
        return Ok(());
    }
    let each = databases.iter().flat_map(|d| [words(&["SELECT", &d.to_string()]), words(&["FLUSHDB", "ASYNC"])]);
    let commands: Vec<_> = [words(&["MULTI"])].into_iter().chain(each).chain([words(&["EXEC"])]).collect();
    talk(cx, on, "empty spare databases", &commands).await
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

async fn talk(cx: &Cx, on: &Control, what: &str, commands: &[Vec<Vec<u8>>]) -> Result<()> {
    let stream = on.stream(cx).await?;
    cx.check(what)?;
    let lost =
        |e: io::Error| Error::new(ErrorKind::Unavailable, format!("{what}: the connection was lost")).with_source(e);
    let answers = cx.run(what, async { converse(stream, commands).await.map_err(lost) }).await;
    judge(what, &answers.map_err(|e| e.with_effect(Effect::Unknown))?)
}

fn judge(what: &str, answers: &Answers) -> Result<()> {
    let Some(answer) = answers.lines.iter().find(|a| a.starts_with('-')) else { return Ok(()) };
    let denied = answer.starts_with("-NOPERM");
    let kind = if denied { ErrorKind::Denied } else { ErrorKind::Unsupported };
    let effect = match answers.lines.last() {
        _ if answers.executed => Effect::Applied,
        Some(last) if last.starts_with("-EXECABORT") => Effect::None,
        _ => Effect::Unknown,
    };
    Err(Error::new(kind, format!("{what}: the server answered {}", &answer[1..])).with_effect(effect))
}

/// What the server answered.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    lines: Vec<String>,
    /// The transaction was carried out, if not to the last command.
    executed: bool,
}

/// Sends all in one piece and returns every line of the answers.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, commands: &[Vec<Vec<u8>>]) -> io::Result<Answers> {
    let mut burst = BytesMut::new();
    for command in commands {
        burst.put_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in command {
            burst.put_slice(format!("${}\r\n", word.len()).as_bytes());
            burst.put_slice(word);
            burst.put_slice(b"\r\n");
        }
    }
    let mut stream = BufReader::new(stream);
    stream.write_all(&burst).await?;
    stream.flush().await?;
    let (mut left, mut answers) = (commands.len(), Answers { lines: Vec::new(), executed: false });
    while left > 0 {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= 1;
        let line = line.trim_end();
        match line.strip_prefix('*') {
            Some(count) => {
                if let Ok(count) = count.parse::<usize>() {
                    left += count;
                    answers.executed = true;
                }
            }
            None => answers.lines.push(line.to_owned()),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn answers_of_a_transaction_are_all_read() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            theirs.write_all(b"+OK\r\n+QUEUED\r\n-ERR no such thing\r\n*2\r\n+OK\r\n:1\r\n").await.unwrap();
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).await.unwrap();
            heard
        });
        let commands = [words(&["MULTI"]), words(&["A"]), words(&["B", ""]), words(&["EXEC"])];
        let answers = converse(ours, &commands).await.unwrap();
        assert_eq!(answers.lines, ["+OK", "+QUEUED", "-ERR no such thing", "+OK", ":1"]);
        assert!(answers.executed);
        assert!(server.await.unwrap().ends_with("*2\r\n$1\r\nB\r\n$0\r\n\r\n*1\r\n$4\r\nEXEC\r\n"));
    }
    #[test]
    fn what_an_error_changed_is_told_from_the_answer_to_exec() {
        let effect = |lines: &[&str], executed| {
            let lines = lines.iter().map(|l| (*l).to_owned()).collect();
            judge("exchange", &Answers { lines, executed }).unwrap_err().effect()
        };
        assert_eq!(effect(&["+OK", "+QUEUED", "+OK", "-ERR no such library"], true), Effect::Applied);
        assert_eq!(effect(&["+OK", "-NOPERM swapdb", "-EXECABORT discarded"], false), Effect::None);
        assert_eq!(effect(&["-NOPERM multi", "+OK", "-ERR EXEC without MULTI"], false), Effect::Unknown);
        assert!(judge("exchange", &Answers { lines: vec!["+OK".to_owned()], executed: true }).is_ok());
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_no_proof_of_anything() {
        let (ours, theirs) = tokio::io::duplex(1024);
        drop(theirs);
        assert!(converse(ours, &[words(&["MULTI"]), words(&["EXEC"])]).await.is_err());
    }
}
