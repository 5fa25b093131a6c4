//! Real databases beside a real agent: `MariaDB`, `PostgreSQL` and Redis of Debian's packages, on the machine's engine. The
//! agent reaches each by what it is told; nobody else does, by name or by address; what was written is there after a
//! stop. `scripts/database-image` makes the image.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test; it polls with a deadline"
)]

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

#[expect(dead_code, reason = "the crash suite uses the rest")]
#[path = "support/mod.rs"]
mod support;

use support::rig::{Place, Rig, eventually, skip};

const IMAGE: &str = "ryokan/databases:dev";
const DATABASES: [&str; 3] = ["mysql-bot", "postgres-bot", "redis-bot"];

fn upload(rig: &Rig, manifest: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agent-manifest.json"), manifest.to_string()).unwrap();
    let artifact = folder.path().join("artifact.tgz");
    let packed = Command::new("tar")
        .args([
            "-C",
            folder.path().to_str().unwrap(),
            "-czf",
            artifact.to_str().unwrap(),
            "agent-manifest.json",
        ])
        .status();
    assert!(packed.unwrap().success());
    let (code, made) = rig.call("POST", "/v1/projects/operator/deployments", r#"{"name": "bot"}"#).unwrap();
    assert_eq!(code, 201, "{made}");
    let path = made["upload"]["url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap();
    let sent = Command::new("curl")
        .args(["-sf", "-H", "content-type: application/octet-stream", "--data-binary"])
        .arg(format!("@{}", artifact.display()))
        .arg(rig.url(&format!("/{path}")))
        .output();
    assert!(sent.unwrap().status.success());
    let id = made["id"].as_str().unwrap();
    // A server that dies while they are made goes on with those that it had made.
    eventually(
        Duration::from_mins(1),
        || format!("no database is made\n{}", rig.log()),
        || rig.instance("redis-bot").filter(|row| row["state"] != "pending"),
    );
    rig.kill();
    rig.up();
    eventually(
        Duration::from_mins(4),
        || format!("the deployment does not end\n{}", rig.log()),
        || {
            let (_, body) = rig.get(&format!("/v1/deployments/{id}"))?;
            let row: Value = serde_json::from_str(&body).ok()?;
            ["succeeded", "failed"].iter().any(|state| row["state"] == *state).then_some(row)
        },
    )
}

/// Exit code and output of a script inside an instance.
fn inside(rig: &Rig, name: &str, script: &str) -> (i64, String) {
    let body = json!({"command": ["sh", "-c", script], "timeout": "12s"}).to_string();
    let (code, answer) = rig.call("POST", &format!("/v1/instances/{name}/exec"), &body).expect("an answer");
    assert_eq!(code, 200, "{script}: {answer}");
    let said = format!("{}{}", answer["stdout"].as_str().unwrap(), answer["stderr"].as_str().unwrap());
    (answer["exit_code"].as_i64().unwrap(), said.trim().to_owned())
}

fn says(rig: &Rig, script: &str, expected: &str) {
    assert_eq!(inside(rig, "bot", script), (0, expected.to_owned()), "{script}");
}

/// The client takes no URL, so its parts are cut out of it.
const MYSQL: &str = r#"rest="${MYSQL_URL#mysql://}"; user="${rest%%:*}"; rest="${rest#*:}"; export MYSQL_PWD="${rest%%@*}"
rest="${rest#*@}"; host="${rest%%:*}"; rest="${rest#*:}"
mysql() { mariadb -NB -h "$host" -P "${rest%%/*}" -u "$user" "${rest#*/}" -e "$1"; }
"#;

#[test]
fn an_agent_has_databases_that_are_nobody_else_s() {
    let there = Command::new("docker").args(["image", "inspect", IMAGE]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return skip("no container engine with the databases' image (scripts/database-image makes it)");
    }
    let image = || IMAGE.to_owned();
    let rig = Rig::new(Place {
        environment: vec![
            ("RYOKAN_MYSQL_IMAGE", image()),
            ("RYOKAN_POSTGRES_IMAGE", image()),
            ("RYOKAN_REDIS_IMAGE", image()),
        ],
        ..Place::default()
    });
    rig.up();
    // Redis is an agent, too: it listens.
    let agent = json!({
        "type": "custom", "image": IMAGE, "command": ["redis-server", "--port", "8080", "--protected-mode", "no"],
    });
    let manifest = json!({
        "schema": "mandala-agent", "agent": agent, "ports": [8080], "resources": {"cpu": "500m", "memory": "256Mi"},
        "databases": {"mysql": true, "postgres": true, "redis": true},
    });
    let done = upload(&rig, &manifest);
    assert_eq!(done["state"], "succeeded", "{done}\n{}", rig.log());

    // By the addresses that it is told, and in parts.
    says(
        &rig,
        r#"psql "$POSTGRES_URL" -XqAtc 'CREATE TABLE kept (n INT); INSERT INTO kept VALUES (42)'"#,
        "",
    );
    says(&rig, "psql -XqAtc 'SELECT n FROM kept'", "42");
    says(&rig, r#"redis-cli --no-auth-warning -u "$REDIS_URL" SET kept 42"#, "OK");
    says(
        &rig,
        r#"REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -h "$REDIS_HOST" -p "$REDIS_PORT" GET kept"#,
        "42",
    );
    says(&rig, &format!("{MYSQL} mysql 'CREATE TABLE kept (n INT); INSERT INTO kept VALUES (42)'"), "");
    let parts = r#"MYSQL_PWD="$MYSQL_PASSWORD" mariadb -NB -h "$MYSQL_HOST" -P "$MYSQL_PORT" -u "$MYSQL_USER" "$MYSQL_DATABASE" -e 'SELECT n FROM kept'"#;
    says(&rig, parts, "42");

    // Not without the password.
    for (script, refusal) in [
        ("redis-cli -h redis-bot GET kept", "NOAUTH"),
        (
            "PGPASSWORD=wrong psql -h postgres-bot -U app -d app -c 'SELECT 1'",
            "password authentication failed",
        ),
        ("MYSQL_PWD=wrong mariadb -h mysql-bot -u root -e 'SELECT 1'", "Access denied"),
    ] {
        let (_, said) = inside(&rig, "bot", script);
        assert!(said.contains(refusal), "{script}: {said}");
    }

    let containers: Vec<(String, String)> = DATABASES
        .iter()
        .map(|name| {
            let server = format!("label=ryokan.server={}", rig.server_id());
            let label = format!("label=ryokan.name={name}");
            let id = rig.place.docker(&["ps", "-q", "--filter", &server, "--filter", &label]);
            assert!(!id.is_empty(), "{name}");
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let address = rig.place.docker(&["inspect", "-f", format, &id]);
            (id, address)
        })
        .collect();
    let (_, told) = inside(&rig, "bot", r#"echo "$REDIS_PASSWORD $PGPASSWORD $MYSQL_PASSWORD""#);
    for (id, _) in &containers {
        assert_eq!(rig.place.docker(&["port", id]), "", "nothing is published");
        let processes = rig.place.docker(&["top", id, "-eo", "user,pid,args"]);
        for password in told.split(' ') {
            assert!(password.len() >= 32 && !processes.contains(password), "{processes}");
        }
        let server = processes
            .lines()
            .filter(|l| ["redis-server", "postgres -D", "mariadbd"].iter().any(|p| l.contains(p)));
        assert!(
            server.clone().count() > 0 && server.into_iter().all(|l| !l.starts_with("root")),
            "{processes}"
        );
    }

    // Another project's container: no such name, and no way to the address.
    let (code, made) = rig.call("POST", "/v1/projects", r#"{"name": "other"}"#).unwrap();
    assert_eq!(code, 201, "{made}");
    let stranger = json!({
        "name": "stranger", "project": "other", "template": "custom", "image": IMAGE, "memory": "64Mi",
        "command": ["sleep", "600"],
    });
    let (code, made) = rig.call("POST", "/v1/instances", &stranger.to_string()).unwrap();
    assert_eq!(code, 202, "{made}");
    rig.wait_state("stranger", "ready");
    let (code, said) = inside(
        &rig,
        "stranger",
        "getent hosts redis-bot postgres-bot mysql-bot; redis-cli -h redis-bot PING",
    );
    assert!(code != 0 && !said.contains("NOAUTH") && !said.contains("PONG"), "{said}");
    for ((_, address), port) in containers.iter().zip([3306, 5432, 6379]) {
        assert!(!address.is_empty());
        // The agent gets through by the address, and the stranger does not.
        let knock = format!("timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>&1");
        assert_eq!(inside(&rig, "bot", &knock).0, 0, "{knock}");
        assert_ne!(inside(&rig, "stranger", &knock).0, 0, "{knock}");
    }

    // All stop and start together, and the data are there.
    assert_eq!(rig.call("POST", "/v1/instances/bot/stop", "").unwrap().0, 202);
    for name in ["bot"].iter().chain(&DATABASES) {
        rig.wait_state(name, "stopped");
    }
    assert_eq!(rig.call("POST", "/v1/instances/bot/start", "").unwrap().0, 202);
    for name in DATABASES.iter().chain(&["bot"]) {
        rig.wait_state(name, "ready");
    }
    says(&rig, r#"psql "$POSTGRES_URL" -XqAtc 'SELECT n FROM kept'"#, "42");
    says(&rig, r#"redis-cli --no-auth-warning -u "$REDIS_URL" GET kept"#, "42");
    says(&rig, &format!("{MYSQL} mysql 'SELECT n FROM kept'"), "42");

    // With the agent goes all that it had.
    assert_eq!(rig.call("DELETE", "/v1/instances/bot", "").unwrap().0, 202);
    eventually(
        Duration::from_mins(1),
        || format!("they are still there: {:?}\n{}", rig.instances(), rig.log()),
        || rig.instances().filter(|all| all.len() == 1),
    );
    rig.tear_down();
}
