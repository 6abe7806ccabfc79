//! The pieces: patches with a header that says what each puts back and who must see it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// One planted bug.
#[derive(Debug)]
pub struct Piece {
    /// The file's name without its ending.
    pub name: String,
    /// The class, by its number in `sim/museum/README.md` or by its name.
    pub class: String,
    /// Who must see it.
    pub detector: Detector,
    /// The patch itself.
    pub diff: String,
    /// What it changes, from the root of the checkout.
    pub files: Vec<PathBuf>,
}

/// Who must see a bug.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// A model in `loom-tests/tests/<file>.rs`.
    Loom { file: String, test: String },
    /// The simulation, by whichever property.
    Sim,
    /// A test beside the code, for what neither of the two can see.
    Test {
        package: String,
        target: String,
        test: String,
    },
}

impl Detector {
    /// Its kind, as headers and `--detector` name it.
    pub fn name(&self) -> &'static str {
        match self {
            Detector::Loom { .. } => "loom",
            Detector::Sim => "sim",
            Detector::Test { .. } => "test",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["loom", file, test] => Some(Detector::Loom {
                file: file.to_owned(),
                test: test.to_owned(),
            }),
            ["sim"] => Some(Detector::Sim),
            ["test", package, target, test] => Some(Detector::Test {
                package: package.to_owned(),
                target: target.to_owned(),
                test: test.to_owned(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detector::Loom { file, test } => write!(f, "loom {file} {test}"),
            Detector::Sim => f.write_str("sim"),
            Detector::Test {
                package,
                target,
                test,
            } => write!(f, "test {package} {target} {test}"),
        }
    }
}

impl Piece {
    /// Reads a patch's text: a title, `Class:`, `Caught by:`, then the difference.
    pub fn parse(name: String, text: String) -> Result<Self, String> {
        let field = |key: &str| {
            let mut lines = text.lines().take_while(|line| !line.starts_with("--- "));
            lines
                .find_map(|line| line.strip_prefix(key))
                .map(|value| value.trim().to_owned())
                .ok_or(format!("{name}: no line begins with \"{key}\""))
        };
        let class = field("Class:")?;
        let by = field("Caught by:")?;
        let detector = Detector::parse(&by).ok_or(format!("{name}: {by:?} is no detector"))?;
        let files: Vec<PathBuf> = text
            .lines()
            .filter_map(|line| line.strip_prefix("+++ b/"))
            .map(PathBuf::from)
            .collect();
        if files.is_empty() {
            return Err(format!("{name}: it changes nothing"));
        }
        Ok(Self {
            name,
            class,
            detector,
            diff: text,
            files,
        })
    }

    /// Whether `name` is its number, or a part of its name.
    pub fn is_called(&self, name: &str) -> bool {
        let number = self.name.split('-').next().unwrap_or_default();
        match name.parse::<u32>() {
            Ok(wanted) => number.parse() == Ok(wanted),
            Err(_) => self.name.contains(name),
        }
    }
}

/// All pieces, in the order of their names.
pub fn all(folder: &Path) -> Result<Vec<Piece>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(path).map_err(wrong)?;
        Piece::parse(name.into_owned(), text)
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "A bug.\nClass: 1, 13\nCaught by: loom flight a_test\n\n--- a/core/x.rs\n+++ b/core/x.rs\n@@ -1 +1 @@\n-Caught by: this\n+Class: that\n";

    #[test]
    fn a_header_is_read() {
        let piece = Piece::parse("01-x".to_owned(), TEXT.to_owned()).expect("a piece");
        assert_eq!(piece.class, "1, 13");
        assert_eq!(piece.detector.to_string(), "loom flight a_test");
        assert_eq!(piece.files, [PathBuf::from("core/x.rs")]);
    }

    #[test]
    fn what_is_missing_in_a_header_is_named() {
        for (without, named) in [
            ("Class: 1, 13\n", "Class:"),
            ("Caught by: loom flight a_test\n", "Caught by:"),
            ("loom flight a_test", "no detector"),
            ("+++ b/core/x.rs\n", "changes nothing"),
        ] {
            let error = Piece::parse("01-x".to_owned(), TEXT.replace(without, ""));
            let error = error.expect_err("it is not whole");
            assert!(error.contains(named), "{error}");
        }
    }

    /// A piece that says nothing the runner can read would be left out in silence.
    #[test]
    fn every_piece_of_the_museum_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/museum");
        let pieces = all(&folder).expect("all can be read");
        assert!(pieces.len() >= 30, "{} pieces", pieces.len());
        let number = |piece: &Piece| piece.name.split('-').next().map(str::to_owned);
        let numbers: std::collections::BTreeSet<_> = pieces.iter().map(number).collect();
        assert_eq!(numbers.len(), pieces.len(), "one number a piece");
    }
}
