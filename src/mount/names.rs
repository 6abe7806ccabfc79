//! Paths in text and in JSON, which have no room for names of any bytes.
//! May import: base64, serde.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Any text as one line for people: control characters are escaped.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `path` as one line for people: what is not UTF-8 is shown as U+FFFD.
pub fn printable(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// A directory as two JSON fields: `dir`, lossy where it is not UTF-8, and then `dir_bytes`, the
/// bytes in base64. To be flattened into the object that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirFields {
    dir: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dir_bytes: Option<String>,
}

impl From<&Path> for DirFields {
    fn from(path: &Path) -> Self {
        Self {
            dir: path.to_string_lossy().into_owned(),
            dir_bytes: bytes_field(path),
        }
    }
}

impl DirFields {
    /// The path itself; the lossy one if the bytes are not base64.
    pub fn path(&self) -> PathBuf {
        self.dir_bytes
            .as_deref()
            .and_then(decode)
            .unwrap_or_else(|| PathBuf::from(&self.dir))
    }
}

/// The bytes of `path` in base64, if it is not UTF-8 and a JSON string can't hold it.
pub fn bytes_field(path: &Path) -> Option<String> {
    path.to_str().is_none().then(|| encode(path))
}

/// The bytes of `path` in base64.
fn encode(path: &Path) -> String {
    BASE64_STANDARD.encode(path.as_os_str().as_bytes())
}

/// The path whose bytes [`encode`] wrote.
fn decode(text: &str) -> Option<PathBuf> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// A path of any bytes as one JSON string: base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyPath(pub PathBuf);

impl Serialize for AnyPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for AnyPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom("not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(OsString::from_vec(bytes.to_vec()))
    }

    #[test]
    fn printed_paths_are_one_line() {
        assert_eq!(
            printable(&path(b"/a b\n\t\x1b[1m\xff")),
            "/a b\\n\\t\\u{1b}[1m\u{fffd}"
        );
    }

    #[test]
    fn utf8_needs_no_second_field() {
        let fields = DirFields::from(Path::new("/mnt/ä\n"));
        let json = serde_json::to_string(&fields).expect("plain data");
        assert_eq!(json, r#"{"dir":"/mnt/ä\n"}"#);
        assert_eq!(fields.path(), Path::new("/mnt/ä\n"));
    }

    #[test]
    fn any_bytes_come_back() {
        let dir = path(b"/mnt/\xff\xfe");
        let json = serde_json::to_value(DirFields::from(dir.as_path())).expect("plain data");
        assert_eq!(json["dir"], "/mnt/\u{fffd}\u{fffd}");
        assert_eq!(json["dir_bytes"], "L21udC///g==");
        let fields: DirFields = serde_json::from_value(json).expect("the same fields");
        assert_eq!(fields.path(), dir);
    }
}
