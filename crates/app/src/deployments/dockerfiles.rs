//! Dockerfiles that we write. Nothing of the artifact is in them but validated paths and words, each as JSON in the
//! array form, which no shell reads. Images run as nobody in particular, and dependencies are a layer of their own.

use std::fmt::Write as _;
use std::path::Path;

use ryokan_model::manifest::Generated;

use super::Settings;

/// Nobody's number; it owns nothing in the image.
const USER: &str = "65532:65532";

/// Serves files as Mandala does: the file, else `404.html`, else `index.html`.
const STATIC_SERVER: &str = r#"
const http = require("http"), fs = require("fs"), path = require("path"), root = "/srv/www";
const types = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
  ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
  ".gif": "image/gif", ".webp": "image/webp", ".ico": "image/x-icon", ".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm",
  ".woff": "font/woff", ".woff2": "font/woff2", ".map": "application/json", ".xml": "application/xml", ".pdf": "application/pdf"};
const real = name => { try { const at = fs.realpathSync(name); return at === root || at.startsWith(root + "/") ? at : null } catch { return null } };
const find = name => { let at = real(name); try { if (at && fs.statSync(at).isDirectory()) at = real(path.join(at, "index.html"));
  return at && fs.statSync(at).isFile() ? at : null } catch { return null } };
http.createServer((request, response) => {
  if (request.method !== "GET" && request.method !== "HEAD") { response.writeHead(405, {allow: "GET, HEAD"}); return response.end() }
  let name; try { name = decodeURIComponent(request.url.split("?")[0]) } catch { response.writeHead(400); return response.end() }
  if (name.includes("\0")) { response.writeHead(400); return response.end() }
  let status = 200, file = find(path.join(root, path.posix.normalize("/" + name)));
  if (!file && (file = find(root + "/404.html"))) status = 404;
  if (!file) file = find(root + "/index.html");
  if (!file) { response.writeHead(404); return response.end("not found\n") }
  response.writeHead(status, {"content-type": types[path.extname(file).toLowerCase()] || "application/octet-stream", "content-length": fs.statSync(file).size});
  if (request.method === "HEAD") return response.end();
  fs.createReadStream(file).on("error", () => response.destroy()).pipe(response);
}).listen(8080);
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
"#;

fn words(words: &[&str]) -> String {
    serde_json::json!(words).to_string()
}

/// A Dockerfile for the folder. The error is for its author.
pub(super) fn write(
    kind: &Generated,
    folder: &Path,
    command_given: bool,
    settings: &Settings,
) -> Result<String, String> {
    let has = |name: &str| folder.join(name).symlink_metadata().is_ok_and(|m| m.is_file());
    let has_folder = |name: &str| folder.join(name).symlink_metadata().is_ok_and(|m| m.is_dir());
    let must = |name: &str, why: &str| {
        if has(name) { Ok(()) } else { Err(format!("there is no `{name}` in the folder: {why}")) }
    };
    let base = match kind {
        Generated::Python => &settings.python_base,
        Generated::Static => settings.frontend_base.as_ref().unwrap_or(&settings.node_base),
        Generated::Node | Generated::Agidentity => &settings.node_base,
    };
    let mut text = format!("FROM {base}\n");
    let mut add = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{line}");
    };
    match kind {
        Generated::Node => {
            if !command_given {
                must("index.js", "it is what is run; name another command in `agent.command`")?;
            }
            add(format_args!("ENV NODE_ENV=production HOME=/tmp"));
            add(format_args!("WORKDIR /app"));
            if has("package.json") {
                npm(&mut add, has("package-lock.json"), &has, true);
            }
            add(format_args!("COPY {}", words(&[".", "./"])));
            add(format_args!("USER {USER}"));
            add(format_args!("CMD {}", words(&["node", "index.js"])));
        }
        Generated::Python => {
            if !command_given {
                must("main.py", "it is what is run; name another command in `agent.command`")?;
            }
            add(format_args!("ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp"));
            add(format_args!("WORKDIR /app"));
            if has("requirements.txt") {
                add(format_args!("RUN {}", words(&["python3", "-m", "venv", "/venv"])));
                add(format_args!(
                    "ENV PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                ));
                add(format_args!("COPY {}", words(&["requirements.txt", "./"])));
                let pip = [
                    "/venv/bin/python",
                    "-m",
                    "pip",
                    "install",
                    "--no-cache-dir",
                    "--disable-pip-version-check",
                    "-r",
                    "requirements.txt",
                ];
                add(format_args!("RUN {}", words(&pip)));
            }
            add(format_args!("COPY {}", words(&[".", "./"])));
            add(format_args!("USER {USER}"));
            add(format_args!("CMD {}", words(&["python3", "main.py"])));
        }
        Generated::Agidentity => {
            must("package.json", "an `agidentity` agent is built by npm")?;
            must("tsconfig.json", "an `agidentity` agent is built by tsc")?;
            add(format_args!("ENV HOME=/tmp"));
            add(format_args!("WORKDIR /app"));
            npm(&mut add, has("package-lock.json"), &has, false);
            add(format_args!("COPY {}", words(&["tsconfig.json", "./"])));
            for folder in ["mpc", "workspace", "src"] {
                if has_folder(folder) {
                    add(format_args!("COPY {}", words(&[folder, &format!("./{folder}")])));
                }
            }
            add(format_args!("RUN {}", words(&["npm", "run", "build"])));
            add(format_args!(
                "ENV NODE_ENV=production AUTH_SERVER_PORT=3000 AGID_WORKSPACE_PATH=/data/workspace AGID_SESSIONS_PATH=/data/sessions"
            ));
            // Its disk takes the owner of the folder that is there.
            add(format_args!("RUN {}", words(&["install", "-d", "-o", "65532", "-g", "65532", "/data"])));
            add(format_args!("USER {USER}"));
            add(format_args!("CMD {}", words(&["node", "dist/start.js"])));
        }
        Generated::Static => {
            if settings.frontend_base.is_some() {
                add(format_args!("COPY {}", words(&[".", "/usr/share/nginx/html"])));
            } else {
                add(format_args!("COPY {}", words(&[".", "/srv/www"])));
                add(format_args!("USER {USER}"));
                add(format_args!("CMD {}", words(&["node", "-e", STATIC_SERVER])));
            }
        }
    }
    Ok(text)
}

fn npm(
    add: &mut impl FnMut(std::fmt::Arguments<'_>),
    locked: bool,
    has: &impl Fn(&str) -> bool,
    production: bool,
) {
    let mut files = vec!["package.json"];
    files.extend(["package-lock.json", ".npmrc"].into_iter().filter(|name| has(name)));
    files.push("./");
    add(format_args!("COPY {}", words(&files)));
    let mut install =
        vec!["npm", if locked { "ci" } else { "install" }, "--no-audit", "--no-fund", "--no-update-notifier"];
    if production {
        install.push("--omit=dev");
    }
    add(format_args!("RUN {}", words(&install)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_dockerfile_runs_as_nobody_and_calls_no_shell() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["index.js", "main.py", "package.json", "package-lock.json", "tsconfig.json", "requirements.txt"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("src")).unwrap();
        let settings = Settings::new(folder.path().join("work")).unwrap();
        for kind in [Generated::Node, Generated::Python, Generated::Agidentity, Generated::Static] {
            let text = write(&kind, folder.path(), false, &settings).unwrap();
            assert_eq!(ryokan_model::dockerfile::base_images(&text).unwrap().len(), 1, "{text}");
            let lines: Vec<&str> = text.lines().collect();
            assert!(
                lines[lines.len() - 2] == "USER 65532:65532" && lines[lines.len() - 1].starts_with("CMD [")
            );
            for line in &lines {
                let (word, rest) = line.split_once(' ').unwrap();
                if ["RUN", "COPY", "CMD"].contains(&word) {
                    assert!(serde_json::from_str::<Vec<String>>(rest).is_ok(), "{line}");
                }
            }
            let (packages, all) = (text.find("\"package.json\""), text.find("COPY [\".\""));
            assert!(packages.is_none() || all.is_none() || packages < all, "dependencies come first");
        }
    }

    #[test]
    fn what_cannot_be_built_is_said_before() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(folder.path().join("work")).unwrap();
        let built = |kind, command| write(&kind, folder.path(), command, &settings);
        assert!(built(Generated::Node, false).unwrap_err().contains("`index.js`"));
        assert!(built(Generated::Python, false).unwrap_err().contains("`main.py`"));
        assert!(built(Generated::Agidentity, true).unwrap_err().contains("`package.json`"));
        assert!(!built(Generated::Node, true).unwrap().contains("npm"));
        // A link may lead to anything; it does not count as the file.
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("index.js")).unwrap();
        assert!(built(Generated::Node, false).is_err());
    }
}
