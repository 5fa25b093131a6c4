//! The `nft` program: a transaction in JSON in, a table in JSON out. It is asked by its path, bounded in time, and told
//! nothing but what we made up ourselves.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(20);
/// Where Debian and others have it; a service's `PATH` often lacks the first.
const PROGRAMS: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"];
/// A transaction that another one overtook is tried again.
const TRIES: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("there is no `nft` program on this machine; install the package `nftables`")]
    Absent,
    #[error("the server may not write rules ({0}); run it as root, or give it the capability CAP_NET_ADMIN")]
    Denied(String),
    #[error("the firewall's rules cannot be written or read: {0}")]
    Failed(String),
}

/// Carries out all of it or nothing.
pub(super) async fn run(commands: &[Value]) -> Result<(), Failure> {
    let input = json!({ "nftables": commands }).to_string();
    let mut failure = Failure::Absent;
    for _ in 0..TRIES {
        match call(&["-j", "-f", "-"], Some(&input)).await {
            Ok(_) => return Ok(()),
            Err(Failure::Failed(why)) if is_overtaken(&why) => failure = Failure::Failed(why),
            Err(other) => return Err(other),
        }
    }
    Err(failure)
}

/// What a table of the family `inet` holds; `None` when there is no such table.
pub(super) async fn table(name: &str) -> Result<Option<Vec<Value>>, Failure> {
    match call(&["-j", "list", "table", "inet", name], None).await {
        Ok(output) => {
            let mut listed: Value = serde_json::from_str(&output)
                .map_err(|e| Failure::Failed(format!("an answer that we do not understand: {e}")))?;
            match listed.get_mut("nftables").map(Value::take) {
                Some(Value::Array(objects)) => Ok(Some(objects)),
                _ => Err(Failure::Failed("an answer without `nftables`".to_owned())),
            }
        }
        Err(Failure::Failed(why)) if why.contains("No such file or directory") => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn call(arguments: &[&str], input: Option<&str>) -> Result<String, Failure> {
    let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists()).ok_or(Failure::Absent)?;
    let failed = |e: std::io::Error| Failure::Failed(e.to_string());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let answer = async {
        let mut child = command.spawn().map_err(failed)?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // One that ends before it has read all says why on its standard error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(failed)
    };
    let output = tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| Failure::Failed(format!("no answer within {} s", PATIENCE.as_secs())))??;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|e| Failure::Failed(e.to_string()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it does not say why").trim().to_owned();
    Err(if is_denied(&said) { Failure::Denied(first) } else { Failure::Failed(first) })
}

fn is_denied(said: &str) -> bool {
    said.contains("Operation not permitted") || said.contains("Operation not supported")
}

fn is_overtaken(said: &str) -> bool {
    ["Resource temporarily unavailable", "Interrupted system call", "Device or resource busy"]
        .iter()
        .any(|sign| said.contains(sign))
}
