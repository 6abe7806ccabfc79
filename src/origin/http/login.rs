//! Who this origin is to each site it talks to: which credential goes with a request at once, and
//! what is done about a 401.
//!
//! Always holds: a credential goes to its own site only; only one question at a time is put to
//! those who know credentials, however many requests were refused; what was refused is not sent
//! again.

use std::{collections::BTreeMap, sync::Arc};

use bonsaifs_core::{
    rt::SharedRuntime,
    sync::{Mutex, lock},
};
use url::Url;

use crate::{
    git::url::HttpUrl,
    seams::credentials::{Ask, Credential, CredentialSource, Credentials, Site},
};

pub(super) struct Logins {
    runtime: SharedRuntime,
    credentials: Arc<dyn Credentials>,
    sites: Mutex<BTreeMap<Site, Login>>,
    /// Held from a 401 to the credential that follows. Taken before `sites`, never inside it.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Login {
    credential: Option<Credential>,
    /// True once a request with it succeeded.
    worked: bool,
}

impl Logins {
    pub fn new(runtime: SharedRuntime, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            runtime,
            credentials,
            sites: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The credential that goes with a request to `url`, which belongs to `repository`: the one
    /// in use for the site, else that of the repository's URL, else a token for the site.
    pub fn credential_for(&self, url: &Url, repository: &HttpUrl) -> Option<Credential> {
        let site = Site::of(url)?;
        let mut sites = lock(&self.sites);
        let login = sites.entry(site).or_insert_with(|| Login {
            credential: in_url(url, repository).or_else(|| self.credentials.known(url)),
            worked: false,
        });
        login.credential.clone()
    }

    /// A request to `url` with `credential` succeeded. The first time, whoever knew the
    /// credential is told, without anyone waiting for that.
    pub fn worked(&self, url: &Url, credential: &Credential) {
        let Some(site) = Site::of(url) else { return };
        match lock(&self.sites).get_mut(&site) {
            Some(login) if login.credential.as_ref() == Some(credential) && !login.worked => {
                login.worked = true;
            }
            _ => return,
        }
        let credentials = Arc::clone(&self.credentials);
        let credential = credential.clone();
        self.runtime.spawn(
            "approve credential",
            Box::pin(async move { credentials.approve(&credential).await }),
        );
    }

    /// A request to `url`, of `repository`, was answered by a 401 with these `challenges`. Gives
    /// the credential to repeat it with, or `None` if there is none to try.
    pub async fn refused(
        &self,
        url: &Url,
        repository: &HttpUrl,
        used: Option<&Credential>,
        challenges: Vec<String>,
    ) -> Option<Credential> {
        let site = Site::of(url)?;
        let _asking = self.asking.lock().await;
        let login = lock(&self.sites).get(&site).cloned().unwrap_or_default();
        if login.credential.as_ref() != used {
            // Another request was refused as well, and has asked already.
            return login.credential;
        }
        if let Some(used) = used {
            tracing::warn!(%site, source = %used.source(), "a credential was refused");
            lock(&self.sites).insert(site.clone(), Login::default());
            self.credentials.reject(used).await;
            let another_may_be_known = match used.source() {
                CredentialSource::Url => false,
                CredentialSource::Variable(_) => true,
                // One that never worked came from the very place that would be asked again.
                CredentialSource::Helper | CredentialSource::Netrc => login.worked,
            };
            if !another_may_be_known {
                return None;
            }
        }
        let user = repository.credentials().map(|given| given.user.clone());
        let ask = Ask {
            url: repository.as_url().clone(),
            user: user.clone(),
            www_authenticate: challenges,
        };
        let looked_up = self.credentials.lookup(&ask).await;
        let found = looked_up.or_else(|| user_alone(&site, user?))?;
        let same =
            used.is_some_and(|used| used.authorization_for(url) == found.authorization_for(url));
        if same {
            return None;
        }
        let login = Login {
            credential: Some(found.clone()),
            worked: false,
        };
        lock(&self.sites).insert(site, login);
        Some(found)
    }
}

/// The user and password in a repository's URL, for its own site.
fn in_url(url: &Url, repository: &HttpUrl) -> Option<Credential> {
    let given = repository.credentials()?;
    let password = given.password.as_deref()?;
    let site = Site::of(url)?;
    if Site::of(repository.as_url()).as_ref() != Some(&site) {
        return None;
    }
    Some(Credential::basic(
        site,
        CredentialSource::Url,
        &given.user,
        password,
    ))
}

/// `https://<token>@host/`: a token in the user's place, with an empty password, as a person who
/// is asked for one and just presses Enter sends it.
fn user_alone(site: &Site, user: String) -> Option<Credential> {
    site.is_private()
        .then(|| Credential::basic(site.clone(), CredentialSource::Url, &user, ""))
}
