//! Opening a WebSocket in the server's role, on any stream: an accepted TCP connection, TLS of any library, a pipe.
//!
//! For a request that a web framework has read, see [`upgrade`](crate::upgrade).

use std::fmt;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use ringway_proto::handshake::{
    self, Asked, Date, Limits, Progress, Refusal, Request, StatusCode, Verdict, encode_refusal,
    encode_verdict, parse_request, parse_request_from,
};
use ringway_proto::{Role, compression};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::head::{self, NoHead};
use crate::options::Options;
use crate::websocket::{Opened, WebSocket};

/// Opens the WebSocket that a client asks for on `stream`, whatever path, origin and subprotocol it names, with the usual
/// [`Options`]. To look at the request first: [`Incoming::read`].
///
/// # Errors
/// [`AcceptError`]. A client that broke the rules was told so.
pub async fn accept<S>(stream: S) -> Result<WebSocket<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let incoming = Incoming::read(stream, Options::default()).await?;
    incoming.accept(None, &[]).await
}

/// Why no WebSocket was opened for a client.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The client ended the stream before its request was whole.
    Ended,
    /// The stream failed.
    Io(io::Error),
    /// The program's answer cannot be sent: a subprotocol that was not offered, a header, or a compression that is out of
    /// range.
    Misuse(handshake::Misuse),
    /// The request opens no WebSocket. The client was answered so, with this status.
    Refused(Refusal),
    /// The request was not whole in [`Options::open_timeout`]. The client was answered so (408).
    Timeout,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the client ended the stream before its request was whole"),
            Self::Io(error) => write!(f, "the connection failed during the handshake: {error}"),
            Self::Misuse(misuse) => write!(f, "the answer cannot be sent: {misuse}"),
            Self::Refused(refusal) => write!(f, "the client was refused with {refusal}"),
            Self::Timeout => f.write_str("the client's request was not whole in time"),
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Misuse(misuse) => Some(misuse),
            Self::Refused(refusal) => Some(refusal),
            Self::Ended | Self::Timeout => None,
        }
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A client's request that meets all of RFC 6455 §4.2.1, and waits for an answer.
#[derive(Debug)]
pub struct Incoming<S> {
    stream: S,
    head: Head,
    rest: BytesMut,
    options: Options,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Incoming<S> {
    /// Reads a request. One that opens no WebSocket is refused here.
    ///
    /// # Errors
    /// [`AcceptError`], which is never [`AcceptError::Misuse`].
    pub async fn read(mut stream: S, options: Options) -> Result<Self, AcceptError> {
        let reading = timeout(options.open_timeout, Self::read_head(&mut stream, &options));
        let result = reading.await.unwrap_or(Err(AcceptError::Timeout));
        let refusal = match &result {
            Err(AcceptError::Refused(refusal)) => Some(refusal),
            Err(AcceptError::Timeout) => Some(&Refusal::TIMEOUT),
            _ => None,
        };
        if let Some(refusal) = refusal {
            let mut out = Vec::new();
            encode_refusal(refusal, &now(), &mut out);
            // A client that does not take it is refused all the same.
            let _ = answer_last(&mut stream, &out, &options).await;
        }
        let (head, rest) = result?;
        Ok(Self {
            stream,
            head,
            rest,
            options,
        })
    }

    async fn read_head(stream: &mut S, options: &Options) -> Result<(Head, BytesMut), AcceptError> {
        let limits = options.head_limits();
        let read = head::read(stream, |bytes, resume| {
            Ok(match parse_request_from(bytes, resume, &limits)? {
                Progress::Incomplete { resume } => Progress::Incomplete { resume },
                Progress::Complete {
                    head: Asked::Http(_),
                    ..
                } => return Err(NO_WEBSOCKET),
                Progress::Complete {
                    head: Asked::WebSocket(_),
                    head_bytes,
                } => {
                    let head = Head {
                        bytes: bytes[..head_bytes].to_vec(),
                    };
                    Progress::Complete { head, head_bytes }
                }
            })
        });
        read.await.map_err(|error| match error {
            NoHead::Bad(refusal) => AcceptError::Refused(refusal),
            NoHead::Ended => AcceptError::Ended,
            NoHead::Io(error) => AcceptError::Io(error),
        })
    }

    /// Opens the WebSocket. `subprotocol`: one of those that the client offers, or none. `headers`: further ones of the
    /// answer, such as `Set-Cookie`.
    ///
    /// # Errors
    /// [`AcceptError::Misuse`] if one of these cannot be sent; nothing was sent then. Else the stream failed.
    pub async fn accept(
        mut self,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<WebSocket<S>, AcceptError> {
        let accepted = self.head.accept(subprotocol, headers, &self.options);
        let (answer, opened) = accepted.map_err(AcceptError::Misuse)?;
        self.stream.write_all(&answer).await?;
        self.stream.flush().await?;
        let opened = Opened {
            rest: self.rest,
            ..opened
        };
        Ok(WebSocket::opened(
            self.stream,
            Role::Server,
            opened,
            self.options,
        ))
    }

    /// Refuses the WebSocket with a status from 300 to 599, and a sentence for the person who reads the answer.
    ///
    /// # Errors
    /// [`AcceptError::Misuse`] for another status. Else the stream failed.
    pub async fn refuse(mut self, status: u16, reason: &str) -> Result<(), AcceptError> {
        let verdict = Verdict::Refuse {
            status: StatusCode(status),
            reason,
            headers: &[],
        };
        let mut out = Vec::new();
        let encoded = encode_verdict(&self.head.request(), &verdict, &now(), &mut out);
        encoded.map_err(AcceptError::Misuse)?;
        Ok(answer_last(&mut self.stream, &out, &self.options).await?)
    }
}

impl<S> Incoming<S> {
    /// The request: path, origin, headers, subprotocols. It is parsed at each call. Browsers always send their origin; whom
    /// to let in is the program's choice (RFC 6455 §10.2).
    pub fn request(&self) -> Request<'_> {
        self.head.request()
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

/// The bytes of a request that opens a WebSocket.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Checks a whole head. Without `http`, only streams have heads.
    #[cfg(feature = "http")]
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, Refusal> {
        match parse_request(&bytes, &ANY)? {
            Progress::Complete {
                head: Asked::WebSocket(_),
                ..
            } => Ok(Self { bytes }),
            _ => Err(NO_WEBSOCKET),
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        match parse_request(&self.bytes, &ANY) {
            Ok(Progress::Complete {
                head: Asked::WebSocket(request),
                ..
            }) => request,
            _ => unreachable!("the same bytes were a good request before"),
        }
    }

    /// The bytes of the 101, and what it agrees on.
    pub(crate) fn accept(
        &self,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
        options: &Options,
    ) -> Result<(Vec<u8>, Opened), handshake::Misuse> {
        let request = self.request();
        let (agreed, answer) = compression::accept(&options.terms()?, request.extensions()).unzip();
        let verdict = Verdict::Accept {
            subprotocol,
            compression: answer.as_ref(),
            headers,
        };
        let mut out = Vec::new();
        encode_verdict(&request, &verdict, &now(), &mut out)?;
        let opened = Opened {
            rest: BytesMut::new(),
            subprotocol: subprotocol.map(Into::into),
            compression: agreed,
        };
        Ok((out, opened))
    }
}

/// Whatever has passed the limits of the one who read it.
const ANY: Limits = Limits {
    head_bytes_max: usize::MAX,
    headers_max: usize::MAX,
};

const NO_WEBSOCKET: Refusal = Refusal::new(
    StatusCode::UPGRADE_REQUIRED,
    "only WebSockets are served here: this request does not ask for one",
);

/// Writes an answer behind which nothing follows, and waits for the client to end the stream: else what it has sent beyond
/// its request would reset the connection under the answer. All of it takes at most [`Options::close_timeout`].
async fn answer_last<S>(stream: &mut S, answer: &[u8], options: &Options) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answering = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // What breaks behind the answer is no loss.
        let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
        Ok(())
    };
    // A client that goes on sending is not waited for.
    let answered = timeout(options.close_timeout, answering).await;
    answered.unwrap_or(Ok(()))
}

fn now() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Date::from_unix_s(since.map_or(0, |since| since.as_secs()))
}
