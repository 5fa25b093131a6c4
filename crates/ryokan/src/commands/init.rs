//! `ryokan init`: a manifest for what is in the folder.

use std::path::{Path, PathBuf};

use ryokan_api::model::Name;
use ryokan_api::model::manifest::{FILE, Manifest};
use serde_json::{Value, json};

use crate::Context;
use crate::failure::{Failure, Outcome};

/// Write an agent-manifest.json for a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks for a Dockerfile, package.json, requirements.txt, pyproject.toml and index.html.

Example: ryokan init my-agent")]
pub(crate) struct Init {
    /// Folder (the present one when absent)
    #[arg(default_value = ".", hide_default_value = true, value_name = "DIR")]
    folder: PathBuf,
    /// Name of the agent (the folder's own when absent)
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Replace a manifest that is there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(crate) fn run(self, cx: &Context) -> Outcome {
        let path = self.folder.join(FILE);
        if path.symlink_metadata().is_ok() && !self.force {
            return Err(
                Failure::usage(format!("{} is there already", path.display())).hint("--force replaces it")
            );
        }
        let mut manifest = guess(&self.folder)?;
        if let Some(name) = self.name.or_else(|| folder_name(&self.folder)) {
            manifest["name"] = json!(name.as_str());
        }
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| Failure::new(e.to_string()))? + "\n";
        Manifest::parse(text.as_bytes())
            .map_err(|e| Failure::new(format!("the manifest would be wrong: {e}")))?;
        std::fs::write(&path, &text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        if cx.out.json {
            return cx.out.json(&manifest);
        }
        cx.out.note(format!("Wrote {}. Look it over, then `ryokan deploy`.", path.display()));
        Ok(())
    }
}

/// What the folder's own name makes of a name, if anything.
pub(super) fn folder_name(folder: &Path) -> Option<Name> {
    let folder = folder.canonicalize().ok()?;
    let text = folder.file_name()?.to_string_lossy().to_lowercase();
    let mut name = String::new();
    for c in text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }) {
        if c != '-' || !name.ends_with('-') {
            name.push(c);
        }
    }
    name.trim_matches('-').chars().take(40).collect::<String>().trim_end_matches('-').parse().ok()
}

fn guess(folder: &Path) -> Outcome<Value> {
    let has = |name: &str| folder.join(name).is_file();
    let mut manifest = json!({"schema": "mandala-agent", "schemaVersion": "1.0"});
    let (agent, port) = if has("Dockerfile") {
        (json!({"type": "custom", "runtime": "docker", "dockerfile": "Dockerfile"}), 8080)
    } else if has("package.json") {
        let text = std::fs::read(folder.join("package.json")).unwrap_or_default();
        let package: Value = serde_json::from_slice(&text)
            .map_err(|e| Failure::usage(format!("package.json is not JSON: {e}")))?;
        let mut agent = json!({"type": "custom", "runtime": "node"});
        let main = package["main"].as_str().filter(|main| folder.join(main).is_file());
        if package["scripts"]["start"].is_string() {
            agent["command"] = json!(["npm", "start"]);
        } else if let Some(main) = main {
            agent["command"] = json!(["node", main]);
        }
        (agent, 8080)
    } else if has("requirements.txt") || has("pyproject.toml") || has("main.py") || has("app.py") {
        let mut agent = json!({"type": "custom", "runtime": "python"});
        if !has("main.py") && has("app.py") {
            agent["command"] = json!(["python3", "app.py"]);
        }
        (agent, 8080)
    } else if has("index.js") {
        (json!({"type": "custom", "runtime": "node"}), 8080)
    } else {
        return Err(Failure::usage(format!(
            "{} has no Dockerfile, package.json, requirements.txt, main.py or index.js",
            folder.display()
        ))
        .hint("run this in the folder of an agent, or write the manifest by hand: docs/deploying.md"));
    };
    manifest["agent"] = agent;
    manifest["ports"] = json!([port]);
    manifest["env"] = json!({"PORT": port.to_string()});
    let pages =
        ["frontend", "public", "dist"].into_iter().find(|f| folder.join(f).join("index.html").is_file());
    if let Some(pages) = pages {
        manifest["frontend"] = json!({"directory": pages});
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        assert!(guess(folder.path()).is_err());
        let agent = || guess(folder.path()).unwrap()["agent"].clone();
        put("index.js", "");
        assert_eq!(agent()["runtime"], "node");
        put("app.py", "");
        assert_eq!(
            (&agent()["runtime"], &agent()["command"]),
            (&json!("python"), &json!(["python3", "app.py"]))
        );
        put("package.json", r#"{"scripts": {"start": "node x.js"}}"#);
        assert_eq!(agent()["command"], json!(["npm", "start"]));
        put("Dockerfile", "FROM x");
        put("public/index.html", "");
        assert_eq!(agent()["dockerfile"], "Dockerfile");
        let all = guess(folder.path()).unwrap();
        assert_eq!(all["frontend"]["directory"], "public");
        Manifest::parse(all.to_string().as_bytes()).unwrap();
    }

    #[test]
    fn a_folder_gives_its_name() {
        let top = tempfile::tempdir().unwrap();
        for (folder, name) in
            [("My Agent!", Some("my-agent")), ("--x__y--", Some("x-y")), ("...", None), ("admin", None)]
        {
            let path = top.path().join(folder);
            if std::fs::create_dir(&path).is_ok() {
                assert_eq!(folder_name(&path).as_ref().map(Name::as_str), name, "{folder}");
            }
        }
    }
}
