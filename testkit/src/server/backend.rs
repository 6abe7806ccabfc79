//! Runs `git http-backend` as a CGI program for one request. May import: http.
//!
//! Always holds: the child is gone when its [`Backend`] is, and nothing of the user's or the
//! system's Git configuration reaches it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
};

use super::http::{Head, Request};

/// What to tell the backend beside the request.
pub(super) struct Call<'a> {
    /// Where the repositories are.
    pub root: &'a Path,
    /// Configuration given to Git.
    pub config: &'a [(&'static str, String)],
    /// What it takes for the client's `Git-Protocol` header.
    pub git_protocol: Option<&'a str>,
    /// What it takes for the query.
    pub query: &'a str,
}

/// A running backend that has sent its head.
pub(super) struct Backend {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Backend {
    /// Starts it with `request`, and reads the head of its answer.
    pub fn start(call: &Call<'_>, request: &Request) -> io::Result<(Head, Self)> {
        let mut command = Command::new("git");
        command
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", call.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", percent_decoded(&request.path))
            .env("QUERY_STRING", call.query)
            .env("REQUEST_METHOD", &request.method)
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_COUNT", call.config.len().to_string())
            .env_remove("GIT_DIR")
            .env_remove("GIT_PROTOCOL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for (index, (key, value)) in call.config.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{index}"), key)
                .env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        if let Some(content_type) = request.header("content-type") {
            command.env("CONTENT_TYPE", content_type);
        }
        if let Some(protocol) = call.git_protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().expect("stdin is a pipe");
        let output = child.stdout.take().expect("stdout is a pipe");
        let body = request.body.clone();
        // Of its own thread, because the backend may answer before it has read everything. It
        // ends with the child at the latest.
        thread::spawn(move || {
            // A child that doesn't want the rest is no fault.
            let _ = input.write_all(&body);
        });
        let mut backend = Self {
            child,
            output: BufReader::with_capacity(1 << 16, output),
        };
        let head = backend.head()?;
        Ok((head, backend))
    }

    /// The next piece of the body, empty at its end.
    pub fn piece(&mut self) -> io::Result<Vec<u8>> {
        let piece = self.output.fill_buf()?.to_vec();
        self.output.consume(piece.len());
        Ok(piece)
    }

    /// All that is left of the body.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// The CGI header (RFC 3875): fields up to an empty line, `Status` among them.
    fn head(&mut self) -> io::Result<Head> {
        let mut head = Head::new(200, &[]);
        for line in self.output.by_ref().lines() {
            let line = line?;
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            if name == "Status" {
                let code = value.split(' ').next().unwrap_or_default();
                head.status = code.parse().map_err(io::Error::other)?;
            } else {
                head.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        Err(io::Error::other("git http-backend sent no head"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent_decoded(path: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;

    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = (bytes[index] == b'%')
            .then(|| path.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(decoded)
}

/// The body of `request`, unpacked if it came gzipped (as Git sends longer ones), with the header
/// that said so removed.
pub(super) fn unpacked(mut request: Request) -> io::Result<Request> {
    if request.header("content-encoding") != Some("gzip") {
        return Ok(request);
    }
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let body = std::mem::take(&mut request.body);
    let feeder = thread::spawn(move || input.write_all(&body));
    let output = child.wait_with_output()?;
    feeder.join().expect("the feeder doesn't panic")?;
    if !output.status.success() {
        return Err(io::Error::other("the body is not gzip"));
    }
    request.body = output.stdout;
    request
        .headers
        .retain(|(name, _)| name != "content-encoding");
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_escapes_are_decoded_and_the_rest_is_kept() {
        assert_eq!(percent_decoded("/a%20b%2Fc%"), "/a b/c%");
        assert_eq!(percent_decoded("/%zz"), "/%zz");
    }
}
