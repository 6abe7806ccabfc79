//! The `.netrc` file, as curl and thereby git read it. May import: std, no I/O.

/// A login found in a `.netrc` file. Has no Debug: it holds a password.
#[derive(PartialEq, Eq)]
pub(super) struct Login {
    pub user: String,
    pub password: String,
}

/// The login that `text` holds for `host`, and for `user` if one is given: that of the first
/// `machine` of this name, or the `default`, with a password.
pub(super) fn find(text: &str, host: &str, user: Option<&str>) -> Option<Login> {
    let mut tokens = Tokens { rest: text };
    let mut entry = Entry::default();
    loop {
        let token = tokens.next();
        match token.as_deref() {
            Some("machine") => {
                if let Some(login) = entry.login(user) {
                    return Some(login);
                }
                entry = Entry::new(
                    tokens
                        .next()
                        .is_some_and(|name| name.eq_ignore_ascii_case(host)),
                );
            }
            Some("default") => {
                if let Some(login) = entry.login(user) {
                    return Some(login);
                }
                entry = Entry::new(true);
            }
            Some("login") => entry.user = tokens.next(),
            Some("password") => entry.password = tokens.next(),
            Some("account") => {
                tokens.next();
            }
            Some("macdef") => tokens.skip_macro(),
            Some(_) => {}
            None => return entry.login(user),
        }
    }
}

#[derive(Default)]
struct Entry {
    matches: bool,
    user: Option<String>,
    password: Option<String>,
}

impl Entry {
    fn new(matches: bool) -> Self {
        Self {
            matches,
            ..Self::default()
        }
    }

    fn login(&mut self, wanted: Option<&str>) -> Option<Login> {
        if !self.matches {
            return None;
        }
        let password = self.password.take()?;
        let user = match (self.user.take(), wanted) {
            (Some(user), Some(wanted)) if user != wanted => return None,
            (Some(user), _) => user,
            (None, wanted) => wanted.unwrap_or_default().to_owned(),
        };
        Some(Login { user, password })
    }
}

/// Words between white space, or in double quotes with `\` before any character; a word that
/// begins with `#` makes the rest of its line a comment.
struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                break;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        if let Some(quoted) = self.rest.strip_prefix('"') {
            return Some(self.quoted(quoted));
        }
        let end = self
            .rest
            .find(char::is_whitespace)
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }
}

impl<'a> Tokens<'a> {
    fn quoted(&mut self, text: &'a str) -> String {
        let mut word = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => break,
                '\\' => match chars.next() {
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some(escaped) => word.push(escaped),
                    None => {}
                },
                _ => word.push(char),
            }
        }
        self.rest = chars.as_str();
        word
    }

    /// A macro ends at the next empty line.
    fn skip_macro(&mut self) {
        self.rest = self.rest.split_once("\n\n").map_or("", |(_, rest)| rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str, user: Option<&str>) -> Option<String> {
        find(text, host, user).map(|login| format!("{}:{}", login.user, login.password))
    }

    const FILE: &str = "\
# machine commented.example login no password no
machine one.example login alice password secret1
machine two.example
    login bob
    account ignored
    password \"with space \\\"and\\\" quotes\"
macdef init
machine macro.example login no password no

machine three.example password only
machine two.example login carol password secret3
default login anyone password fallback
";

    #[test]
    fn the_machine_of_the_name() {
        for (host, expected) in [
            ("one.example", "alice:secret1"),
            ("ONE.example", "alice:secret1"),
            ("two.example", "bob:with space \"and\" quotes"),
            ("three.example", ":only"),
            ("four.example", "anyone:fallback"),
            ("commented.example", "anyone:fallback"),
            ("macro.example", "anyone:fallback"),
        ] {
            assert_eq!(found(FILE, host, None).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn a_user_picks_among_entries() {
        let user = |user| found(FILE, "two.example", Some(user));
        assert_eq!(user("carol").as_deref(), Some("carol:secret3"));
        assert_eq!(user("dave"), None);
        assert_eq!(
            found(FILE, "three.example", Some("erin")).as_deref(),
            Some("erin:only")
        );
    }

    #[test]
    fn unfinished_and_foreign_files_hold_nothing() {
        for text in [
            "",
            "machine",
            "machine one.example",
            "machine one.example login",
            "machine one.example login alice password",
            "password stray",
            "machine one.example login \"alice",
            "<html></html>",
            "macdef",
        ] {
            assert_eq!(found(text, "one.example", None), None, "{text}");
        }
    }

    #[test]
    fn a_host_named_like_a_keyword_is_a_host() {
        let text = "machine default login a password b";
        assert_eq!(found(text, "default", None).as_deref(), Some("a:b"));
        assert_eq!(found(text, "other", None), None);
    }
}
