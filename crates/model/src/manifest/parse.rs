//! From bytes to a checked [`Manifest`]: each refusal says where, what was there, and what is allowed.

use serde_json::Value;

use super::{MAX_BYTES, Manifest, Runtime};
use crate::Invalid;
use crate::spec::{InstanceSpec, env_name};

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        if bytes.len() > MAX_BYTES {
            return Err(Invalid::new("", format!("it is longer than {} KiB", MAX_BYTES / 1024)));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let value: Value =
            serde_json::from_slice(bytes).map_err(|e| Invalid::new("", format!("it is not JSON: {e}")))?;
        if !value.is_object() {
            return Err(Invalid::new(
                "",
                "it must be a JSON object, as in {\"schema\": \"mandala-agent\", …}",
            ));
        }
        if value.get("schema").and_then(Value::as_str) == Some("bsv-app") {
            return Err(Invalid::new(
                "schema",
                "`bsv-app` describes an overlay application of CARS; an agent has \"mandala-agent\"",
            ));
        }
        let manifest: Self = serde_path_to_error::deserialize(value.clone())
            .map_err(|e| explain(&value, &e.path().to_string(), &e.inner().to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Invalid> {
        if let Some(name) = &self.name {
            name.may_be_asked_for()?;
        }
        for name in self.env.keys() {
            env_name("env", name)?;
        }
        let ports = self.ports();
        if ports.is_empty() || ports.len() > 16 {
            return Err(Invalid::new("ports", "must list 1 to 16 ports"));
        }
        for (i, port) in ports.iter().enumerate() {
            if *port == 0 {
                return Err(Invalid::new(format!("ports[{i}]"), "0 is not a port: 1 to 65535"));
            }
            if ports[..i].contains(port) {
                return Err(Invalid::new(format!("ports[{i}]"), format!("{port} is listed twice")));
            }
        }
        if let Some(health) = &self.health_check {
            if let Some(port) = health.port.filter(|port| !ports.contains(port)) {
                return Err(Invalid::new("healthCheck.port", format!("{port} is not one of `ports`")));
            }
            for (field, seconds, most) in [
                ("healthCheck.intervalSeconds", health.interval_seconds, 3600),
                ("healthCheck.startupSeconds", health.startup_seconds, 3600),
            ] {
                if seconds == 0 || seconds > most {
                    return Err(Invalid::new(field, format!("{seconds} is not between 1 and {most}")));
                }
            }
        }
        let agent = &self.agent;
        if agent.image.is_some() && agent.dockerfile.is_some() {
            return Err(Invalid::new("agent.dockerfile", "is given together with `agent.image`; keep one"));
        }
        if agent.runtime == Some(Runtime::Docker) && agent.image.is_none() && agent.dockerfile.is_none() {
            return Err(Invalid::new(
                "agent.runtime",
                "`docker` needs `agent.dockerfile` or `agent.image`; allowed without are `node` and `python`",
            ));
        }
        if agent.command.as_ref().is_some_and(|c| c.is_empty() || c[0].is_empty()) {
            return Err(Invalid::new(
                "agent.command",
                "must name a command, as in [\"node\", \"server.js\"]",
            ));
        }
        if let Some(frontend) = &self.frontend
            && frontend.image.is_some()
            && frontend.directory.is_some()
        {
            return Err(Invalid::new(
                "frontend.directory",
                "is given together with `frontend.image`; keep one",
            ));
        }
        for (i, target) in self.deployments.iter().enumerate() {
            let texts = [
                ("provider", Some(&target.provider)),
                ("projectID", target.project.as_ref()),
                ("MandalaCloudURL", target.mandala_url.as_ref()),
                ("CARSCloudURL", target.cars_url.as_ref()),
            ];
            for (field, text) in texts {
                if text.is_some_and(|t| t.len() > 500 || t.chars().any(char::is_control)) {
                    let why = "is longer than 500 bytes or holds a control character";
                    return Err(Invalid::new(format!("deployments[{i}].{field}"), why));
                }
            }
        }
        self.plan()?.validate()
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        match (&self.ports, self.agent.kind) {
            (Some(ports), _) => ports.clone(),
            (None, super::AgentKind::Agidentity) => vec![3000],
            (None, _) => vec![8080],
        }
    }
}

/// A spec's own refusal, in the manifest's words.
pub(super) fn as_manifest(mut refused: Invalid) -> Invalid {
    for (spec, manifest) in [
        ("resources.memory", "resources.memory"),
        ("volumes[0].path", "storage.mountPath"),
        ("startup.check.path", "healthCheck.path"),
        ("readiness.check.path", "healthCheck.path"),
        ("command", "agent.command"),
    ] {
        if refused.field.starts_with(spec) {
            refused.field = refused.field.replacen(spec, manifest, 1);
        }
    }
    refused
}

/// Checks what can be checked without an image.
pub(super) fn check_spec(spec: &InstanceSpec) -> Result<(), Invalid> {
    spec.validate().map_err(as_manifest)
}

/// What serde said, with the value that it said it of, and a hint for what was misspelt.
fn explain(whole: &Value, path: &str, text: &str) -> Invalid {
    let text = text.split(" at line ").next().unwrap_or(text);
    let path = if path == "." { String::new() } else { path.to_owned() };
    if let Some(name) = text.strip_prefix("missing field `").and_then(|t| t.strip_suffix('`')) {
        return Invalid::new(join(&path, name), "is missing");
    }
    for (what, noun) in [("unknown field `", "is not a known field"), ("unknown variant `", "is not allowed")]
    {
        let Some((name, rest)) = text.strip_prefix(what).and_then(|t| t.split_once('`')) else { continue };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = nearest(name, &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let list = if known.is_empty() { String::new() } else { format!("; allowed: {}", known.join(", ")) };
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        if what.starts_with("unknown field") {
            // The path that is reported ends with the field itself, or with its parent.
            let field =
                if path == name || path.ends_with(&format!(".{name}")) { path } else { join(&path, &name) };
            return Invalid::new(field, format!("{noun}{hint}{list}"));
        }
        return Invalid::new(path, format!("`{name}` {noun}{hint}{list}"));
    }
    let shown = at(whole, &path).map(|value| {
        let text = value.to_string();
        let cut: String = text.chars().take(60).collect();
        if cut.len() < text.len() { format!("{cut}…") } else { cut }
    });
    // A value of `env` may be a secret that should not have been there.
    match shown.filter(|shown| !path.starts_with("env") && !text.contains(shown.trim_matches('"'))) {
        Some(shown) => Invalid::new(path, format!("{shown} is refused: {text}")),
        None => Invalid::new(path, text.to_owned()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The value at a path such as `deployments[0].network`.
fn at<'a>(whole: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = whole;
    for part in path.split(['.', '[']).filter(|p| !p.is_empty()) {
        value = match part.strip_suffix(']') {
            Some(index) => value.get(index.parse::<usize>().ok()?)?,
            None => value.get(part)?,
        };
    }
    Some(value)
}

/// The known name that is likest, if it is like enough.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    if name.len() > 60 {
        return None;
    }
    let best = known.iter().map(|k| (distance(&name, &k.to_lowercase()), *k)).min()?;
    (best.0 <= 1 + name.len() / 4).then_some(best.1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(value: &Value) -> String {
        Manifest::parse(value.to_string().as_bytes()).unwrap_err().to_string()
    }

    fn with(patch: &Value) -> Value {
        let mut base =
            json!({"schema": "mandala-agent", "schemaVersion": "1.0", "agent": {"type": "custom"}});
        for (key, value) in patch.as_object().unwrap() {
            base[key] = value.clone();
        }
        base
    }

    #[test]
    fn what_the_mandala_cli_writes_is_accepted() {
        let manifest = with(&json!({
            "agent": {"type": "agidentity", "runtime": "node", "dockerfile": "Dockerfile", "buildContext": "."},
            "env": {"A": "b"},
            "resources": {"cpu": "500m", "memory": "512Mi", "gpu": "1"},
            "ports": [3000],
            "healthCheck": {"path": "/health", "port": 3000, "intervalSeconds": 30},
            "frontend": null,
            "storage": {"enabled": true, "size": "10Gi", "mountPath": "/data"},
            "databases": {"mysql": false, "mongo": false, "redis": true},
            "deployments": [
                {"provider": "mandala", "projectID": "x", "network": "mainnet", "MandalaCloudURL": "https://m"},
                {"provider": "CARS", "projectID": "x", "CARSCloudURL": "https://c"},
            ],
        }));
        let parsed = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        assert_eq!(parsed.deployments[1].cars_url.as_deref(), Some("https://c"));
        let again = serde_json::to_vec(&parsed).unwrap();
        assert_eq!(Manifest::parse(&again).unwrap(), parsed);
    }

    #[test]
    fn every_refusal_says_where_what_and_what_else() {
        for (value, expected) in [
            (json!({"agent": {}}), "schema: is missing"),
            (json!({"schema": "mandala-agent"}), "agent: is missing"),
            (json!({"schema": "mandala", "agent": {}}), "schema: `mandala` is not allowed"),
            (json!({"schema": "bsv-app"}), "schema: `bsv-app` describes an overlay"),
            (with(&json!({"schemaVersion": "2.0"})), "schemaVersion: `2.0` is not allowed"),
            (
                with(&json!({"helthCheck": {}})),
                "helthCheck: is not a known field; did you mean `healthCheck`?",
            ),
            (
                with(&json!({"agent": {"dockerFile": "x"}})),
                "agent.dockerFile: is not a known field; did you mean `dockerfile`?",
            ),
            (
                with(&json!({"agent": {"runtime": "pyton"}})),
                "agent.runtime: `pyton` is not allowed; did you mean `python`?; allowed: node, python, docker",
            ),
            (with(&json!({"agent": {"runtime": "docker"}})), "agent.runtime: `docker` needs"),
            (
                with(&json!({"agent": {"dockerfile": "../x"}})),
                "agent.dockerfile: `../x` is not a path inside the artifact",
            ),
            (with(&json!({"agent": {"buildContext": "/etc"}})), "agent.buildContext: `/etc` is not a path"),
            (with(&json!({"agent": {"image": "A b"}})), "agent.image: "),
            (
                with(&json!({"agent": {"image": "a", "dockerfile": "D"}})),
                "agent.dockerfile: is given together",
            ),
            (with(&json!({"agent": {"command": []}})), "agent.command: must name"),
            (with(&json!({"env": {"1X": "y"}})), "env: `1X` is not a variable name"),
            (with(&json!({"env": {"X": 1}})), "env.X: invalid type: integer `1`, expected a string"),
            (with(&json!({"resources": {"cpu": "lots"}})), "resources.cpu: `lots` is not"),
            (with(&json!({"resources": {"memory": "1Mi"}})), "resources.memory: must be at least 6Mi"),
            (
                with(&json!({"resources": {"gpu": "half"}})),
                "resources.gpu: \"half\" is refused: must be a whole number of GPUs",
            ),
            (with(&json!({"ports": []})), "ports: must list 1 to 16"),
            (with(&json!({"ports": [80, 0]})), "ports[1]: 0 is not a port"),
            (with(&json!({"ports": [80, 80]})), "ports[1]: 80 is listed twice"),
            (with(&json!({"ports": [99999]})), "ports[0]: invalid value: integer `99999`"),
            (with(&json!({"healthCheck": {"port": 1}})), "healthCheck.port: 1 is not one of `ports`"),
            (with(&json!({"healthCheck": {"path": "x y"}})), "healthCheck.path: must begin with `/`"),
            (
                with(&json!({"healthCheck": {"intervalSeconds": 0}})),
                "healthCheck.intervalSeconds: 0 is not between",
            ),
            (
                with(&json!({"storage": {"enabled": true, "mountPath": "/a/../b"}})),
                "storage.mountPath: must be an absolute path",
            ),
            (with(&json!({"frontend": {"directory": "../.."}})), "frontend.directory: `../..` is not a path"),
            (
                with(&json!({"deployments": [{"provider": "mandala", "network": "moon"}]})),
                "deployments[0].network: `moon` is not allowed; allowed: mainnet, testnet",
            ),
            (
                with(&json!({"deployments": [{"provider": "x", "projectId": "y"}]})),
                "deployments[0].projectId: is not a known field; did you mean `projectID`?",
            ),
            (with(&json!({"access": "all"})), "access: `all` is not allowed"),
            (with(&json!({"name": "frontend-x"})), "name: begins with `frontend-`"),
            (with(&json!({"name": "redis-x"})), "name: begins with `redis-`"),
            (with(&json!({"name": "Bad"})), "name: "),
        ] {
            let error = refused(&value);
            assert!(error.starts_with(expected), "{value}\n  {error}\n  {expected}");
        }
        assert!(
            Manifest::parse(b"[]").is_err()
                && Manifest::parse(b"{").is_err()
                && Manifest::parse(b"").is_err()
        );
        assert!(Manifest::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err().problem.contains("KiB"));
    }

    #[test]
    fn a_value_of_env_is_not_repeated() {
        let error = refused(&with(&json!({"env": {"K": ["hunter2"]}})));
        assert!(!error.contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,200}", key in "[a-zA-Z]{1,12}", number: u64) {
            let _ = Manifest::parse(text.as_bytes());
            let _ = Manifest::parse(with(&json!({key.clone(): text})).to_string().as_bytes());
            let _ = Manifest::parse(with(&json!({key: number})).to_string().as_bytes());
        }
    }
}
