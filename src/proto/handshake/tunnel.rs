//! A way through an HTTP proxy: the CONNECT request (RFC 9110 §9.3.6), its answer, and Basic credentials (RFC 7617).
//!
//! RFC 6455 §4.1: "if a proxy is configured […] the client SHOULD connect to that proxy and ask it to open a TCP connection
//! to the host given by /host/ and the port given by /port/."

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Misuse;
use super::http::{self, Limits, Progress, Resume, is_field_value, is_host};

/// The value of `Authorization` or `Proxy-Authorization` that names a user by Basic authentication. None if the user has a
/// colon, or either has a control character (RFC 7617 §2).
pub fn basic_credentials(user: &str, password: &str) -> Option<String> {
    let bad = |text: &str| text.chars().any(char::is_control);
    if user.contains(':') || bad(user) || bad(password) {
        return None;
    }
    let digits = STANDARD.encode(format!("{user}:{password}"));
    Some(format!("Basic {digits}"))
}

/// What a client asks a proxy for.
#[derive(Clone, Copy, Debug)]
pub struct TunnelRequest<'a> {
    /// Host and port of the server, as `example.com:80` or `[::1]:9000`.
    pub authority: &'a str,
    /// `Proxy-Authorization`, for example from [`basic_credentials`].
    pub authorization: Option<&'a str>,
}

impl TunnelRequest<'_> {
    fn check(&self) -> Result<(), Misuse> {
        // RFC 9110 §9.3.6: "There is no default port; a client MUST send the port number even if the CONNECT request is
        // based on a URI reference that contains an authority component with an elided port"
        let port = self.authority.rsplit_once(':');
        let has_port = port.is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        if !is_host(self.authority.as_bytes()) || !has_port || self.authority.ends_with(':') {
            return Err(http::Misuse::Host.into());
        }
        match self.authorization {
            Some(value) if value.is_empty() || !is_field_value(value.as_bytes()) => {
                Err(http::Misuse::HeaderValue.into())
            }
            _ => Ok(()),
        }
    }
}

/// Appends the request.
///
/// # Errors
/// [`Misuse`]: the authority is none or has no port, or the credentials are no header value. Nothing was written.
pub fn encode_tunnel_request(request: &TunnelRequest<'_>, out: &mut Vec<u8>) -> Result<(), Misuse> {
    request.check()?;
    let authority = request.authority;
    http::push(
        &["CONNECT ", authority, " HTTP/1.1\r\nHost: ", authority],
        out,
    );
    if let Some(authorization) = request.authorization {
        http::push(&["\r\nProxy-Authorization: ", authorization], out);
    }
    http::push(&["\r\n\r\n"], out);
    Ok(())
}

/// What a proxy answered.
#[derive(Clone, Copy, Debug)]
pub enum TunnelAnswer<'b> {
    /// The tunnel is open: the bytes behind the head are the server's.
    Open,
    /// The proxy refused. The bytes behind the head belong to the answer's body.
    Refused(http::Response<'b>),
}

/// Parses the head of a proxy's answer in `bytes`, all that was received so far. `resume` is the hint of the last
/// [`Progress::Incomplete`] for the same bytes.
///
/// # Errors
/// [`http::Fault`]: this is no HTTP response, or a larger one than it may be.
pub fn parse_tunnel_answer_from<'b>(
    bytes: &'b mut [u8],
    resume: Resume,
    limits: &Limits,
) -> Result<Progress<TunnelAnswer<'b>>, http::Fault> {
    Ok(match http::parse_response_from(bytes, resume, limits)? {
        Progress::Incomplete { resume } => Progress::Incomplete { resume },
        // RFC 9110 §9.3.6: "Any 2xx (Successful) response indicates that the sender (and all inbound proxies) will switch to
        // tunnel mode immediately after the response header section"; its length is to be ignored.
        Progress::Complete { head, head_bytes } => Progress::Complete {
            head: match head.status().0 {
                200..=299 => TunnelAnswer::Open,
                _ => TunnelAnswer::Refused(head),
            },
            head_bytes,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_rfc() {
        let known = basic_credentials("Aladdin", "open sesame");
        assert_eq!(known.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        // RFC 7617 §2.1: UTF-8.
        let known = basic_credentials("test", "123\u{a3}");
        assert_eq!(known.as_deref(), Some("Basic dGVzdDoxMjPCow=="));
        let empty = basic_credentials("", "");
        assert_eq!(empty.as_deref(), Some("Basic Og=="));
        assert!(basic_credentials("u", "a:b").is_some());
        for (user, password) in [("a:b", ""), ("a\n", ""), ("a", "\u{7f}")] {
            assert_eq!(basic_credentials(user, password), None);
        }
    }

    fn encoded(authority: &str, authorization: Option<&str>) -> Result<String, Misuse> {
        let mut out = Vec::new();
        let request = TunnelRequest {
            authority,
            authorization,
        };
        let result = encode_tunnel_request(&request, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_request_names_host_and_port_twice() {
        assert_eq!(
            encoded("[::1]:9000", None).as_deref(),
            Ok("CONNECT [::1]:9000 HTTP/1.1\r\nHost: [::1]:9000\r\n\r\n")
        );
        assert_eq!(
            encoded("h:80", Some("Basic Og==")).as_deref(),
            Ok("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nProxy-Authorization: Basic Og==\r\n\r\n")
        );
        for bad in ["", "h", "h:", "[::1]", "h:80/x", "h:80 x", "h:x", "h:70000"] {
            assert_eq!(encoded(bad, None), Err(http::Misuse::Host.into()), "{bad}");
        }
        for bad in ["", "a\r\nb", " a"] {
            let misuse = http::Misuse::HeaderValue;
            assert_eq!(encoded("h:80", Some(bad)), Err(misuse.into()), "{bad:?}");
        }
    }

    /// Status if refused, and the length of the head, however the answer is cut.
    fn answered(text: &str) -> Result<Option<(Option<u16>, usize)>, http::Fault> {
        let limits = Limits {
            head_bytes_max: 120,
            headers_max: 3,
        };
        let parse = |end: usize, resume| {
            let mut bytes = text.as_bytes()[..end].to_vec();
            match parse_tunnel_answer_from(&mut bytes, resume, &limits) {
                Err(fault) => (Err(fault), Resume::default()),
                Ok(Progress::Incomplete { resume }) => (Ok(None), resume),
                Ok(Progress::Complete { head, head_bytes }) => {
                    let status = match head {
                        TunnelAnswer::Open => None,
                        TunnelAnswer::Refused(response) => Some(response.status().0),
                    };
                    (Ok(Some((status, head_bytes))), Resume::default())
                }
            }
        };
        let (whole, _) = parse(text.len(), Resume::default());
        let mut byte_by_byte = (Ok(None), Resume::default());
        for end in 0..=text.len() {
            if byte_by_byte.0 == Ok(None) {
                byte_by_byte = parse(end, byte_by_byte.1);
            }
            let (first, resume) = parse(end, Resume::default());
            let settled = match first {
                Ok(None) => parse(text.len(), resume).0,
                settled => settled,
            };
            assert_eq!(settled, whole, "cut at {end}");
        }
        assert_eq!(byte_by_byte.0, whole, "byte by byte");
        whole
    }

    #[test]
    fn any_2xx_opens_the_tunnel_and_its_length_is_ignored() {
        let answers = [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
            "HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 299 X\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        for answer in answers {
            let head_bytes = answer.len();
            assert_eq!(answered(answer), Ok(Some((None, head_bytes))), "{answer}");
            let more = format!("{answer}tunnelled");
            assert_eq!(answered(&more), Ok(Some((None, head_bytes))), "{answer}");
        }
    }

    #[test]
    fn everything_else_refuses() {
        for status in [101, 301, 403, 407, 502] {
            let answer = format!("HTTP/1.1 {status} X\r\n\r\n");
            let refused = Ok(Some((Some(status), answer.len())));
            assert_eq!(answered(&(answer + "why")), refused);
        }
    }

    #[test]
    fn an_answer_has_limits() {
        let endless = format!("HTTP/1.1 200 X\r\nA: {}", "x".repeat(200));
        assert_eq!(answered(&endless), Err(http::Fault::HeadTooLarge));
        let many = "HTTP/1.1 200 X\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n";
        assert_eq!(answered(many), Err(http::Fault::TooManyHeaders));
        let is_malformed = |text| matches!(answered(text), Err(http::Fault::Malformed(_)));
        assert!(is_malformed("SSH-2.0-OpenSSH_9.2\r\n"));
        assert!(is_malformed("\x16\x03\x01\x02\x00\x01\x00\x01"));
        assert_eq!(answered("HTTP/1.1 200 "), Ok(None));
    }
}
