//! From a request to a response, and what may go wrong on the way.

use std::time::Duration;

use bonsaifs::git::oid::{ObjectKind, Oid};
use bytes::Bytes;
use hyper::Response;

use super::{
    State,
    body::{Piece, Script},
    pack::{Leave, Trick, build, closure},
    refuse::{MOVED, refuse},
    respond,
    wire::{self, Command},
};
use crate::{marks, plan::Answer, trace::now};

pub(super) const RESULT: &[(&str, &str)] =
    &[("content-type", "application/x-git-upload-pack-result")];
const ADVERTISEMENT: &[(&str, &str)] = &[(
    "content-type",
    "application/x-git-upload-pack-advertisement",
)];

pub(super) type Answered = (String, Response<Script>);

impl State {
    /// Answers one request; what it was, for the trace.
    pub(super) fn handle(&mut self, mount: &str, target: &str, body: &[u8]) -> Answered {
        let command = Command::parse(body);
        let fault = self.draw(
            command
                .as_ref()
                .is_some_and(|command| command.name == "fetch"),
        );
        if let Some((answer, _)) = fault {
            self.counts.add(&format!("fault: {}", answer.name()));
            if let Some(answered) = refuse(answer, target) {
                return answered;
            }
        }
        // Git's protocol has nothing by which a size that was told alone could be checked.
        let unchecked = command
            .as_ref()
            .is_some_and(|command| command.name == "object-info");
        let path = target.trim_start_matches(MOVED);
        let mut path = path.trim_start_matches('/').splitn(2, '/');
        let repo = path
            .next()
            .and_then(|name| name.strip_prefix("repo")?.parse().ok());
        let Some(repo) = repo.filter(|repo: &usize| *repo < self.repos.len()) else {
            return (
                "no such repository".to_owned(),
                respond(404, &[], Script::default()),
            );
        };
        let (text, headers, mut out, tricked) = match path.next() {
            Some("info/refs?service=git-upload-pack") => (
                "info/refs".to_owned(),
                ADVERTISEMENT,
                self.advertisement(),
                false,
            ),
            Some("git-upload-pack") => match command {
                Some(command) => {
                    let trick = match fault {
                        Some((Answer::WrongObject, _)) => Trick::Swap,
                        Some((Answer::LeaveOut, _)) => Trick::LeaveOut,
                        _ => Trick::None,
                    };
                    let (text, out) = self.command(mount, repo, &command, trick, fault.is_some());
                    (text, RESULT, out, trick != Trick::None)
                }
                None => ("not a request".to_owned(), RESULT, Vec::new(), false),
            },
            _ => {
                return (
                    "no such path".to_owned(),
                    respond(404, &[], Script::default()),
                );
            }
        };
        let text = match fault {
            Some((answer, _)) => format!("{text} -> {}", answer.name()),
            None => format!("{text} -> {} bytes", out.len()),
        };
        let cut = self.rng.below(out.len() as u64 + 1) as usize;
        let pieces = match fault.filter(|_| !tricked) {
            Some((Answer::Flip, _)) if cut < out.len() && !unchecked => {
                out[cut] ^= 1 << self.rng.below(8);
                self.pieces(out)
            }
            Some((answer @ (Answer::Reset | Answer::TornPack), _)) => {
                out.truncate(cut);
                let mut pieces = self.pieces(out);
                // A break overtakes what was just sent, unless it comes later.
                if answer == Answer::TornPack {
                    pieces.push(Piece::Wait(Duration::from_millis(50)));
                }
                pieces.push(Piece::Break);
                pieces
            }
            Some((Answer::Cut, _)) => {
                out.truncate(cut);
                self.pieces(out)
            }
            Some((Answer::Fatal, _)) => {
                out.truncate(whole_packets(&out, cut));
                wire::data(&mut out, b"\x03fatal: something is broken here\n");
                wire::flush(&mut out);
                self.pieces(out)
            }
            Some((Answer::Drip, until)) => {
                let rest = out.split_off(cut);
                let mut pieces = self.pieces(out);
                pieces.push(Piece::Drip(rest.into(), until));
                pieces
            }
            Some((Answer::Silence, until)) => {
                out.truncate(cut);
                let mut pieces = self.pieces(out);
                pieces.push(Piece::Wait(until.saturating_sub(now())));
                pieces.push(Piece::Break);
                pieces
            }
            _ => self.pieces(out),
        };
        (text, respond(200, headers, Script::new(pieces)))
    }

    /// A body as it goes out: in packets, with pauses.
    fn pieces(&self, out: Vec<u8>) -> Vec<Piece> {
        let pause = Duration::from_millis(self.plan.pause_ms);
        if pause.is_zero() {
            return vec![Piece::Data(out.into())];
        }
        let mut rest = Bytes::from(out);
        let mut pieces = Vec::new();
        // However small the packets, a body takes some hundred pauses at the most.
        let len = (self.plan.packet + 5).max(rest.len() / 100 + 1);
        while !rest.is_empty() {
            pieces.push(Piece::Data(rest.split_to(len.min(rest.len()))));
            pieces.push(Piece::Wait(pause));
        }
        pieces
    }

    fn advertisement(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::line(&mut out, "# service=git-upload-pack");
        wire::flush(&mut out);
        wire::line(&mut out, "version 2");
        wire::line(&mut out, "agent=git/sim");
        wire::line(&mut out, "ls-refs=unborn");
        let shallow = if self.plan.shallow { " shallow" } else { "" };
        let filter = if self.plan.filter { " filter" } else { "" };
        wire::line(
            &mut out,
            &format!("fetch={}", format!("wait-for-done{shallow}{filter}").trim()),
        );
        wire::line(&mut out, "object-format=sha1");
        if self.plan.object_info {
            wire::line(&mut out, "object-info");
        }
        wire::flush(&mut out);
        out
    }

    fn command(
        &mut self,
        mount: &str,
        repo: usize,
        command: &Command,
        trick: Trick,
        faulty: bool,
    ) -> (String, Vec<u8>) {
        match command.name.as_str() {
            "ls-refs" => ("ls-refs".to_owned(), self.ls_refs(repo, command)),
            "fetch" => self.fetch(mount, repo, command, trick, faulty),
            "object-info" if self.plan.object_info => {
                ("object-info".to_owned(), self.object_info(repo, command))
            }
            other => (format!("unknown command {other}"), error("unknown command")),
        }
    }

    fn ls_refs(&self, repo: usize, command: &Command) -> Vec<u8> {
        let repo = &self.repos[repo];
        let prefixes: Vec<&str> = command.values("ref-prefix").collect();
        let wanted = |name: &str| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        let has = |arg: &str| command.args.iter().any(|have| have == arg);
        let mut out = Vec::new();
        if wanted("HEAD") {
            let target = repo.refs[&repo.head];
            let symref = match has("symrefs") {
                true => format!(" symref-target:{}", repo.head),
                false => String::new(),
            };
            wire::line(&mut out, &format!("{target} HEAD{symref}"));
        }
        for (name, oid) in repo.refs.iter().filter(|(name, _)| wanted(name)) {
            let peeled = repo.peel(oid);
            let peeled = match has("peel") && peeled != *oid {
                true => format!(" peeled:{peeled}"),
                false => String::new(),
            };
            wire::line(&mut out, &format!("{oid} {name}{peeled}"));
        }
        wire::flush(&mut out);
        out
    }

    fn object_info(&self, repo: usize, command: &Command) -> Vec<u8> {
        let mut out = Vec::new();
        wire::line(&mut out, "size");
        for hex in command.values("oid") {
            let size = Oid::from_hex(hex.as_bytes())
                .ok()
                .filter(|oid| !self.missing[repo].contains(oid))
                .and_then(|oid| self.repos[repo].objects.get(&oid))
                .map_or_else(String::new, |(_, data)| data.len().to_string());
            wire::line(&mut out, &format!("{hex} {size}"));
        }
        wire::flush(&mut out);
        out
    }

    fn fetch(
        &mut self,
        mount: &str,
        repo: usize,
        command: &Command,
        trick: Trick,
        faulty: bool,
    ) -> (String, Vec<u8>) {
        let wants = command.wants();
        let filter = command.filter();
        let shallow = command.values("deepen").next().is_some();
        let text = format!(
            "fetch {}{}{}",
            wants
                .iter()
                .map(|oid| oid.to_hex_with_len(7).to_string())
                .collect::<Vec<_>>()
                .join(","),
            filter.map_or_else(String::new, |filter| format!(" {filter}")),
            if shallow { " depth 1" } else { "" },
        );
        self.note_retry(mount, repo, &wants, filter, faulty);
        if filter.is_some() && !self.plan.filter || shallow && !self.plan.shallow {
            return (text, error("unexpected line"));
        }
        if filter.is_some() && self.plan.ignores_filter {
            self.counts.add(marks::FILTER_IGNORED);
        }
        let leave = match filter {
            _ if self.plan.ignores_filter => Leave::Nothing,
            None => Leave::Nothing,
            Some("blob:none") => Leave::Blobs,
            Some("tree:0") => Leave::AllButWanted,
            Some(_) => return (text, error("filter not supported")),
        };
        let oids = match closure(
            &self.repos[repo],
            &self.missing[repo],
            &wants,
            leave,
            shallow,
        ) {
            Ok(oids) => oids,
            Err(oid) if wants.contains(&oid) => {
                if wants.len() > 1 {
                    let wants = wants.into_iter().collect();
                    self.refused.insert(mount.to_owned(), wants);
                }
                let name = match self.plan.names_missing {
                    true => format!(" {oid}"),
                    false => String::new(),
                };
                return (text, error(&format!("upload-pack: not our ref{name}")));
            }
            Err(oid) => {
                let mut out = Vec::new();
                wire::line(&mut out, "packfile");
                wire::data(
                    &mut out,
                    format!("\x03fatal: unable to read {oid}\n").as_bytes(),
                );
                wire::flush(&mut out);
                return (text, out);
            }
        };
        let commits: Vec<Oid> = oids
            .iter()
            .filter(|oid| self.repos[repo].objects[*oid].0 == ObjectKind::Commit)
            .copied()
            .collect();
        let deltas = self.plan.deltas;
        let pack = build(
            &self.repos[repo],
            &oids,
            deltas,
            trick,
            &mut self.deflated,
            &mut self.rng,
        );
        let mut out = Vec::new();
        if shallow && !commits.is_empty() {
            wire::line(&mut out, "shallow-info");
            for oid in commits {
                wire::line(&mut out, &format!("shallow {oid}"));
            }
            wire::delim(&mut out);
        }
        wire::line(&mut out, "packfile");
        if !command.args.iter().any(|arg| arg == "no-progress") {
            wire::data(&mut out, b"\x02Enumerating objects, done.\n");
        }
        for piece in pack.chunks(self.plan.packet) {
            wire::data(&mut out, &[b"\x01", piece].concat());
        }
        wire::flush(&mut out);
        (text, out)
    }

    /// Marks what this request has to do with those before it that went wrong.
    fn note_retry(
        &mut self,
        mount: &str,
        repo: usize,
        wants: &[Oid],
        filter: Option<&str>,
        faulty: bool,
    ) {
        let torn = self.torn.entry(mount.to_owned()).or_default();
        if wants.iter().any(|oid| torn.contains(oid)) {
            self.counts.add(marks::TORN_PACK_RETRIED);
        }
        let is_tree = |oid: &Oid| {
            let object = self.repos[repo].objects.get(oid);
            object.is_some_and(|(kind, _)| *kind == ObjectKind::Tree)
        };
        if filter == Some("blob:none") && wants.iter().all(is_tree) && !torn.is_empty() {
            self.counts.add(marks::BULK_RESUMED);
        }
        let refused = self.refused.entry(mount.to_owned()).or_default();
        if wants.len() < refused.len() && wants.iter().all(|oid| refused.contains(oid)) {
            self.counts.add(marks::BISECTED);
            refused.clear();
        }
        if faulty {
            torn.extend(wants);
        } else {
            wants.iter().for_each(|oid| {
                torn.remove(oid);
            });
        }
    }
}

fn error(message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::line(&mut out, &format!("ERR {message}"));
    out
}

/// The end of the last packet that is whole within the first `len` bytes.
fn whole_packets(out: &[u8], len: usize) -> usize {
    let mut at = 0;
    while let Some(prefix) = out.get(at..at + 4) {
        let text = std::str::from_utf8(prefix).unwrap_or_default();
        let packet = usize::from_str_radix(text, 16).unwrap_or(0).max(4);
        if at + packet > len {
            break;
        }
        at += packet;
    }
    at
}
