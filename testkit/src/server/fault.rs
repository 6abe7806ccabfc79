//! Scripted faults: which request they hit, and what they do to its answer. May import: log.
//!
//! Always holds: a fault hits exactly as many requests as it was scripted for, first come, first
//! served, and is never applied by chance.

use super::log::{Logged, pkt_length};

/// What happens instead of (or to) an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status with an empty body, and `Retry-After: <seconds>` where given.
    Status {
        /// The status code.
        code: u16,
        /// Seconds for `Retry-After`.
        retry_after: Option<u32>,
    },
    /// This body with status 200.
    Answer {
        /// The `Content-Type`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// The connection is closed without an answer. HTTP clients may try once more by themselves if
    /// the connection had been used before.
    Close,
    /// The connection is closed after this many bytes of the body.
    Cut {
        /// Bytes of the body that still come.
        after: u64,
    },
    /// After this many bytes of the body nothing comes any more, and the connection stays open.
    Stall {
        /// Bytes of the body that still come.
        after: u64,
    },
    /// The body comes one byte at a time, each in a packet of its own.
    Dribble,
    /// One byte of the pack is flipped (the last one if the pack is shorter).
    CorruptPack {
        /// Where in the pack.
        at: usize,
    },
}

impl Fault {
    /// [`Fault::Status`] without `Retry-After`.
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            retry_after: None,
        }
    }
}

/// Which requests a fault may hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Any request.
    Any,
    /// Requests whose path contains this.
    Path(String),
    /// `POST`s of this protocol v2 command.
    Command(String),
    /// Requests that want this object (in hexadecimal), whatever else they want.
    Wants(String),
    /// Requests that want more than one object.
    WantsMany,
}

impl When {
    /// [`When::Command`].
    pub fn command(name: &str) -> Self {
        Self::Command(name.to_owned())
    }

    /// [`When::Path`].
    pub fn path(part: &str) -> Self {
        Self::Path(part.to_owned())
    }

    /// [`When::Wants`].
    pub fn wants(oid: &str) -> Self {
        Self::Wants(oid.to_owned())
    }

    fn matches(&self, request: &Logged) -> bool {
        match self {
            Self::Any => true,
            Self::Path(part) => request.path.contains(part),
            Self::Command(name) => request.command() == Some(name),
            Self::WantsMany => request.wants().len() > 1,
            Self::Wants(oid) => request.wants().contains(&oid.as_str()),
        }
    }
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    when: When,
    left: u64,
    fault: Fault,
}

impl Script {
    pub fn add(&mut self, when: When, times: u64, fault: Fault) {
        self.rules.push(Rule {
            when,
            left: times,
            fault,
        });
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many requests will still be hit.
    pub fn left(&self) -> u64 {
        self.rules
            .iter()
            .fold(0, |sum, rule| sum.saturating_add(rule.left))
    }

    /// The fault for `request`, if it is hit: the oldest rule that matches and is not used up.
    pub fn take(&mut self, request: &Logged) -> Option<Fault> {
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.left > 0 && rule.when.matches(request))?;
        // `u64::MAX` stands for ever.
        if rule.left != u64::MAX {
            rule.left -= 1;
        }
        Some(rule.fault.clone())
    }
}

/// Flips byte `at` of the pack inside a protocol v2 `fetch` response (sideband 1 after the
/// `packfile` section's head). A body without a pack stays as it is.
pub(super) fn corrupt_pack(body: &mut [u8], at: usize) {
    let mut in_pack = false;
    let mut passed = 0;
    let mut target = None;
    let mut position = 0;
    while let Some((length, rest)) = pkt_length(&body[position..]) {
        let end = position + length.max(4);
        if length < 4 {
            position = end;
            continue;
        }
        let Some(payload) = rest.get(..length - 4) else {
            break;
        };
        if in_pack && payload.first() == Some(&1) {
            let data = payload.len() - 1;
            if data > 0 {
                let within = at.saturating_sub(passed).min(data - 1);
                target = Some(position + 5 + within);
                passed += data;
                if passed > at {
                    break;
                }
            }
        }
        in_pack |= payload == b"packfile\n";
        position = end;
    }
    if let Some(target) = target {
        body[target] ^= 0x20;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(lines: &[&str]) -> Logged {
        Logged {
            method: "POST".to_owned(),
            path: "/r.git/git-upload-pack".to_owned(),
            query: String::new(),
            git_protocol: None,
            authorization: None,
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            status: None,
            bytes_out: 0,
        }
    }

    #[test]
    fn a_fault_hits_the_matching_requests_and_no_more_than_scripted() {
        let mut script = Script::default();
        script.add(When::command("fetch"), 2, Fault::Close);
        script.add(When::wants("ab"), 1, Fault::Dribble);
        script.add(When::path("nowhere"), 1, Fault::status(500));
        assert_eq!(script.take(&post(&["command=ls-refs"])), None);
        let fetch = post(&["command=fetch", "", "want ab"]);
        assert_eq!(script.take(&fetch), Some(Fault::Close));
        assert_eq!(script.take(&fetch), Some(Fault::Close));
        assert_eq!(script.take(&fetch), Some(Fault::Dribble));
        assert_eq!(script.take(&fetch), None);
        assert_eq!(script.left(), 1);
    }

    #[test]
    fn a_fault_for_ever_stays() {
        let mut script = Script::default();
        script.add(When::Any, u64::MAX, Fault::Close);
        for _ in 0..3 {
            assert_eq!(script.take(&post(&[])), Some(Fault::Close));
        }
        script.clear();
        assert_eq!(script.take(&post(&[])), None);
    }

    #[test]
    fn exactly_the_pack_byte_asked_for_is_flipped() {
        let body = b"000dpackfile\n000a\x02hello0009\x01PACK0009\x01efgh0000";
        for (at, flipped) in [(0, 28), (3, 31), (4, 37), (7, 40), (99, 40)] {
            let mut changed = body.to_vec();
            corrupt_pack(&mut changed, at);
            let different: Vec<usize> = (0..body.len())
                .filter(|&index| body[index] != changed[index])
                .collect();
            assert_eq!(different, [flipped], "pack byte {at}");
        }
        let mut no_pack = b"0009hello0000".to_vec();
        corrupt_pack(&mut no_pack, 0);
        assert_eq!(no_pack, b"0009hello0000");
    }
}
