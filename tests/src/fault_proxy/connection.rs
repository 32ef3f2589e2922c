//! One client's connection: its requests, one after the other.

use std::io::{ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::message::{Body, Head};
use super::proxy::Shared;
use super::rule::Fault;

/// What happens to a body on its way: at some offset something occurs.
#[derive(Clone, Copy)]
enum Harm {
    Stall(u64, Duration),
    Reset(u64),
    Truncate(u64),
    Corrupt(u64),
}

impl Harm {
    fn of_request(fault: Option<&Fault>) -> Option<Self> {
        match fault? {
            Fault::StallRequest { after, pause } => Some(Self::Stall(*after, *pause)),
            Fault::ResetRequestAfter(after) => Some(Self::Reset(*after)),
            Fault::CorruptRequestAt(at) => Some(Self::Corrupt(*at)),
            _ => None,
        }
    }

    fn of_response(fault: Option<&Fault>) -> Option<Self> {
        match fault? {
            Fault::StallResponse { after, pause } => Some(Self::Stall(*after, *pause)),
            Fault::ResetResponseAfter(after) => Some(Self::Reset(*after)),
            Fault::TruncateResponseAfter(after) => Some(Self::Truncate(*after)),
            Fault::CorruptResponseAt(at) => Some(Self::Corrupt(*at)),
            _ => None,
        }
    }

    fn offset(self) -> u64 {
        match self {
            Self::Stall(at, _) | Self::Reset(at) | Self::Truncate(at) | Self::Corrupt(at) => at,
        }
    }
}

/// How a body's way ended.
#[derive(PartialEq, Eq)]
enum End {
    Whole,
    Reset,
    Truncated,
}

/// Serves a client until it leaves or a fault ends the connection.
pub(super) async fn serve(client: TcpStream, shared: &Shared) -> Result<()> {
    client.set_nodelay(true)?;
    let (reader, mut writer) = client.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(head) = Head::read(&mut reader).await? {
        if !exchange(&head, &mut reader, &mut writer, shared).await? {
            break;
        }
    }
    writer.shutdown().await
}

/// One request and its answer. Says whether the connection goes on.
async fn exchange(
    head: &Head,
    client: &mut BufReader<OwnedReadHalf>,
    answer: &mut OwnedWriteHalf,
    shared: &Shared,
) -> Result<bool> {
    let fault = shared.judge(head.word(0), head.word(1));
    match &fault {
        Some(Fault::Reply { status, body }) => return reply(head, *status, body, client, answer).await,
        Some(Fault::ResetOnHead) => return reset(answer),
        Some(Fault::CloseBeforeResponse) => {
            drain(head, client, answer).await?;
            return Ok(false);
        }
        Some(Fault::Delay(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }

    // A connection for each request: a reused one may be closed by the server at any time, a fault nobody asked for.
    let upstream = TcpStream::connect(&shared.upstream).await?;
    upstream.set_nodelay(true)?;
    let (from_server, mut to_server) = upstream.into_split();
    let mut from_server = BufReader::new(from_server);
    to_server.write_all(&head.bytes).await?;
    let mut request_body = head.request_body();
    let outcome = {
        let send = pass(&mut request_body, client, &mut to_server, Harm::of_request(fault.as_ref()));
        let receive = final_head(&mut from_server, answer);
        tokio::pin!(send, receive);
        tokio::select! {
            biased;
            sent = &mut send => match sent? {
                End::Reset => None,
                _ => Some((receive.await?, false)),
            },
            response = &mut receive => Some((response?, true)),
        }
    };
    let Some((response, early)) = outcome else { return reset(answer) };
    let mut body = response.response_body(head.word(0));
    if fault == Some(Fault::LoseResponse) {
        // To its end, so that the server has surely done what it was asked.
        while body.piece(&mut from_server, 64 * 1024).await?.is_some() {}
        return Ok(false);
    }
    answer.write_all(&response.bytes).await?;
    match pass(&mut body, &mut from_server, answer, Harm::of_response(fault.as_ref())).await? {
        End::Reset => return reset(answer),
        End::Truncated => return Ok(false),
        End::Whole => {}
    }
    answer.flush().await?;
    let closes = early || body.ends_with_connection() || head.has("connection", "close");
    Ok(!closes && !response.has("connection", "close"))
}

/// The final response's head; interim ones pass to the client, which may wait for `100 Continue`.
async fn final_head(server: &mut BufReader<OwnedReadHalf>, client: &mut OwnedWriteHalf) -> Result<Head> {
    loop {
        let head = Head::read(server).await?.ok_or(ErrorKind::UnexpectedEof)?;
        if head.status() >= 200 {
            return Ok(head);
        }
        client.write_all(&head.bytes).await?;
    }
}

/// Passes a body on, with some harm on its way.
async fn pass(
    body: &mut Body,
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut OwnedWriteHalf,
    mut harm: Option<Harm>,
) -> Result<End> {
    let mut passed = 0;
    loop {
        // A piece ends where the harm is due, so that everything before it has passed.
        let due = harm.map(Harm::offset).filter(|at| *at >= passed).map(|at| at - passed);
        if due == Some(0) {
            match harm {
                Some(Harm::Stall(_, pause)) => {
                    tokio::time::sleep(pause).await;
                    harm = None;
                    continue;
                }
                Some(Harm::Reset(_)) => {
                    let _ = to.as_ref().set_zero_linger();
                    return Ok(End::Reset);
                }
                Some(Harm::Truncate(_)) => return Ok(End::Truncated),
                Some(Harm::Corrupt(_)) | None => {}
            }
        }
        let limit = due.filter(|left| *left > 0).unwrap_or(64 * 1024);
        let Some(mut piece) = body.piece(from, limit).await? else { return Ok(End::Whole) };
        if due == Some(0) {
            // Only corruption gets here; its byte is the first of this piece.
            piece[0] ^= 1;
            harm = None;
        }
        to.write_all(&piece).await?;
        passed += piece.len() as u64;
    }
}

async fn reply(
    head: &Head,
    status: u16,
    body: &str,
    client: &mut BufReader<OwnedReadHalf>,
    answer: &mut OwnedWriteHalf,
) -> Result<bool> {
    // Whoever waits for `100 Continue` may never send the body, so the connection cannot go on.
    let waits = head.has("expect", "100-continue");
    if !waits {
        drain(head, client, answer).await?;
    }
    let goes_on = !waits && !head.has("connection", "close");
    let connection = if goes_on { "keep-alive" } else { "close" };
    let mut response = format!(
        "HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    if head.word(0) != "HEAD" {
        response.push_str(body);
    }
    answer.write_all(response.as_bytes()).await?;
    Ok(goes_on)
}

/// Reads the request's body to its end.
async fn drain(head: &Head, client: &mut BufReader<OwnedReadHalf>, answer: &mut OwnedWriteHalf) -> Result<()> {
    if head.has("expect", "100-continue") {
        answer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut body = head.request_body();
    while body.piece(client, 64 * 1024).await?.is_some() {}
    Ok(())
}

/// Ends the connection so that the client sees a reset instead of an end.
fn reset(answer: &OwnedWriteHalf) -> Result<bool> {
    answer.as_ref().set_zero_linger()?;
    Err(ErrorKind::ConnectionReset.into())
}
