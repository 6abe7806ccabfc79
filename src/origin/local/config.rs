//! The part of a repository's own configuration that says how it is stored. Pure.

use crate::git::oid::HashKind;

/// How a repository is stored (gitrepository-layout, git-config `extensions.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `extensions.objectFormat`.
    pub hash: HashKind,
    /// `extensions.refStorage`.
    pub refs: RefStorage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefStorage {
    /// Loose files and `packed-refs`.
    Files,
    /// A reftable, or something yet to come.
    Other,
}

/// Reads the text of a repository's `config` file. An object format that is not known is the
/// error, by name.
pub(super) fn layout(config: &str) -> Result<Layout, String> {
    let mut layout = Layout {
        hash: HashKind::Sha1,
        refs: RefStorage::Files,
    };
    let mut section = String::new();
    for line in config.lines() {
        let mut line = line.trim();
        if let Some(rest) = line.strip_prefix('[') {
            let Some((name, rest)) = rest.split_once(']') else {
                continue;
            };
            section = name.trim().to_ascii_lowercase();
            // A setting may follow on the same line.
            line = rest.trim();
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = plain(value);
        match (section.as_str(), key.trim().to_ascii_lowercase().as_str()) {
            ("extensions", "objectformat") => {
                layout.hash = match value.to_ascii_lowercase().as_str() {
                    "sha1" => HashKind::Sha1,
                    "sha256" => HashKind::Sha256,
                    _ => return Err(value),
                };
            }
            ("extensions", "refstorage") => {
                layout.refs = match value.to_ascii_lowercase().as_str() {
                    "files" => RefStorage::Files,
                    _ => RefStorage::Other,
                };
            }
            _ => {}
        }
    }
    Ok(layout)
}

/// A value without comment and quotes.
fn plain(value: &str) -> String {
    let end = value.find(['#', ';']).unwrap_or(value.len());
    value[..end].replace('"', "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(config: &str) -> (HashKind, RefStorage) {
        let layout = layout(config).expect("a known format");
        (layout.hash, layout.refs)
    }

    #[test]
    fn without_extensions_it_is_sha_1_in_files() {
        for config in [
            "",
            "[core]\n\tbare = true\n",
            "objectformat = sha256",
            "[broken\n",
        ] {
            assert_eq!(
                parsed(config),
                (HashKind::Sha1, RefStorage::Files),
                "{config}"
            );
        }
    }

    #[test]
    fn extensions_in_every_spelling() {
        for config in [
            "[extensions]\n\tobjectFormat = sha256\n",
            "[Extensions]\nOBJECTFORMAT=SHA256",
            "[core]\nbare=true\n[extensions] objectformat = \"sha256\" ; comment",
            "[extensions]\nobjectformat = sha1\nobjectformat = sha256 # the last counts\n",
        ] {
            assert_eq!(
                parsed(config),
                (HashKind::Sha256, RefStorage::Files),
                "{config}"
            );
        }
        let reftable = "[extensions]\n\trefstorage = reftable\n";
        assert_eq!(parsed(reftable), (HashKind::Sha1, RefStorage::Other));
        let other_section = "[remote \"extensions\"]\n\tobjectformat = sha256\n";
        assert_eq!(parsed(other_section).0, HashKind::Sha1);
    }

    #[test]
    fn an_unknown_object_format_is_named() {
        let unknown = layout("[extensions]\nobjectformat = blake3\n");
        assert_eq!(unknown, Err("blake3".to_owned()));
    }
}
