//! Packets from the server's side (gitprotocol-common, gitprotocol-v2), written by hand: an error in the
//! product's own framing would go unseen if the server shared it.

use bonsaifs::git::oid::Oid;

/// Appends a packet.
pub fn data(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend(format!("{:04x}", payload.len() + 4).bytes());
    out.extend(payload);
}

/// Appends a line.
pub fn line(out: &mut Vec<u8>, text: &str) {
    data(out, format!("{text}\n").as_bytes());
}

pub fn flush(out: &mut Vec<u8>) {
    out.extend(b"0000");
}

pub fn delim(out: &mut Vec<u8>) {
    out.extend(b"0001");
}

/// A request in protocol version 2.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub name: String,
    /// The lines after the delimiter.
    pub args: Vec<String>,
}

impl Command {
    /// Reads a request; `None` if it is none.
    pub fn parse(mut body: &[u8]) -> Option<Self> {
        let mut command = Self::default();
        let mut in_args = false;
        loop {
            let (len, rest) = body.split_at_checked(4)?;
            let len = usize::from_str_radix(std::str::from_utf8(len).ok()?, 16).ok()?;
            match len {
                0 => return Some(command),
                1 => {
                    in_args = true;
                    body = rest;
                }
                2 | 3 => return None,
                _ => {
                    let (payload, next) = rest.split_at_checked(len - 4)?;
                    let text = std::str::from_utf8(payload).ok()?.trim_end_matches('\n');
                    match text.strip_prefix("command=") {
                        Some(name) if !in_args => command.name = name.to_owned(),
                        _ if in_args => command.args.push(text.to_owned()),
                        _ => {}
                    }
                    body = next;
                }
            }
        }
    }

    /// The values of all arguments that begin with `key` and a space.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.args
            .iter()
            .filter_map(move |arg| arg.strip_prefix(key)?.strip_prefix(' '))
    }

    /// The objects wanted.
    pub fn wants(&self) -> Vec<Oid> {
        self.values("want")
            .filter_map(|hex| Oid::from_hex(hex.as_bytes()).ok())
            .collect()
    }

    pub fn filter(&self) -> Option<&str> {
        self.values("filter").next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let body = b"0012command=fetch\n0016agent=bonsai/0.1\n00010015filter blob:none\n0032want 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n0009done\n0000";
        let command = Command::parse(body);
        // The length of the filter's line is wrong by one: what follows is no packet.
        assert_eq!(command, None);
        let mut body = Vec::new();
        line(&mut body, "command=fetch");
        delim(&mut body);
        line(&mut body, "filter blob:none");
        line(&mut body, "want 4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        line(&mut body, "done");
        flush(&mut body);
        let command = Command::parse(&body).expect("a request");
        assert_eq!(
            (command.name.as_str(), command.filter()),
            ("fetch", Some("blob:none"))
        );
        assert_eq!(command.wants().len(), 1);
    }
}
