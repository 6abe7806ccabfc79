//! What a request is answered with: the setup's shape first, then the backend, bent by a fault.
//! May import: this room's other files.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use super::{
    Shared, Speech,
    backend::{Backend, Call},
    fault::{Fault, corrupt_pack},
    http::{Head, Request, write_chunk, write_end},
    log::{Logged, pkt_lines},
};

/// One connection of the server.
pub(super) struct Connection<'a> {
    pub shared: &'a Shared,
    pub stream: &'a TcpStream,
}

/// Logs and answers one request. An error ends the connection.
pub(super) fn answer(connection: &mut Connection<'_>, request: &Request) -> io::Result<()> {
    let shared = connection.shared;
    let entry = logged(request);
    let fault = shared.lock().script.take(&entry);
    let number = shared.log(entry);
    if !shared.may_answer() {
        return Err(ended("stopped"));
    }
    let mut reply = Reply {
        connection,
        number,
        sent: 0,
        fault: None,
    };
    match fault {
        Some(Fault::Close) => Err(ended("closed by script")),
        Some(Fault::Status { code, retry_after }) => {
            let mut head = Head::new(code, &[]);
            if let Some(seconds) = retry_after {
                let header = ("Retry-After".to_owned(), seconds.to_string());
                head.headers.push(header);
            }
            reply.whole(&head, b"")
        }
        Some(Fault::Answer { content_type, body }) => {
            reply.whole(&Head::new(200, &[("Content-Type", &content_type)]), &body)
        }
        fault => {
            reply.fault = fault;
            shaped(&mut reply, request)
        }
    }
}

/// The answer as the setup has it.
fn shaped(reply: &mut Reply<'_, '_>, request: &Request) -> io::Result<()> {
    let setup = &reply.connection.shared.setup;
    let redirect = setup
        .redirects
        .iter()
        .find_map(|(from, to)| Some((to, request.path.strip_prefix(from.as_str())?)));
    if let Some((to, rest)) = redirect {
        let mut location = format!("{to}{rest}");
        if !request.query.is_empty() {
            location.push('?');
            location.push_str(&request.query);
        }
        return reply.whole(&Head::new(301, &[("Location", &location)]), b"");
    }
    if let Some((user, password)) = &setup.login {
        let wanted = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        if request.header("authorization") != Some(&wanted) {
            let challenge = [("WWW-Authenticate", "Basic realm=\"test\"")];
            return reply.whole(&Head::new(401, &challenge), b"");
        }
    }
    let (git_protocol, query) = match setup.speech {
        Speech::WebPage => {
            let head = Head::new(200, &[("Content-Type", "text/html")]);
            return reply.whole(&head, b"<!DOCTYPE html><title>Hello</title>\n");
        }
        // A web server of plain files takes no POST, and has no use for a query.
        Speech::Dumb if request.method == "POST" => return reply.whole(&Head::new(405, &[]), b""),
        Speech::Dumb => (None, ""),
        Speech::Smart => (request.header("git-protocol"), request.query.as_str()),
        Speech::Version0 => (None, request.query.as_str()),
        Speech::Version1 => (Some("version=1"), request.query.as_str()),
    };
    let call = Call {
        root: &setup.root,
        config: &setup.config,
        git_protocol,
        query,
    };
    let (head, mut backend) = Backend::start(&call, request)?;
    reply.head(&head)?;
    if let Some(Fault::CorruptPack { at }) = reply.fault {
        let mut body = backend.rest()?;
        corrupt_pack(&mut body, at);
        reply.body(&body)?;
    } else {
        loop {
            let piece = backend.piece()?;
            if piece.is_empty() {
                break;
            }
            reply.body(&piece)?;
        }
    }
    reply.end()
}

/// One response on its way.
struct Reply<'a, 'b> {
    connection: &'a mut Connection<'b>,
    /// Of the log entry.
    number: usize,
    /// Bytes of the body sent.
    sent: u64,
    /// What happens to the body.
    fault: Option<Fault>,
}

impl Reply<'_, '_> {
    fn whole(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        self.head(head)?;
        self.body(body)?;
        self.end()
    }

    fn head(&mut self, head: &Head) -> io::Result<()> {
        let status = head.status;
        self.connection
            .shared
            .note(self.number, |entry| entry.status = Some(status));
        head.write(&mut self.connection.stream)
    }

    fn body(&mut self, data: &[u8]) -> io::Result<()> {
        match self.fault {
            Some(Fault::Cut { after }) => {
                self.at_most(data, after)?;
                if self.sent == after {
                    return Err(ended("cut by script"));
                }
                Ok(())
            }
            Some(Fault::Stall { after }) => {
                self.at_most(data, after)?;
                if self.sent == after {
                    return self.stall();
                }
                Ok(())
            }
            Some(Fault::Dribble) => data.chunks(1).try_for_each(|byte| self.send(byte)),
            _ => self.send(data),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        match self.fault {
            // The body was shorter than the script thought; it must not be let through whole.
            Some(Fault::Cut { .. }) => Err(ended("cut by script")),
            Some(Fault::Stall { .. }) => self.stall(),
            _ => write_end(&mut self.connection.stream),
        }
    }

    fn at_most(&mut self, data: &[u8], limit: u64) -> io::Result<()> {
        let left = usize::try_from(limit - self.sent).unwrap_or(usize::MAX);
        self.send(&data[..data.len().min(left)])
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        write_chunk(&mut self.connection.stream, data)?;
        let count = u64::try_from(data.len()).expect("a length fits 64 bits");
        self.sent += count;
        let shared = self.connection.shared;
        shared.lock().totals.bytes_out += count;
        shared.note(self.number, |entry| entry.bytes_out += count);
        Ok(())
    }

    /// Sends nothing more until the client goes away or the server stops.
    fn stall(&mut self) -> io::Result<()> {
        self.connection.stream.flush()?;
        let mut ignored = [0; 1024];
        while self.connection.stream.read(&mut ignored)? > 0 {}
        Err(ended("stalled by script"))
    }
}

fn ended(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why.to_owned())
}

fn logged(request: &Request) -> Logged {
    let header = |name| request.header(name).map(str::to_owned);
    Logged {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        git_protocol: header("git-protocol"),
        authorization: header("authorization"),
        lines: pkt_lines(&request.body),
        status: None,
        bytes_out: 0,
    }
}

/// RFC 4648 with padding.
fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in data.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 0x3f;
            let symbol = DIGITS[usize::try_from(value).expect("six bits")];
            text.push(if digit > group.len() {
                '='
            } else {
                char::from(symbol)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let examples = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in examples {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
