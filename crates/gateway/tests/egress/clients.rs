//! Genuine clients, told of the proxy in the way that each of them knows: curl, git, Python, Node, gRPC.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use ryokan_gateway::egress::Inject;
use tempfile::TempDir;
use tokio::process::Command;

use super::support::within;
use super::world::{
    Got, Host, HostBody, PLACEHOLDER, SECRET, TOKEN, World, certificate_text, in_headers, injected,
};
use super::world::{test_ca, text};

/// Says that a test cannot run here, or fails when that is not accepted.
#[expect(clippy::print_stdout, reason = "a test's word to whoever runs it")]
#[expect(clippy::disallowed_methods, reason = "how a run of tests is told that it may skip nothing")]
fn skip(reason: &str) {
    assert!(std::env::var("RYOKAN_REFUSE_SKIPS").is_err(), "cannot run: {reason}");
    println!("SKIPPED: {reason}");
}

struct Sandbox {
    world: World,
    home: TempDir,
}

impl Sandbox {
    async fn new() -> Self {
        let (world, home) = (World::new().await, TempDir::new().unwrap());
        let bundle = format!("{}\n{}", world.authority.certificate, test_ca().pem);
        std::fs::write(home.path().join("bundle.pem"), bundle).unwrap();
        Self { world, home }
    }

    fn bundle(&self) -> PathBuf {
        self.home.path().join("bundle.pem")
    }

    /// A program with the environment that a sandbox has.
    fn command(&self, program: &str) -> Command {
        let proxy = format!("http://agent:{TOKEN}@{}", self.world.address);
        let mut command = Command::new(program);
        command
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy"] {
            command.env(name, &proxy);
        }
        for name in ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "no_grpc_proxy"] {
            command.env_remove(name);
        }
        for name in
            ["CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"]
        {
            command.env(name, self.bundle());
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    async fn run(&self, program: &str, args: &[&str]) -> Output {
        within(self.command(program).args(args).output()).await.unwrap()
    }

    /// What it printed; it must have gone well.
    async fn prints(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

async fn is_there(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    found.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn curl() {
    if !is_there("curl").await {
        return skip("no curl");
    }
    let (sandbox, api, own, plain) =
        (Sandbox::new().await, Host::tls("api.test").await, Host::tls("own.test").await, Host::plain().await);
    sandbox.world.bind("api.test", vec![in_headers()]);
    sandbox.world.local("own.test");
    sandbox.world.local("plain.test");
    let key = format!("x-api-key: {PLACEHOLDER}");
    for (flag, version) in [("--http2", http::Version::HTTP_2), ("--http1.1", http::Version::HTTP_11)] {
        let url = format!("https://api.test:{}/v1", api.port);
        let said = sandbox.prints("curl", &["-sS", flag, "-H", &key, &url]).await;
        assert!(said.contains("x-api-key: ****") && !said.contains("sk-live"), "{said}");
        assert_eq!((api.last().version, api.last().header("x-api-key")), (version, Some(SECRET)));
        // A body that curl announces with `Expect`.
        let big = "x".repeat(100_000);
        sandbox
            .prints("curl", &["-sS", flag, "-H", &key, "-H", "Expect: 100-continue", "-d", &big, &url])
            .await;
        assert_eq!(api.last().body.len(), 100_000);
        let said = sandbox.prints("curl", &["-sS", flag, &format!("https://own.test:{}/", own.port)]).await;
        assert!(said.contains("GET"), "{said}");
        assert_eq!(own.last().version, version);
    }
    let url = format!("http://plain.test:{}/x", plain.port);
    assert!(sandbox.prints("curl", &["-sS", &url]).await.contains("GET /x"));
    // The same in a tunnel, and a refusal that can be read.
    assert!(sandbox.prints("curl", &["-sS", "--proxytunnel", &url]).await.contains("GET /x"));
    sandbox.world.deny(format!("plain.test:{}", plain.port));
    assert!(sandbox.prints("curl", &["-sS", &url]).await.contains("egress_denied"));
    let refused = sandbox.run("curl", &["-sS", "-k", "--noproxy", "*", "https://api.test/"]).await;
    assert!(!refused.status.success());
    let wrong = format!("http://agent:wrong@{}", sandbox.world.address);
    let refused =
        sandbox.run("curl", &["-sS", "-x", &wrong, &format!("https://own.test:{}/", own.port)]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("407"));
}

/// What `git http-backend` says to a request, if it carries the real credential.
fn git_backend(root: &Path, got: &Got) -> Response<HostBody> {
    use std::io::Write as _;
    let expected = format!("Basic {}", STANDARD.encode(format!("x-access-token:{SECRET}")));
    if got.header("authorization") != Some(expected.as_str()) {
        let mut response = text("who are you?");
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        response.headers_mut().insert("www-authenticate", "Basic realm=\"git\"".parse().unwrap());
        return response;
    }
    let uri: http::Uri = got.uri.parse().unwrap();
    let mut child = std::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "agent")
        .env("REQUEST_METHOD", got.method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", got.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", got.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", got.header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", got.header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = got.body.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&body));
    let out = child.wait_with_output().unwrap().stdout;
    let _ = writing.join().unwrap();
    let end = out.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
    let mut response = Response::new(Full::new(out[end + 4..].to_vec().into()).boxed_unsync());
    for line in String::from_utf8_lossy(&out[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = value[..3].parse().unwrap();
        } else {
            response.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
    }
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_and_pushes_without_a_credential() {
    if !is_there("git").await {
        return skip("no git");
    }
    let (sandbox, root) = (Sandbox::new().await, TempDir::new().unwrap());
    let bare = root.path().join("repo.git");
    let bare = bare.to_str().unwrap();
    sandbox.prints("git", &["init", "-q", "--bare", "-b", "main", bare]).await;
    sandbox.prints("git", &["-C", bare, "config", "http.receivepack", "true"]).await;
    let at = root.path().to_owned();
    let host =
        Host::answering(Some("git.test"), true, &["h2", "http/1.1"], move |got| git_backend(&at, got)).await;
    sandbox.world.bind("git.test", vec![injected(Inject::Basic { user: "x-access-token".into() })]);
    let url = format!("https://git.test:{}/repo.git", host.port);
    sandbox.prints("git", &["clone", "-q", &url, "one"]).await;
    // Large enough that git sends it in chunks, and does not compress.
    let noise: Vec<u8> =
        (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    std::fs::write(sandbox.home.path().join("one/noise"), &noise).unwrap();
    let identity = ["-C", "one", "-c", "user.name=a", "-c", "user.email=a@b.test"];
    sandbox.prints("git", &[&identity[..], &["add", "noise"]].concat()).await;
    sandbox.prints("git", &[&identity[..], &["commit", "-q", "-m", "noise"]].concat()).await;
    sandbox.prints("git", &["-C", "one", "push", "-q", "origin", "HEAD:main"]).await;
    sandbox.prints("git", &["clone", "-q", &url, "two"]).await;
    assert!(std::fs::read(sandbox.home.path().join("two/noise")).unwrap() == noise);
    for name in ["one", "two"] {
        let held = sandbox.prints("cat", &[&format!("{name}/.git/config")]).await;
        assert!(held.contains("git.test") && !held.contains("sk-live"), "{held}");
    }
    // Not bound: the host asks who it is, and git has no answer.
    sandbox.world.bind("git.test", Vec::new());
    assert!(!sandbox.run("git", &["clone", "-q", &url, "three"]).await.status.success());
}

#[tokio::test]
async fn python() {
    const SCRIPT: &str = r"
import sys, urllib.request
secure, clear, key = sys.argv[1:]
request = urllib.request.Request(secure, headers={'x-api-key': key})
print(urllib.request.urlopen(request, timeout=10).read().decode())
print(urllib.request.urlopen(clear, timeout=10).read().decode())
try:
    import requests
except ImportError:
    print('no requests')
    sys.exit()
with requests.Session() as session:
    for turn in range(2):
        print(session.get(secure, headers={'x-api-key': key}, timeout=10).text)
        print(session.post(secure, data=b'x' * 100000, headers={'x-api-key': key}, timeout=10).status_code)
        print(session.get(clear, timeout=10).text)
";
    if !is_there("python3").await {
        return skip("no python3");
    }
    let (sandbox, api, plain) = (Sandbox::new().await, Host::tls("api.test").await, Host::plain().await);
    sandbox.world.bind("api.test", vec![in_headers()]);
    sandbox.world.local("plain.test");
    let (secure, clear) =
        (format!("https://api.test:{}/v1", api.port), format!("http://plain.test:{}/x", plain.port));
    let said = sandbox.prints("python3", &["-c", SCRIPT, &secure, &clear, PLACEHOLDER]).await;
    assert!(!said.contains("sk-live"), "{said}");
    assert!(api.got.lock().unwrap().iter().all(|got| got.header("x-api-key") == Some(SECRET)));
    if said.contains("no requests") {
        return skip("Python has no requests");
    }
    assert_eq!((api.count(), plain.count()), (5, 3), "{said}");
}

/// Where the packages of `e2e/egress` are, if they were installed.
async fn packages() -> Option<PathBuf> {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/egress");
    (is_there("node").await && at.join("node_modules/undici").is_dir()).then_some(at)
}

#[tokio::test]
async fn node() {
    let Some(packages) = packages().await else {
        return skip("the packages of e2e/egress are not installed");
    };
    let (sandbox, api, plain) = (Sandbox::new().await, Host::tls("api.test").await, Host::plain().await);
    sandbox.world.bind("api.test", vec![in_headers()]);
    sandbox.world.local("plain.test");
    let (secure, clear) =
        (format!("https://api.test:{}/v1", api.port), format!("http://plain.test:{}/x", plain.port));
    let script = packages.join("fetch.js");
    let said = sandbox.prints("node", &[script.to_str().unwrap(), &secure, &clear, PLACEHOLDER]).await;
    assert!(!said.contains("sk-live") && said.matches(r#""status":200"#).count() == 3, "{said}");
    let got = api.got.lock().unwrap();
    assert!(got.len() == 2 && got.iter().all(|got| got.header("x-api-key") == Some(SECRET)));
    assert_eq!(got[1].body.len(), 200_000);
}

#[tokio::test]
async fn grpc() {
    let Some(packages) = packages().await else {
        return skip("the packages of e2e/egress are not installed");
    };
    let sandbox = Sandbox::new().await;
    let (chain, key) = certificate_text("grpc.test");
    for (name, text) in [("chain.pem", &chain), ("key.pem", &key)] {
        std::fs::write(sandbox.home.path().join(name), text).unwrap();
    }
    let (script, bundle) = (packages.join("grpc.js"), sandbox.bundle());
    let args = [script.to_str().unwrap(), "chain.pem", "key.pem", bundle.to_str().unwrap(), "grpc.test"];
    // Untouched first, then looked into.
    sandbox.world.local("grpc.test");
    let said = sandbox.prints("node", &args).await;
    assert!(said.contains(r#""once":"hello undefined""#) && said.contains(r#""both":"0! 1! 2!""#), "{said}");
    sandbox.world.bind("grpc.test", vec![injected(Inject::Bearer)]);
    let said = sandbox.prints("node", &args).await;
    let stars = "*".repeat(SECRET.len());
    assert!(said.contains(&format!(r#""once":"hello Bearer {stars}""#)), "{said}");
    assert!(
        said.contains(&format!(r#""trailer":"Bearer {stars}""#)) && said.contains(r#""code":0"#),
        "{said}"
    );
    assert!(said.contains(r#""both":"0! 1! 2!""#), "{said}");
    // The server itself saw the real one: it is in the same process as the client, and prints what it saw.
    assert!(said.contains(r#""seen":"Bearer sk-live"#), "{said}");
}
