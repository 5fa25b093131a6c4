//! Who may import whom: the table of the architecture, against what the manifests say.
//! Development dependencies are held to it too, save that any crate may test with the fakes of `ports`, and the binary
//! as a wallet that speaks `brc`.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

/// A crate of ours, and which of ours it may import.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("model", &[]),
    ("api", &["model"]),
    ("brc", &[]),
    ("reader", &[]),
    ("store", &["model"]),
    ("ports", &["model"]),
    ("app", &["model", "ports", "store", "brc"]),
    ("adapters", &["model", "ports"]),
    ("gateway", &["model"]),
    ("node", &["model", "api", "ports", "adapters"]),
    ("server", &["model", "api", "brc", "reader", "store", "ports", "app", "adapters", "gateway", "node"]),
    ("ryokan", &["api", "server", "node"]),
    ("xtask", &["api", "server"]),
    ("hello", &[]),
    ("bench", &["model", "store"]),
];

#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    development: bool,
    features: Vec<String>,
}

pub(crate) fn check() -> Result<Vec<String>> {
    let metadata = crate::output(Command::new(env!("CARGO")).args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]))?;
    let (crates, edges) =
        read(&serde_json::from_str(&metadata)?).context("cargo metadata has another shape")?;
    let faults = faults(&crates, &edges);
    if faults.is_empty() {
        println!("layers: {} crates, {} edges, all allowed", crates.len(), edges.len());
    }
    Ok(faults)
}

/// `ryokan-model` is `model`.
fn short(name: &str) -> &str {
    name.strip_prefix("ryokan-").unwrap_or(name)
}

fn read(metadata: &Value) -> Option<(Vec<String>, Vec<Edge>)> {
    let (mut crates, mut edges) = (Vec::new(), Vec::new());
    for package in metadata["packages"].as_array()? {
        let from = short(package["name"].as_str()?);
        crates.push(from.to_owned());
        for dependency in package["dependencies"].as_array()? {
            // Ours are those that lie in the workspace.
            if dependency["path"].is_string() {
                edges.push(Edge {
                    from: from.to_owned(),
                    to: short(dependency["name"].as_str()?).to_owned(),
                    development: dependency["kind"] == "dev",
                    features: dependency["features"]
                        .as_array()?
                        .iter()
                        .filter_map(|feature| feature.as_str().map(str::to_owned))
                        .collect(),
                });
            }
        }
    }
    Some((crates, edges))
}

fn faults(crates: &[String], edges: &[Edge]) -> Vec<String> {
    let allowed = |name: &str| ALLOWED.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let unknown = crates.iter().filter(|name| allowed(name).is_none()).map(|name| {
        format!("crate `{name}` has no place in the layers: say in xtask/src/layers.rs whom it may import")
    });
    let forbidden = edges
        .iter()
        .filter(|edge| {
            // A crate's tests may turn on its own features.
            let itself = edge.from == edge.to;
            let test_with_fakes = edge.development
                && edge.to == "ports"
                && edge.features.iter().any(|name| name == "test-util");
            // The other end of a protocol: what a client of ours would be if we had one.
            let test_as_wallet = edge.development && edge.from == "ryokan" && edge.to == "brc";
            !itself
                && !test_with_fakes
                && !test_as_wallet
                && !allowed(&edge.from).is_none_or(|to| to.contains(&edge.to.as_str()))
        })
        .map(|Edge { from, to, development, .. }| {
            let allowed = allowed(from).unwrap_or_default().join(", ");
            let allowed = if allowed.is_empty() { "none of ours" } else { &allowed };
            let kind = if *development { "its tests import" } else { "it imports" };
            format!("layers: `{from}` may import {allowed}, but {kind} `{to}`")
        });
    unknown.chain(forbidden).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check, faults, read};

    fn metadata(from: &str, to: &str, kind: Option<&str>, features: &[&str]) -> serde_json::Value {
        json!({ "packages": [{ "name": from, "dependencies": [
            { "name": to, "path": "/somewhere", "kind": kind, "features": features },
            { "name": "serde", "kind": null, "features": [] },
        ] }] })
    }

    fn found(from: &str, to: &str, kind: Option<&str>, features: &[&str]) -> Vec<String> {
        let (crates, edges) = read(&metadata(from, to, kind, features)).unwrap();
        faults(&crates, &edges)
    }

    #[test]
    fn the_workspace_keeps_its_layers() {
        assert_eq!(check().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn forbidden_edges_are_found() {
        let expected = "layers: `app` may import model, ports, store, brc, but it imports `adapters`";
        assert_eq!(found("ryokan-app", "ryokan-adapters", None, &[]), [expected]);
        let expected = "layers: `model` may import none of ours, but its tests import `store`";
        assert_eq!(found("ryokan-model", "ryokan-store", Some("dev"), &[]), [expected]);
        assert_eq!(found("ryokan-gateway", "ryokan-store", Some("build"), &[]).len(), 1);
        assert_eq!(found("ryokan", "ryokan-brc", None, &[]).len(), 1);
        assert_eq!(found("ryokan", "ryokan-brc", Some("dev"), &[]), [""; 0]);
        assert_eq!(found("ryokan-model", "ryokan-ports", Some("dev"), &[]).len(), 1);
        assert_eq!(found("ryokan-misc", "ryokan-model", None, &[]).len(), 1, "a crate without a place");
    }

    #[test]
    fn allowed_edges_are_not() {
        assert_eq!(found("ryokan-app", "ryokan-store", None, &[]), [""; 0]);
        assert_eq!(found("ryokan", "ryokan-server", None, &[]), [""; 0]);
        assert_eq!(found("ryokan-gateway", "ryokan-ports", Some("dev"), &["test-util"]), [""; 0]);
    }
}
