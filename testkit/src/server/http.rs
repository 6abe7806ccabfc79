//! As much of HTTP/1.1 (RFC 9112) as a Git server needs: requests in, responses out, keep-alive,
//! both kinds of body framing. May import: std only.
//!
//! Always holds: a request is whole before it is handed on, and a response body is chunked.

use std::io::{self, BufRead, Read, Write};

/// The longest request line or header line taken.
const MAX_LINE: u64 = 64 * 1024;

/// A whole request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, still percent-encoded, without the query.
    pub path: String,
    /// What follows `?`, empty for nothing.
    pub query: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as it came (maybe gzipped, see `content-encoding`).
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// True if the client wants the connection closed after the answer.
    pub fn wants_close(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads one request; `None` if the client closed the connection before it began one.
/// `interim` gets `100 Continue` where the client waits for it.
pub(super) fn read_request(
    from: &mut impl BufRead,
    interim: &mut impl Write,
) -> io::Result<Option<Request>> {
    let Some(line) = read_line(from)? else {
        return Ok(None);
    };
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(malformed("request line"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = read_line(from)?.ok_or_else(|| malformed("end inside the headers"))?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("header"))?;
        let header = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    if request
        .header("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        interim.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        interim.flush()?;
    }
    request.body = read_body(from, &request)?;
    Ok(Some(request))
}

fn read_body(from: &mut impl BufRead, request: &Request) -> io::Result<Vec<u8>> {
    let chunked = request
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let mut body = Vec::new();
    if !chunked {
        let length = match request.header("content-length") {
            None => 0,
            Some(text) => text.parse().map_err(|_| malformed("content-length"))?,
        };
        read_exactly(from, length, &mut body)?;
        return Ok(body);
    }
    loop {
        let line = read_line(from)?.ok_or_else(|| malformed("end inside the body"))?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16).map_err(|_| malformed("chunk length"))?;
        read_exactly(from, length, &mut body)?;
        // The line end after a chunk; after the last one, the end of the (empty) trailers.
        if read_line(from)?.is_none_or(|line| !line.is_empty()) {
            return Err(malformed("chunk end"));
        }
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(from: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let taken = from.take(length).read_to_end(into)?;
    if u64::try_from(taken).is_ok_and(|taken| taken == length) {
        Ok(())
    } else {
        Err(malformed("end inside the body"))
    }
}

/// One line without its end; `None` at the end of the stream.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(malformed("end inside a line, or a line too long"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| malformed("not UTF-8"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad request: {what}"))
}

/// The head of a response, without the framing headers (they are added on writing).
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn new(status: u16, headers: &[(&str, &str)]) -> Self {
        Self {
            status,
            headers: headers
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// Writes the head of a response whose chunked body follows.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("Transfer-Encoding: chunked\r\n\r\n");
        to.write_all(text.as_bytes())
    }
}

/// One chunk of a body. An empty chunk would end it, so nothing is written for one.
pub(super) fn write_chunk(to: &mut impl Write, data: &[u8]) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    to.write_all(&chunk)
}

/// The end of a body.
pub(super) fn write_end(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"0\r\n\r\n")
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Option<Request>> {
        read_request(&mut &bytes[..], &mut io::sink())
    }

    #[test]
    fn a_request_with_a_length() {
        let request = parse(b"POST /a/b?c=d HTTP/1.1\r\nContent-Length: 3\r\nX-Y: z \r\n\r\nabc")
            .expect("well-formed")
            .expect("a request");
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/a/b");
        assert_eq!(request.query, "c=d");
        assert_eq!(request.header("x-y"), Some("z"));
        assert_eq!(request.body, b"abc");
        assert!(!request.wants_close());
    }

    #[test]
    fn a_chunked_request_and_the_interim_answer() {
        let bytes =
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
            3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n";
        let mut interim = Vec::new();
        let request = read_request(&mut &bytes[..], &mut interim)
            .expect("well-formed")
            .expect("a request");
        assert_eq!(request.body, b"abcde");
        assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn the_end_between_requests_is_no_error_and_inside_one_is() {
        assert!(parse(b"").expect("nothing").is_none());
        assert!(parse(b"GET / HT").is_err());
        assert!(parse(b"GET / HTTP/1.1\r\nA: b\r\n").is_err());
        assert!(parse(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc").is_err());
    }

    #[test]
    fn a_response_is_chunked() {
        let mut out = Vec::new();
        Head::new(200, &[("A", "b")]).write(&mut out).expect("head");
        write_chunk(&mut out, b"0123456789abcdef").expect("chunk");
        write_chunk(&mut out, b"").expect("no chunk");
        write_end(&mut out).expect("end");
        let expected = "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n\
            10\r\n0123456789abcdef\r\n0\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
