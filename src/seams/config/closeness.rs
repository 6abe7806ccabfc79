//! How closely an `http.<url>` section names a URL (git-config(1), `http.<url>.*`). Pure.

use url::Url;

/// How closely a section names a URL: host first, then path, then user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Closeness {
    host: usize,
    path: usize,
    user: bool,
}

/// Whether the section `pattern` means `url`, and how closely. Scheme and port are to be equal,
/// each label of the host equal or `*`, the path a prefix that ends at a slash, the user equal if
/// the pattern has one (git-config(1), `http.<url>.*`).
pub(super) fn closeness(pattern: &str, url: &Url) -> Option<Closeness> {
    let pattern = Url::parse(pattern).ok()?;
    if pattern.scheme() != url.scheme()
        || pattern.port_or_known_default() != url.port_or_known_default()
    {
        return None;
    }
    let (wanted, host) = (pattern.host_str()?, url.host_str()?);
    if wanted.split('.').count() != host.split('.').count()
        || !wanted
            .split('.')
            .zip(host.split('.'))
            .all(|(wanted, label)| wanted == "*" || wanted == label)
    {
        return None;
    }
    let prefix = pattern.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(prefix)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let user = !pattern.username().is_empty();
    if user && pattern.username() != url.username() {
        return None;
    }
    Some(Closeness {
        host: wanted.len(),
        path: prefix.len() + 1,
        user,
    })
}
