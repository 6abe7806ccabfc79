//! The documents keep their word: the tests that SEMANTICS.md names exist, no flag is mentioned that
//! the command does not have, and links lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and everything in docs/, with the text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs")).expect("a docs folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|kind| kind == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            (path, text)
        })
        .collect()
}

/// A piece of a document that is set as code.
#[derive(Debug, PartialEq, Eq)]
enum Code {
    /// Between backquotes.
    Span(String),
    /// A line of an indented or fenced block.
    Line(String),
}

/// All code in a Markdown text.
fn code(text: &str) -> Vec<Code> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut after_blank = true;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        // An indented block begins after an empty line; elsewhere, indentation continues a list.
        let indented = line.starts_with("    ") && after_blank;
        if fenced || indented {
            found.push(Code::Line(line.trim().to_owned()));
            continue;
        }
        after_blank = line.trim().is_empty();
        let spans = line.split('`').skip(1).step_by(2);
        found.extend(spans.map(|span| Code::Span(span.to_owned())));
    }
    found
}

/// The long flags in a text.
fn flags(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || "[]()|,;`'\"=".contains(c))
        .filter(|word| {
            word.strip_prefix("--").is_some_and(|name| {
                name.starts_with(|c: char| c.is_ascii_lowercase())
                    && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            })
        })
        .map(str::to_owned)
        .collect()
}

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bonsai"))
        .args(command)
        .arg("--help")
        .output()
        .expect("the binary starts");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

const COMMANDS: [&str; 8] = [
    "mount", "unmount", "list", "status", "info", "prefetch", "cache", "refresh",
];
const CACHE_COMMANDS: [&str; 4] = ["status", "verify", "gc", "clear"];

/// The part of a line of code that calls `bonsai`, by whatever path, up to the next command.
fn calls(line: &str) -> Vec<&str> {
    line.split(['&', ';', '|'])
        .map(|part| part.trim().trim_start_matches("$ "))
        .filter(|part| {
            let program = part.split_whitespace().next().unwrap_or_default();
            program == "bonsai" || program.ends_with("/bonsai")
        })
        .collect()
}

/// Complaints about calls of `bonsai` and flags that the help does not know.
fn unknown_flags(text: &str) -> Vec<String> {
    let of_command = |command: &str| flags(&help(&[command]));
    let anywhere: BTreeSet<String> = COMMANDS
        .iter()
        .flat_map(|command| of_command(command))
        .chain(
            CACHE_COMMANDS
                .iter()
                .flat_map(|sub| flags(&help(&["cache", sub]))),
        )
        .chain(flags(&help(&[])))
        .collect();
    let mut complaints = Vec::new();
    for code in code(text) {
        let (Code::Span(line) | Code::Line(line)) = &code;
        for call in calls(line) {
            let mut words = call.split_whitespace().skip(1);
            let known = match words.next() {
                Some("cache") => match words.next() {
                    Some(sub) if CACHE_COMMANDS.contains(&sub) => flags(&help(&["cache", sub])),
                    None => flags(&help(&["cache"])),
                    Some(_) => {
                        complaints.push(format!("no such command: {call}"));
                        continue;
                    }
                },
                Some(word) if COMMANDS.contains(&word) => of_command(word),
                Some(word) if !word.starts_with('-') => {
                    complaints.push(format!("no such command: {call}"));
                    continue;
                }
                _ => flags(&help(&[])),
            };
            for flag in flags(call).difference(&known) {
                complaints.push(format!("{flag} in {call}"));
            }
        }
        // A flag by itself, as `--allow-other`.
        if let Code::Span(span) = &code
            && span.starts_with("--")
        {
            for flag in flags(span).difference(&anywhere) {
                complaints.push(format!("{flag} by itself"));
            }
        }
    }
    complaints
}

#[test]
fn no_flag_is_mentioned_that_the_command_does_not_have() {
    for (path, text) in documents() {
        // About testing the code, with tools of others.
        if path.ends_with("docs/TESTING.md") {
            continue;
        }
        let complaints = unknown_flags(&text);
        assert!(complaints.is_empty(), "{}: {complaints:?}", path.display());
    }
}

#[test]
fn unknown_flags_are_found() {
    assert!(unknown_flags("Use `bonsai mount --ref main . x` or `--json`.").is_empty());
    assert!(unknown_flags("\n    bonsai list --json && cargo x --no-such\n").is_empty());
    assert_eq!(unknown_flags("`bonsai list --ref x`").len(), 1);
    assert_eq!(unknown_flags("`--no-such-flag`").len(), 1);
    assert!(unknown_flags("`bonsai cache gc --cache-size 1GiB --json`").is_empty());
    assert_eq!(unknown_flags("`bonsai cache frobnicate`").len(), 1);
    assert_eq!(
        unknown_flags("`bonsai cache clear --cache-size 1`").len(),
        1
    );
    assert_eq!(
        unknown_flags("```\n./target/bonsai mount --what\n```").len(),
        1
    );
    assert_eq!(
        unknown_flags("\n    cd x && bonsai frobnicate x\n").len(),
        1
    );
}

#[test]
fn the_commands_of_the_help_are_these() {
    assert_eq!(listed(&help(&[])), COMMANDS);
    assert_eq!(listed(&help(&["cache"])), CACHE_COMMANDS);
}

/// The commands that a help lists.
fn listed(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .collect()
}

/// The targets of Markdown links in a text.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The anchors that GitHub gives to the headings of a Markdown text.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    for (path, text) in documents() {
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("in a folder").join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let there = fs::read_to_string(&target).expect("a text");
                assert!(
                    anchors(&there).contains(anchor),
                    "{}: {link}",
                    path.display()
                );
            }
        }
    }
}

/// The references to tests in a text: `path/to/file.rs: name`.
fn references(text: &str) -> Vec<(String, String)> {
    code(text)
        .into_iter()
        .filter_map(|code| match code {
            Code::Span(span) => {
                let (file, name) = span.split_once(": ")?;
                file.ends_with(".rs")
                    .then(|| (file.to_owned(), name.to_owned()))
            }
            Code::Line(_) => None,
        })
        .collect()
}

/// True if `source` has a test of this name: a function after `#[test]` or `#[tokio::test]`.
fn has_test(source: &str, name: &str) -> bool {
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.contains(&format!("fn {name}(")) {
            return marked;
        }
        // Between the mark and the function may be other attributes, and comments.
        let is_mark = line == "#[test]" || line.starts_with("#[tokio::test");
        marked = is_mark || (marked && (line.starts_with("#[") || line.starts_with("//")));
    }
    false
}

#[test]
fn every_test_that_the_semantics_name_exists() {
    let text = fs::read_to_string(root().join("docs/SEMANTICS.md")).expect("SEMANTICS.md");
    let references = references(&text);
    assert!(references.len() > 50, "{}", references.len());
    for (file, name) in references {
        let source = fs::read_to_string(root().join(&file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(has_test(&source, &name), "{file} has no test {name}");
    }
}

#[test]
fn every_sentence_of_the_semantics_names_its_test() {
    let text = fs::read_to_string(root().join("docs/SEMANTICS.md")).expect("SEMANTICS.md");
    let sentences = text.lines().filter(|line| line.starts_with("- "));
    assert!(sentences.clone().count() > 40);
    for sentence in sentences {
        assert!(sentence.ends_with("`)"), "without a test: {sentence}");
        assert!(
            !references(sentence).is_empty(),
            "without a test: {sentence}"
        );
    }
}

#[test]
fn a_test_is_known_by_its_mark() {
    assert!(has_test("#[test]\nfn a() {}", "a"));
    assert!(has_test(
        "    #[test]\n    // why\n    #[ignore]\n    fn a() {",
        "a"
    ));
    assert!(has_test(
        "#[tokio::test(start_paused = true)]\nasync fn a() {",
        "a"
    ));
    assert!(!has_test("fn a() {}", "a"));
    assert!(!has_test("#[test]\nfn b() {}\nfn a() {}", "a"));
    assert!(!has_test("// fn a", "a"));
}
