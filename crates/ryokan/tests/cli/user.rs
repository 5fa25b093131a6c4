//! Somebody at a shell: a home folder of their own, an empty environment, the binary.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::scripted::Server;

/// Nothing here takes long; a test that hangs says so.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) struct User {
    pub(crate) home: TempDir,
    url: String,
    variables: Vec<(String, String)>,
}

/// What came of a command.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl User {
    /// Signed in by the environment.
    pub(crate) fn of(server: &Server) -> Self {
        Self::new(&server.url).with("RYOKAN_URL", &server.url).with("RYOKAN_TOKEN", "ryk_hush")
    }

    /// Not signed in; `url` is shown as `http://SERVER`.
    pub(crate) fn new(url: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), url: url.to_owned(), variables: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ryokan"));
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.variables.iter().map(|(n, v)| (n, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command(arguments).spawn().unwrap()).await
    }

    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        self.finish(child).await
    }

    pub(crate) async fn finish(&self, child: Child) -> Ran {
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("it hangs").unwrap();
        let show = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.url, "http://SERVER").replace(self.home.path().to_str().unwrap(), "HOME")
        };
        let ran =
            Ran { code: output.status.code(), stdout: show(output.stdout), stderr: show(output.stderr) };
        assert!(!format!("{ran}").contains("hush"), "a secret is shown: {ran}");
        ran
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("signal".to_owned(), |c| c.to_string());
        write!(f, "exit: {code}\n----- stdout\n{}----- stderr\n{}", self.stdout, self.stderr)
    }
}
