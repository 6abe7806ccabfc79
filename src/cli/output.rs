//! Standard output and standard error. May import: std, serde.
//!
//! Always holds: whoever reads may stop reading (`bonsai list | head -1`): that is no error, and
//! what is left is not written.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

/// Standard output.
#[derive(Debug, Default)]
pub struct Out(());

impl Out {
    /// One line.
    ///
    /// # Errors
    /// If it can't be written, unless nobody reads.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        write_all(&mut io::stdout().lock(), text)
    }

    /// `value` as JSON, indented.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&text)
    }
}

/// One line on standard error; there is nobody to tell if that fails.
pub fn complain(line: &str) {
    let _ = write_all(&mut io::stderr().lock(), line);
}

fn write_all(out: &mut impl Write, text: &str) -> io::Result<()> {
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The one line that shows how far something is, written over itself; only on a terminal.
#[derive(Debug)]
pub struct ProgressLine {
    terminal: bool,
    width: usize,
}

impl ProgressLine {
    /// On standard error.
    pub fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            width: 0,
        }
    }

    /// Shows `text` in place of what it showed before.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            let line = replace(self.width, text);
            self.width = text.chars().count();
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.width > 0 {
            self.show("");
        }
    }
}

/// The bytes that put `text` over a line of `width` characters.
fn replace(width: usize, text: &str) -> String {
    let rest = width.saturating_sub(text.chars().count());
    format!("\r{text}{}\r", " ".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_line_leaves_nothing_of_the_longer() {
        assert_eq!(replace(0, "abc"), "\rabc\r");
        assert_eq!(replace(5, "abc"), "\rabc  \r");
        assert_eq!(replace(3, ""), "\r   \r");
    }

    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_reading_is_fine_and_a_full_disk_is_not() {
        write_all(&mut Closed(ErrorKind::BrokenPipe), "x").expect("no error");
        write_all(&mut Closed(ErrorKind::StorageFull), "x").expect_err("an error");
    }
}
