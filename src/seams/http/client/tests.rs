//! The client against real sockets on loopback, each a peer with one kind of behaviour.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::*;

/// Long enough that it never ends a test that passes.
const LONG: Duration = Duration::from_secs(30);

/// Starts a peer: `serve` gets each connection in turn, numbered from 0. Its URL.
fn peer(serve: impl Fn(usize, TcpStream) + Send + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            serve(number, stream.expect("a connection"));
        }
    });
    Url::parse(&format!("http://{address}/path")).expect("a URL")
}

/// Reads one request's head, and its body where it has a length.
fn read_request(stream: &mut BufReader<impl Read>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).expect("a readable stream") == 0 {
            return head;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    head + &String::from_utf8(body).expect("UTF-8")
}

/// A peer that answers each connection's first request with `answer`, then closes.
fn answering(answer: &'static str) -> Url {
    peer(move |_, stream| {
        let mut reader = BufReader::new(&stream);
        read_request(&mut reader);
        (&stream)
            .write_all(answer.as_bytes())
            .expect("a writable stream");
    })
}

fn get(url: Url) -> Request {
    Request {
        method: Method::Get,
        url,
        headers: Vec::new(),
        body: Bytes::new(),
        head_timeout: LONG,
        idle_timeout: LONG,
    }
}

fn client() -> ReqwestHttp {
    with_settings(&[])
}

/// A client with these settings, which takes no proxy from the environment of the tests.
fn with_settings(entries: &[(&str, &str)]) -> ReqwestHttp {
    let listing: String = [("http.proxy", "")]
        .iter()
        .chain(entries)
        .map(|(key, value)| format!("{key}\n{value}\0"))
        .collect();
    ReqwestHttp::new(Arc::new(GitSettings::parse(listing.as_bytes())))
}

async fn read_all(mut response: Response) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.body.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn failure(request: Request) -> HttpError {
    match client().send(request).await {
        Ok(response) => read_all(response).await.expect_err("the body must fail"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_whole_answer() {
    let url =
        answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-One: 1\r\nx-one: 2\r\n\r\nhello");
    let response = client().send(get(url)).await.expect("an answer");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-one"), Some("1"));
    let ones = response.headers.iter().filter(|(name, _)| name == "x-one");
    assert_eq!(ones.count(), 2);
    assert_eq!(read_all(response).await.expect("a body"), b"hello");
}

#[tokio::test]
async fn what_is_sent() {
    let (sender, receiver) = mpsc::channel();
    let mut url = peer(move |_, stream| {
        let request = read_request(&mut BufReader::new(&stream));
        sender.send(request).expect("the test waits");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        (&stream).write_all(answer).expect("a writable stream");
    });
    url.set_username("user").expect("http has users");
    url.set_password(Some("hunter2"))
        .expect("http has passwords");
    let request = Request {
        method: Method::Post,
        headers: vec![("git-protocol".into(), "version=2".into())],
        body: Bytes::from_static(b"0000"),
        ..get(url)
    };
    assert!(!format!("{request:?}").contains("hunter2"));
    client().send(request).await.expect("an answer");
    let seen = receiver.recv().expect("the peer saw a request");
    assert!(seen.starts_with("POST /path HTTP/1.1\r\n"), "{seen}");
    for line in [
        "git-protocol: version=2\r\n",
        "content-length: 4\r\n",
        "accept-encoding: identity\r\n",
        "\r\n\r\n0000",
    ] {
        assert!(seen.contains(line), "{line:?} is missing in {seen}");
    }
    assert!(!seen.to_lowercase().contains("authorization"), "{seen}");
    assert!(!seen.to_lowercase().contains("transfer-encoding"), "{seen}");
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let url = peer(|number, stream| {
        let mut reader = BufReader::new(&stream);
        while !read_request(&mut reader).is_empty() {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
            let sent = (&stream).write_all(answer.as_bytes());
            sent.expect("a writable stream");
        }
    });
    let client = client();
    for _ in 0..3 {
        let response = client.send(get(url.clone())).await.expect("an answer");
        assert_eq!(read_all(response).await.expect("a body"), b"0");
    }
}

#[tokio::test]
async fn a_redirect_is_the_answer() {
    let url = answering(
        "HTTP/1.1 301 Moved\r\nlocation: http://elsewhere.invalid/\r\ncontent-length: 0\r\n\r\n",
    );
    let response = client().send(get(url)).await.expect("an answer");
    assert_eq!(response.status, 301);
    assert_eq!(
        response.header("location"),
        Some("http://elsewhere.invalid/")
    );
}

#[tokio::test]
async fn nothing_is_decoded() {
    let url =
        answering("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nplain");
    let response = client().send(get(url)).await.expect("an answer");
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(read_all(response).await.expect("a body"), b"plain");
}

#[tokio::test]
async fn a_name_without_an_address() {
    let url = Url::parse("http://no-such-host.invalid/x").expect("a URL");
    let error = failure(get(url)).await;
    assert!(
        matches!(&error, HttpError::Name { host } if host == "no-such-host.invalid"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_closed_port() {
    let port = bonsai_testkit::ClosedPort::new().expect("a free port");
    let address = port.address();
    let url = Url::parse(&format!("http://{address}/")).expect("a URL");
    let error = failure(get(url)).await;
    assert!(
        matches!(&error, HttpError::Connect { host, reason }
            if *host == address.to_string() && reason.contains("refused")),
        "{error:?}"
    );
}

#[tokio::test]
async fn no_answer_in_time() {
    let (sender, receiver) = mpsc::channel();
    let url = peer(move |_, stream| sender.send(stream).expect("the test holds on to it"));
    let request = Request {
        head_timeout: Duration::from_millis(50),
        ..get(url)
    };
    let error = failure(request).await;
    assert!(matches!(error, HttpError::Timeout { .. }), "{error:?}");
    drop(receiver);
}

#[tokio::test]
async fn a_body_that_falls_silent() {
    let (sender, receiver) = mpsc::channel();
    let url = peer(move |_, stream| {
        read_request(&mut BufReader::new(&stream));
        let part = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
        (&stream).write_all(part).expect("a writable stream");
        sender.send(stream).expect("the test holds on to it");
    });
    let request = Request {
        idle_timeout: Duration::from_millis(50),
        ..get(url)
    };
    let mut response = client().send(request).await.expect("a head");
    let first = response.body.chunk().await.expect("the first bytes");
    assert_eq!(first.as_deref(), Some(&b"hello"[..]));
    for _ in 0..2 {
        let error = response.body.chunk().await.expect_err("silence");
        assert!(matches!(error, HttpError::Timeout { .. }), "{error:?}");
    }
    drop(receiver);
}

#[tokio::test]
async fn answers_that_end_early_are_broken() {
    for answer in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let error = failure(get(answering(answer))).await;
        assert!(
            matches!(error, HttpError::Broken { .. }),
            "{answer:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_body_does_not_turn_into_an_ended_one() {
    let url = answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    let mut response = client().send(get(url)).await.expect("a head");
    while response.body.chunk().await.is_ok() {}
    assert!(response.body.chunk().await.is_err());
}

#[tokio::test]
async fn a_header_that_can_not_be_sent() {
    let request = Request {
        headers: vec![("authorization".into(), "hunter2\nx".into())],
        ..get(answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    };
    let error = failure(request).await;
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
    assert!(!format!("{error:?}{error}").contains("hunter2"));
}

#[tokio::test]
async fn a_configured_proxy_is_asked() {
    let proxy = peer(|_, stream| {
        let request = read_request(&mut BufReader::new(&stream));
        assert!(request.starts_with("GET http://origin.invalid/x HTTP/1.1\r\n"));
        assert!(request.contains("proxy-authorization: Basic dXNlcjpodW50ZXIy\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy";
        (&stream).write_all(answer).expect("a writable stream");
    });
    let proxy = format!(
        "http://user:hunter2@127.0.0.1:{}",
        proxy.port().expect("a port")
    );
    let client = with_settings(&[("http.http://origin.invalid.proxy", &proxy)]);
    let url = Url::parse("http://origin.invalid/x").expect("a URL");
    let response = client.send(get(url)).await.expect("the proxy's answer");
    assert_eq!(read_all(response).await.expect("a body"), b"proxy");

    let client = with_settings(&[("http.proxy", "http://user:hunter2@")]);
    let url = Url::parse("http://origin.invalid/x").expect("a URL");
    let error = client.send(get(url)).await.err().expect("no such proxy");
    assert!(!format!("{error:?}{error}").contains("hunter2"), "{error}");
}

/// A peer that answers one request over TLS with the certificate in testdata.
fn tls_peer() -> Url {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../testdata/server.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../testdata/server.key"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        )
        .expect("the key is the certificate's");
    let config = Arc::new(config);
    let mut url = peer(move |_, mut stream| {
        let mut tls = rustls::ServerConnection::new(config.clone()).expect("a good config");
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        let mut reader = BufReader::new(&mut tls);
        let mut line = String::new();
        // A client that does not trust the certificate hangs up here.
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            line.clear();
        }
        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret");
    });
    url.set_scheme("https").expect("both are web schemes");
    url
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts() {
    let error = failure(get(tls_peer())).await;
    assert!(
        matches!(&error, HttpError::Tls { reason, .. } if reason.contains("certificate")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_the_configuration_trusts() {
    let roots = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/seams/http/testdata/ca.pem"
    );
    let client = with_settings(&[("http.sslcainfo", roots)]);
    let response = client.send(get(tls_peer())).await.expect("an answer");
    assert_eq!(read_all(response).await.expect("a body"), b"secret");
}

#[tokio::test]
async fn roots_that_can_not_be_read() {
    for file in ["/nonexistent/roots.pem", "/dev/null"] {
        let client = with_settings(&[("http.sslcainfo", file)]);
        let error = client.send(get(tls_peer())).await.err().expect("no roots");
        assert!(
            matches!(&error, HttpError::Tls { reason, .. } if reason.contains(file)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls() {
    let mut url = peer(|_, mut stream| {
        let greeting = b"SSH-2.0-OpenSSH_9.9\r\nand more that is no TLS record\r\n";
        stream.write_all(greeting).expect("a writable stream");
        // Not closed before the client gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    url.set_scheme("https").expect("both are web schemes");
    let error = failure(get(url)).await;
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_on_the_tls_handshake() {
    let mut url = peer(|_, stream| drop(stream));
    url.set_scheme("https").expect("both are web schemes");
    let error = failure(get(url)).await;
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
}
