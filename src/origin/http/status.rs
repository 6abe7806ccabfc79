//! What a response's head means: success, or which error. Pure.

use std::time::Duration;

use super::{super::OriginError, retry_after};
use crate::seams::http::Response;

/// The media type of the answer to a POST to `git-upload-pack` (gitprotocol-http).
pub(super) const RESULT_TYPE: &str = "application/x-git-upload-pack-result";

/// What a status other than success says about the repository at `url` (without credentials).
/// `now` is the time since the Unix epoch, for a `Retry-After` that is a date.
pub(super) fn failure(response: &Response, url: &str, now: Duration) -> OriginError {
    let url = url.to_owned();
    let retry_after = response
        .header("retry-after")
        .and_then(|value| retry_after::parse(value, now));
    match response.status {
        401 => OriginError::Unauthorized { url },
        // GitHub's secondary limits answer so.
        403 if retry_after.is_some() => OriginError::RateLimited { url, retry_after },
        403 => OriginError::Forbidden { url },
        404 | 410 => OriginError::NotFound { url },
        429 => OriginError::RateLimited { url, retry_after },
        status @ 500..=599 => OriginError::Server {
            url,
            status,
            retry_after,
        },
        status @ 300..=399 => OriginError::NotGit {
            url,
            reason: format!("it redirects without end or aim ({status})"),
        },
        status => OriginError::NotGit {
            url,
            reason: format!("it answers with status {status}"),
        },
    }
}

/// Checks that a successful answer to a POST comes from Git and can be read as it is.
pub(super) fn check_result(response: &Response, url: &str) -> Result<(), OriginError> {
    let reason = match response.header("content-encoding") {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            format!("it sends {encoding:?} where nothing of the kind was asked for")
        }
        _ => match media_type(response) {
            RESULT_TYPE => return Ok(()),
            "" => "it answers without a content type".to_owned(),
            other => format!("it answers with {other:?}"),
        },
    };
    Err(OriginError::NotGit {
        url: url.to_owned(),
        reason,
    })
}

/// The content type without its parameters, empty if there is none.
fn media_type(response: &Response) -> &str {
    let value = response.header("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::http::fake::response;

    const NOW: Duration = Duration::from_secs(784_111_777);

    fn said(status: u16, headers: &[(&str, &str)]) -> String {
        let failure = failure(&response(status, headers, b""), "https://x/r", NOW);
        format!("{failure:?}")
    }

    #[test]
    fn each_status_has_its_error() {
        for (status, error) in [
            (401, "Unauthorized {"),
            (403, "Forbidden {"),
            (404, "NotFound {"),
            (410, "NotFound {"),
            (429, "RateLimited {"),
            (500, "Server {"),
            (503, "Server {"),
            (301, "NotGit {"),
            (304, "NotGit {"),
            (400, "NotGit {"),
            (405, "NotGit {"),
            (204, "NotGit {"),
        ] {
            let said = said(status, &[]);
            assert!(said.starts_with(error), "{status}: {said}");
            assert!(said.contains("https://x/r"), "{said}");
        }
        assert!(said(503, &[]).contains("status: 503"));
    }

    #[test]
    fn retry_after_goes_with_those_that_may_pass() {
        let seconds = [("retry-after", "7")];
        for status in [403, 429, 500, 503] {
            let said = said(status, &seconds);
            assert!(said.contains("retry_after: Some(7s)"), "{said}");
        }
        assert!(said(403, &seconds).starts_with("RateLimited"));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT")];
        assert!(
            said(429, &date).contains("Some(23s)"),
            "{}",
            said(429, &date)
        );
        assert!(said(429, &[("retry-after", "later")]).contains("None"));
    }

    #[test]
    fn only_gits_own_media_type_is_an_answer() {
        let check = |headers: &[(&str, &str)]| check_result(&response(200, headers, b""), "u");
        assert!(check(&[("content-type", RESULT_TYPE)]).is_ok());
        let with_parameter = format!("{RESULT_TYPE}; charset=utf-8");
        assert!(check(&[("content-type", &with_parameter)]).is_ok());
        let encoded = |encoding| {
            check(&[
                ("content-type", RESULT_TYPE),
                ("content-encoding", encoding),
            ])
        };
        assert!(encoded("identity").is_ok());
        for refused in [
            check(&[]),
            check(&[("content-type", "text/html")]),
            encoded("gzip"),
        ] {
            assert!(
                matches!(refused, Err(OriginError::NotGit { .. })),
                "{refused:?}"
            );
        }
    }
}
