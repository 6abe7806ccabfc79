//! The credentials of this machine's user: token variables, git's helpers, `.netrc`.
//! May import: the git process, std::fs for `.netrc`.

use std::{path::PathBuf, time::Duration};

use bonsaifs_core::rt::BoxFuture;
use url::Url;

use super::{Ask, Credential, CredentialSource, Credentials, Site, Tokens, helper, netrc};
use crate::seams::{git_process::GitProgram, rt::blocking};

/// How long `git credential fill` may take: its helper may be asking a person.
const FILL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a helper may take to remember or forget.
const NOTE_TIMEOUT: Duration = Duration::from_secs(20);

/// [`Credentials`] of a user: token variables at once; after a 401 git's helpers, then `.netrc`.
#[derive(Clone, Debug)]
pub struct SystemCredentials {
    tokens: Tokens,
    git: GitProgram,
    netrc: Option<PathBuf>,
}

impl SystemCredentials {
    /// Reads variables through `get`: those of [`Tokens::from_env`], and `NETRC` or `HOME` for
    /// where the `.netrc` is.
    pub fn new(get: impl Fn(&str) -> Option<String>, git: GitProgram) -> Self {
        let netrc = match get("NETRC").filter(|path| !path.is_empty()) {
            Some(path) => Some(PathBuf::from(path)),
            None => get("HOME").map(|home| PathBuf::from(home).join(".netrc")),
        };
        Self {
            tokens: Tokens::from_env(get),
            git,
            netrc,
        }
    }

    async fn ask_helper(&self, ask: &Ask) -> Option<Credential> {
        let question = helper::question(ask)?;
        let answer = self
            .git
            .ask(&["credential", "fill"], &question, FILL_TIMEOUT)
            .await?;
        helper::parse(&answer, ask)
    }

    async fn read_netrc(&self, ask: &Ask) -> Option<Credential> {
        let path = self.netrc.clone()?;
        let site = Site::of(&ask.url)?;
        let text = blocking(move || std::fs::read_to_string(path))
            .await
            .ok()?
            .ok()?;
        let login = netrc::find(&text, site.host(), ask.user.as_deref())?;
        Some(Credential::basic(
            site,
            CredentialSource::Netrc,
            &login.user,
            &login.password,
        ))
    }

    async fn note(&self, verb: &str, credential: &Credential) {
        if credential.source == CredentialSource::Helper {
            self.git
                .ask(&["credential", verb], &credential.record, NOTE_TIMEOUT)
                .await;
        }
    }
}

impl Credentials for SystemCredentials {
    fn known(&self, url: &Url) -> Option<Credential> {
        self.tokens.find(url)
    }

    fn lookup<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Option<Credential>> {
        Box::pin(async move {
            match self.ask_helper(ask).await {
                Some(credential) => Some(credential),
                None => self.read_netrc(ask).await,
            }
        })
    }

    fn approve<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, ()> {
        Box::pin(self.note("approve", credential))
    }

    fn reject<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, ()> {
        Box::pin(self.note("reject", credential))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{super::tests::url, *};
    use crate::seams::git_process::tests::script;

    fn ask() -> Ask {
        Ask {
            url: url("https://example.org/repo"),
            user: None,
            www_authenticate: vec!["Basic realm=\"x\"".into()],
        }
    }

    /// Credentials with `git` for a git, and a `.netrc` in `home`.
    fn system(home: &Path, git: &str) -> SystemCredentials {
        let netrc = "machine example.org login net password rc\n";
        fs::write(home.join(".netrc"), netrc).expect("a writable folder");
        let home = home.to_str().expect("UTF-8").to_owned();
        SystemCredentials::new(
            move |name| (name == "HOME").then(|| home.clone()),
            script(git),
        )
    }

    fn home() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn basic(source: CredentialSource, user: &str, password: &str) -> Option<String> {
        let site = Site::of(&ask().url).expect("a site");
        let credential = Credential::basic(site, source, user, password);
        credential.authorization_for(&ask().url).map(str::to_owned)
    }

    fn header(credential: &Credential) -> Option<String> {
        credential.authorization_for(&ask().url).map(str::to_owned)
    }

    #[tokio::test]
    async fn the_helper_is_asked_before_netrc_and_told_how_it_went() {
        let home = home();
        let log = home.path().join("log");
        let system = system(
            home.path(),
            &format!(
                "echo \"$@\" >> '{log}'; cat >> '{log}'; [ $2 = fill ] && printf 'username=u\\npassword=p\\n'",
                log = log.display()
            ),
        );
        let credential = system.lookup(&ask()).await.expect("the helper knows");
        assert_eq!(credential.source(), CredentialSource::Helper);
        assert_eq!(
            header(&credential),
            basic(CredentialSource::Helper, "u", "p")
        );
        system.approve(&credential).await;
        system.reject(&credential).await;
        let log = fs::read_to_string(log).expect("the helper ran");
        assert_eq!(
            log,
            "credential fill\ncapability[]=authtype\nprotocol=https\nhost=example.org\npath=repo\n\
             wwwauth[]=Basic realm=\"x\"\n\
             credential approve\nusername=u\npassword=p\n\
             credential reject\nusername=u\npassword=p\n"
        );
    }

    #[tokio::test]
    async fn netrc_answers_where_the_helper_has_nothing() {
        let home = home();
        let system = system(home.path(), "exit 128");
        let credential = system.lookup(&ask()).await.expect("it is in the file");
        assert_eq!(credential.source(), CredentialSource::Netrc);
        assert_eq!(
            header(&credential),
            basic(CredentialSource::Netrc, "net", "rc")
        );
        let elsewhere = Ask {
            url: url("https://example.com/repo"),
            ..ask()
        };
        assert_eq!(system.lookup(&elsewhere).await, None);
    }

    #[tokio::test]
    async fn only_a_helper_is_told_how_it_went() {
        let home = home();
        let log = home.path().join("log");
        let system = system(
            home.path(),
            &format!("echo $2 >> '{}'; exit 128", log.display()),
        );
        let credential = system.lookup(&ask()).await.expect("it is in the file");
        system.approve(&credential).await;
        system.reject(&credential).await;
        assert_eq!(fs::read_to_string(log).expect("the helper ran"), "fill\n");
    }

    #[tokio::test]
    async fn a_real_git_answers_from_a_helper_of_its_configuration() {
        let home = home();
        let config = home.path().join("config");
        let text = "[credential]\n\thelper = \"!f() { test $1 = get && echo username=u && echo password=p; }; f\"\n";
        fs::write(&config, text).expect("a writable folder");
        let git = GitProgram::custom(
            "/usr/bin/env",
            vec![
                format!("GIT_CONFIG_GLOBAL={}", config.display()).into(),
                "GIT_CONFIG_NOSYSTEM=1".into(),
                "git".into(),
            ],
        );
        let system = SystemCredentials::new(|_| None, git);
        let credential = system.lookup(&ask()).await.expect("the helper knows");
        assert_eq!(
            header(&credential),
            basic(CredentialSource::Helper, "u", "p")
        );
    }

    #[tokio::test]
    async fn without_any_source_there_is_none() {
        let git = GitProgram::custom("/nonexistent/git", Vec::new());
        let system = SystemCredentials::new(|_| None, git);
        assert_eq!(system.known(&ask().url), None);
        assert_eq!(system.lookup(&ask()).await, None);
    }

    #[tokio::test]
    async fn variables_are_known_at_once() {
        let home = home();
        let path = home.path().join("elsewhere");
        fs::write(&path, "default login a password b").expect("a writable folder");
        let path = path.to_str().expect("UTF-8").to_owned();
        let system = SystemCredentials::new(
            move |name| match name {
                "NETRC" => Some(path.clone()),
                "GITHUB_TOKEN" => Some("t".into()),
                _ => None,
            },
            script("exit 128"),
        );
        let known = system.known(&url("https://github.com/a/b"));
        let source = known.expect("the variable is set").source();
        assert_eq!(source, CredentialSource::Variable("GITHUB_TOKEN"));
        let credential = system.lookup(&ask()).await.expect("NETRC has a default");
        assert_eq!(
            header(&credential),
            basic(CredentialSource::Netrc, "a", "b")
        );
    }
}
