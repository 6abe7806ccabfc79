//! The capability advertisement: the one GET of the protocol, which may be redirected.

use bytes::Bytes;
use url::Url;

use bonsaifs_core::sync::lock;

use super::{Errand, Inner, status};
use crate::{
    git::{
        url::HttpUrl,
        v2::{Advertisement, Capabilities, parse_advertisement},
    },
    origin::OriginError,
    seams::http::Response,
};

/// As curl and git have it by default.
const MAX_REDIRECTS: usize = 20;

/// As much of an answer as is read. A list of capabilities has some hundred bytes; servers of
/// older versions send all their refs, of which the first line says enough.
const LIMIT: usize = 64 << 10;

impl Inner {
    /// What the repository offers: as it said earlier in this process, or by asking now. Finds out
    /// on the way where the repository is, if it has moved.
    pub(super) async fn advertisement(&self) -> Result<Capabilities, OriginError> {
        let mut advertised = self.advertised.lock().await;
        if let Some(caps) = &*advertised {
            return Ok(caps.clone());
        }
        let (caps, place) = self.ask_for_advertisement().await?;
        self.memory.learn(&place, &caps, self.unix_time());
        *lock(&self.place) = place;
        *lock(&self.known) = Some(caps.clone());
        *advertised = Some(caps.clone());
        Ok(caps)
    }

    /// The next [`Inner::advertisement`] asks again.
    pub(super) async fn forget_advertisement(&self) {
        *self.advertised.lock().await = None;
        *lock(&self.known) = None;
    }

    async fn ask_for_advertisement(&self) -> Result<(Capabilities, HttpUrl), OriginError> {
        let mut place = self.place();
        let mut url = place.join_service("/info/refs?service=git-upload-pack");
        let mut redirects = 0;
        // What redirects is let go before the next request: it holds a connection.
        let response = loop {
            let response = self
                .transport
                .exchange(Errand::Advertisement, &place, &url, Bytes::new())
                .await?;
            let next = redirect(&response, &url).filter(|_| redirects < MAX_REDIRECTS);
            let Some(next) = next else {
                break response;
            };
            redirects += 1;
            place = follow(&place, &url, &next)?;
            url = next;
        };
        let shown = place.to_string();
        if response.status != 200 {
            return Err(status::failure(&response, &shown, self.unix_time()));
        }
        let content_type = response.header("content-type").map(str::to_owned);
        let body = self.transport.body(response, LIMIT).await?;
        let advertisement = parse_advertisement(content_type.as_deref(), whole_lines(&body));
        let url = shown;
        match advertisement {
            Advertisement::V2(caps) if caps.ls_refs && caps.fetch => Ok((caps, place)),
            Advertisement::V2(_) => Err(OriginError::NotGit {
                url,
                reason: "it offers neither refs nor objects".to_owned(),
            }),
            Advertisement::Version(version) => Err(OriginError::OldProtocol { url, version }),
            Advertisement::Dumb => Err(OriginError::DumbHttp { url }),
            Advertisement::Refused(message) => Err(OriginError::Refused {
                source_name: self.given.to_string(),
                message,
            }),
            Advertisement::NotGit(reason) => Err(OriginError::NotGit { url, reason }),
        }
    }
}

/// Where a response says to go instead.
fn redirect(response: &Response, from: &Url) -> Option<Url> {
    matches!(response.status, 301 | 302 | 303 | 307 | 308).then_some(())?;
    from.join(response.header("location")?).ok()
}

/// The repository's address after a redirect, which carries credentials on only to the same site.
fn follow(place: &HttpUrl, from: &Url, to: &Url) -> Result<HttpUrl, OriginError> {
    let refuse = |reason: String| OriginError::NotGit {
        url: place.to_string(),
        reason,
    };
    // Neither query nor user: a login page's address may hold a session in them.
    let shown = || format!("{}{}", to.origin().ascii_serialization(), to.path());
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(refuse(format!(
            "it redirects from https to {}, which is not safe to follow",
            shown()
        )));
    }
    place.rebase(to).ok_or_else(|| {
        refuse(format!(
            "it redirects to {}, which is no repository",
            shown()
        ))
    })
}

/// `body` up to its last line break, if it was cut at the limit: half a line of a long list of refs
/// says nothing.
fn whole_lines(body: &[u8]) -> &[u8] {
    if body.len() <= LIMIT {
        return body;
    }
    let end = body.iter().rposition(|&byte| byte == b'\n');
    &body[..end.map_or(body.len(), |end| end + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::http::fake::response;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn a_redirect_needs_a_status_and_a_place() {
        let from = url("https://x.org/a/info/refs?service=git-upload-pack");
        let to = |status, location| {
            let found = redirect(&response(status, &[("location", location)], b""), &from);
            found.map(|url| url.to_string())
        };
        for status in [301, 302, 303, 307, 308] {
            let relative = to(status, "/b/info/refs");
            assert_eq!(relative.as_deref(), Some("https://x.org/b/info/refs"));
        }
        assert_eq!(to(200, "/b"), None);
        assert_eq!(to(300, "/b"), None);
        assert_eq!(to(301, "http://["), None);
        assert_eq!(redirect(&response(301, &[], b""), &from), None);
    }

    #[test]
    fn only_safe_redirects_to_repositories_are_followed() {
        let place = HttpUrl::parse("https://x.org/a").expect("a URL");
        let from = url("https://x.org/a/info/refs");
        let moved = follow(&place, &from, &url("https://y.org/b/info/refs?service=x"));
        assert_eq!(moved.expect("a repository").to_string(), "https://y.org/b");
        for (to, reason) in [
            ("http://x.org/a/info/refs", "not safe"),
            ("https://x.org/login?session=hunter2", "no repository"),
            ("https://someone:hunter2@x.org/", "no repository"),
            ("ftp://x.org/a/info/refs", "not safe"),
        ] {
            let error = follow(&place, &from, &url(to)).expect_err("not followed");
            assert!(error.to_string().contains(reason), "{error}");
            assert!(!format!("{error:?}{error}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_body_that_was_cut_ends_with_a_whole_line() {
        assert_eq!(whole_lines(b"a\nb"), b"a\nb");
        let mut long = vec![b'x'; LIMIT];
        long.extend(b"\nhalf");
        assert_eq!(whole_lines(&long).len(), LIMIT + 1);
        assert_eq!(whole_lines(&vec![b'x'; LIMIT + 1]).len(), LIMIT + 1);
    }
}
