//! The server against real `git`: every shape is what Git takes it for, every fault does its work.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::Duration,
};

use bonsai_testkit::{Fault, GitServer, Specimen, When, process::within, specimens};
use tempfile::TempDir;

/// A plain repository, and clones of it by real `git`.
struct Field {
    specimen: Specimen,
    clones: TempDir,
}

impl Field {
    fn new() -> Self {
        Self {
            specimen: specimens::plain(),
            clones: tempfile::tempdir().expect("a folder"),
        }
    }

    fn server(&self) -> GitServer {
        GitServer::start(self.specimen.repo.root()).expect("a server")
    }

    fn target(&self) -> PathBuf {
        self.clones.path().join("clone.git")
    }

    fn clone(&self, url: &str, options: &[&str]) -> Output {
        // Of an earlier try.
        let _ = fs::remove_dir_all(self.target());
        Command::new("git")
            .args(["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=1"])
            .args(["clone", "--quiet", "--bare"])
            .args(options)
            .arg(url)
            .arg(self.target())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .expect("git starts")
    }

    /// Clones, and checks that everything came.
    fn clones(&self, url: &str) {
        let output = self.clone(url, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let fsck = Command::new("git")
            .args(["fsck", "--strict"])
            .current_dir(self.target())
            .output()
            .expect("git starts");
        assert!(fsck.status.success());
        let head = fs::read_to_string(self.target().join("packed-refs")).expect("refs");
        assert!(head.contains(&self.specimen.commit));
    }

    /// Fails to clone; what `git` says.
    fn fails(&self, url: &str) -> String {
        let output = self.clone(url, &[]);
        assert!(!output.status.success(), "a clone that must fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The body of a `GET` by hand.
fn advertisement(server: &GitServer, git_protocol: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).expect("connected");
    let request = format!(
        "GET /repo.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\n\
         Git-Protocol: {git_protocol}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn git_clones_and_the_log_tells_how() {
    let field = Field::new();
    let server = field.server();
    field.clones(&server.url("repo.git"));
    let log = server.log();
    assert_eq!(log[0].method, "GET");
    assert_eq!(log[0].path, "/repo.git/info/refs");
    assert_eq!(log[0].query, "service=git-upload-pack");
    assert_eq!(log[0].git_protocol.as_deref(), Some("version=2"));
    assert!(log.iter().all(|request| request.status == Some(200)));
    assert_eq!(server.log_of("ls-refs").len(), 1);
    let fetches = server.log_of("fetch");
    assert_eq!(fetches[0].wants()[0], field.specimen.commit);
    let totals = server.totals();
    assert_eq!(totals.requests, u64::try_from(log.len()).expect("few"));
    assert_eq!(
        totals.bytes_out,
        log.iter().map(|request| request.bytes_out).sum::<u64>()
    );
    assert_eq!(totals.connections, 1, "kept alive");
    server.reset();
    assert_eq!(server.totals().requests, 0);
    assert!(server.log().is_empty());
}

#[test]
fn many_clones_at_once() {
    let field = Field::new();
    let server = field.server();
    let url = server.url("repo.git");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| Field::new().clones(&url));
        }
    });
    assert!(server.totals().connections >= 6);
}

#[test]
fn sha256_repositories_are_served() {
    let field = Field {
        specimen: specimens::sha256(),
        ..Field::new()
    };
    field.clones(&field.server().url("repo.git"));
}

#[test]
fn filters_are_offered_unless_told_otherwise() {
    let field = Field::new();
    let filtered = ["--filter=blob:none"];
    let server = field.server();
    assert!(advertisement(&server, "version=2").contains("filter"));
    let output = field.clone(&server.url("repo.git"), &filtered);
    assert!(output.status.success());
    assert_eq!(server.log_of("fetch")[0].filter(), Some("blob:none"));
    let few = server.totals().bytes_out;

    let builder = GitServer::builder(field.specimen.repo.root());
    let server = builder.without_filter().start().expect("a server");
    assert!(!advertisement(&server, "version=2").contains("filter"));
    let output = field.clone(&server.url("repo.git"), &filtered);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("filtering not recognized"), "{said}");
    assert!(server.totals().bytes_out > few);
}

#[test]
fn object_info_and_ref_in_want_are_offered_when_asked_for() {
    let field = Field::new();
    let plain = advertisement(&field.server(), "version=2");
    assert!(!plain.contains("object-info") && !plain.contains("ref-in-want"));
    let builder = GitServer::builder(field.specimen.repo.root());
    let server = builder
        .object_info()
        .ref_in_want()
        .start()
        .expect("a server");
    let rich = advertisement(&server, "version=2");
    assert!(rich.contains("object-info") && rich.contains("ref-in-want"));
}

#[test]
fn old_protocols_only() {
    let field = Field::new();
    let builder = GitServer::builder(field.specimen.repo.root());
    let old = builder.clone().version_0().start().expect("a server");
    assert!(!advertisement(&old, "version=2").contains("version 2"));
    field.clones(&old.url("repo.git"));
    assert!(old.log_of("fetch").is_empty(), "version 0 has no commands");
    let old = builder.version_1().start().expect("a server");
    assert!(advertisement(&old, "version=2").contains("version 1"));
    field.clones(&old.url("repo.git"));
}

#[test]
fn dumb_http() {
    let field = Field::new();
    let builder = GitServer::builder(field.specimen.repo.root());
    let dumb = builder.dumb().start().expect("a server");
    let answer = advertisement(&dumb, "version=2");
    assert!(answer.contains("text/plain"), "{answer}");
    assert!(!answer.contains("service=git-upload-pack"), "{answer}");
    field.clones(&dumb.url("repo.git"));
    assert!(dumb.log().iter().all(|request| request.method == "GET"));
}

#[test]
fn a_web_page() {
    let field = Field::new();
    let builder = GitServer::builder(field.specimen.repo.root());
    let page = builder.web_page().start().expect("a server");
    let said = field.fails(&page.url("repo.git"));
    assert!(said.contains("is this a git repository?"), "{said}");
}

#[test]
fn a_login() {
    let field = Field::new();
    let builder = GitServer::builder(field.specimen.repo.root());
    let server = builder.login("user", "secret").start().expect("a server");
    let said = field.fails(&server.url("repo.git"));
    assert!(said.contains("could not read Username"), "{said}");
    let said = field.fails(&server.url_with_login("repo.git", "user", "wrong"));
    assert!(said.contains("Authentication failed"), "{said}");
    server.reset();
    field.clones(&server.url_with_login("repo.git", "user", "secret"));
    let log = server.log();
    assert!(log.iter().any(|request| request.authorization.is_some()));
}

#[test]
fn redirects_to_a_path_and_to_another_server() {
    let field = Field::new();
    let target = field.server();
    let builder = GitServer::builder(field.specimen.repo.root())
        .redirect("/old.git/", "/repo.git/")
        .redirect("/away/", &target.url(""));
    let server = builder.start().expect("a server");
    field.clones(&server.url("old.git"));
    assert_eq!(server.log()[0].status, Some(301));
    assert_eq!(target.totals().requests, 0);
    field.clones(&server.url("away/repo.git"));
    assert!(!target.log_of("fetch").is_empty());
}

#[test]
fn faults_of_the_status_kind() {
    let field = Field::new();
    let server = field.server();
    let url = server.url("repo.git");
    for code in [401, 403, 404, 500, 503] {
        server.fault(When::path("info/refs"), 1, Fault::status(code));
        field.fails(&url);
        assert_eq!(server.faults_left(), 0);
        assert!(
            server
                .log()
                .iter()
                .any(|request| request.status == Some(code))
        );
    }
    let later = Fault::Status {
        code: 429,
        retry_after: Some(7),
    };
    server.fault(When::Any, 1, later);
    let answer = advertisement(&server, "version=2");
    assert!(answer.contains("429 Too Many Requests"), "{answer}");
    assert!(answer.contains("Retry-After: 7"), "{answer}");
    field.clones(&url);
}

#[test]
fn faults_of_the_body() {
    let field = Field::new();
    let server = field.server();
    let url = server.url("repo.git");
    let faults = [
        Fault::Cut { after: 100 },
        Fault::Stall { after: 100 },
        Fault::CorruptPack { at: 200 },
        Fault::CorruptPack { at: usize::MAX },
        Fault::Answer {
            content_type: "text/html".to_owned(),
            body: b"<html>".to_vec(),
        },
    ];
    for fault in faults {
        server.fault(When::command("fetch"), 1, fault.clone());
        let output = field.clone(&url, &[]);
        assert!(!output.status.success(), "{fault:?}");
        assert_eq!(server.faults_left(), 0, "{fault:?}");
    }
    field.clones(&url);
}

#[test]
fn a_cut_past_the_end_leaves_the_body_without_its_end() {
    let field = Field::new();
    let server = field.server();
    // The last chunk is Git's flush packet or ends with it; an HTTP body ends with an empty chunk.
    let whole = advertisement(&server, "version=2");
    assert!(whole.ends_with("0000\r\n0\r\n\r\n"), "{whole}");
    server.fault(When::Any, 1, Fault::Cut { after: u64::MAX });
    let cut = advertisement(&server, "version=2");
    assert!(cut.ends_with("0000\r\n"), "{cut}");
}

#[test]
fn closing_before_the_answer() {
    let field = Field::new();
    let server = field.server();
    // On a connection that was used before, HTTP clients try once more by themselves.
    server.fault(When::command("fetch"), 1, Fault::Close);
    field.clones(&server.url("repo.git"));
    assert_eq!(server.log_of("fetch").len(), 2);
    server.fault_for_ever(When::command("fetch"), Fault::Close);
    field.fails(&server.url("repo.git"));
}

#[test]
fn one_byte_at_a_time_is_slow_but_right() {
    let field = Field::new();
    let server = field.server();
    server.fault(When::command("fetch"), 1, Fault::Dribble);
    field.clones(&server.url("repo.git"));
    assert_eq!(server.faults_left(), 0);
}

#[test]
fn a_fault_for_one_object_only() {
    let field = Field::new();
    let server = field.server();
    server.fault_for_ever(When::wants(&field.specimen.commit), Fault::Close);
    field.fails(&server.url("repo.git"));
    server.heal();
    field.clones(&server.url("repo.git"));
}

#[test]
fn a_paused_server_reads_and_does_not_answer() {
    let field = Field::new();
    let server = field.server();
    let url = server.url("repo.git");
    server.pause();
    thread::scope(|scope| {
        let cloning = scope.spawn(|| {
            let patient = ["-c", "http.lowSpeedLimit=0"];
            field.clone(&url, &patient)
        });
        let asked = || !server.log().is_empty();
        assert!(within(Duration::from_secs(20), asked));
        assert_eq!(server.log()[0].status, None);
        assert!(!cloning.is_finished());
        server.resume();
        assert!(cloning.join().expect("no panic").status.success());
    });
}

#[test]
fn a_stopped_server_refuses_and_a_restarted_one_answers() {
    let field = Field::new();
    let mut server = field.server();
    let url = server.url("repo.git");
    field.clones(&url);
    server.pause();
    server.stop();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart().expect("the same port");
    server.resume();
    field.clones(&url);
}
