//! Whatever is wrong with a body, the answer names the field.

use serde_json::json;

use crate::support::on_sqlite;

#[tokio::test]
async fn bad_bodies_name_the_field() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let cases = [
            (json!({}), "image"),
            (json!({"image": ""}), "image"),
            (json!({"image": "UPPER/x"}), "image"),
            (json!({"image": "a:b:c@d"}), "image"),
            (json!({"image": 7}), "image"),
            (json!({"image": "img", "name": "Bad"}), "name"),
            (json!({"image": "img", "name": "admin"}), "name"),
            (json!({"image": "img", "name": "a--b"}), "name"),
            (json!({"image": "img", "name": "x".repeat(41)}), "name"),
            (json!({"image": "img", "nmae": "x"}), "nmae"),
            (json!({"image": "img", "memory": "lots"}), "memory"),
            (json!({"image": "img", "memory": "1"}), "memory"),
            (json!({"image": "img", "memory": -1}), "memory"),
            (json!({"image": "img", "memory": "65Ti"}), "memory"),
            (json!({"image": "img", "cpus": "0"}), "cpus"),
            (json!({"image": "img", "cpus": "1.0001"}), "cpus"),
            (json!({"image": "img", "cpus": "65"}), "cpus"),
            (json!({"image": "img", "pids": 1}), "pids"),
            (json!({"image": "img", "pids": -1}), "pids"),
            (json!({"image": "img", "ports": [{"name": "a", "port": 99999}]}), "ports[0].port"),
            (json!({"image": "img", "ports": [{"name": "a", "port": 0}]}), "ports[0].port"),
            (json!({"image": "img", "ports": [{"name": "A", "port": 1}]}), "ports[0].name"),
            (
                json!({"image": "img", "ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
                "ports[1].name",
            ),
            (
                json!({"image": "img", "ports": [{"name": "a", "port": 1, "protocol": "udp"}]}),
                "ports[0].protocol",
            ),
            (json!({"image": "img", "ports": [{"port": 1}]}), "ports[0].name"),
            (json!({"image": "img", "env": {"1X": "v"}}), "env"),
            (json!({"image": "img", "env": {"X": 1}}), "env.X"),
            (json!({"image": "img", "env": {"X": "a\0b"}}), "env.X"),
            (json!({"image": "img", "secret_env": {"X Y": "v"}}), "secret_env"),
            (json!({"image": "img", "secret_env": {"X": ["hunter2"]}}), "secret_env.X"),
            (json!({"image": "img", "env": {"X": "v"}, "secret_env": {"X": "v"}}), "env.X"),
            (json!({"image": "img", "volumes": [{"name": "d", "path": "relative"}]}), "volumes[0].path"),
            (json!({"image": "img", "volumes": [{"name": "d", "path": "/a/../b"}]}), "volumes[0].path"),
            (
                json!({"image": "img", "files": [{"path": "/x", "content": "", "mode": "999"}]}),
                "files[0].mode",
            ),
            (json!({"image": "img", "startup": {"check": {"tcp": {"port": "nope"}}}}), "startup.check.port"),
            (
                json!({"image": "img", "readiness": {"check": {"command": {"command": []}}}}),
                "readiness.check.command",
            ),
            (json!({"image": "img", "readiness": {"check": {"ping": {}}}}), "readiness.check"),
            (json!({"image": "img", "user": "root"}), "user"),
            (json!({"image": "img", "tmpfs": ["tmp"]}), "tmpfs[0]"),
            (json!({"image": "img", "isolation": "../x"}), "isolation"),
            (json!({"image": "img", "restart": {"mode": "sometimes"}}), "restart.mode"),
            (json!({"image": "img", "restart": {"max_crashes": 0}}), "restart.max_crashes"),
            (json!({"image": "img", "stop_grace": "2h"}), "stop_grace"),
            (json!({"image": "img", "stop_grace": "soon"}), "stop_grace"),
            (json!({"image": "img", "hostname": "a.b"}), "hostname"),
            (json!({"image": "img", "access": "everyone"}), "access"),
            (json!({"image": "img", "template": "none"}), "template"),
            (json!({"image": "img", "template": "hello"}), "image"),
            (
                json!({"image": "img", "gateway": {"upstream_auth": {"mode": "bearer", "secret": "NOPE"}}}),
                "gateway.upstream_auth.secret",
            ),
            (json!({"image": "img", "pull": "sometimes"}), "pull"),
            (json!({"image": "img", "privileged": true}), "privileged"),
        ];
        let mut wrong = Vec::new();
        for (body, field) in cases {
            let reply = operator.post("/v1/instances", body.clone()).await;
            let answer: serde_json::Value = serde_json::from_str(&reply.text).unwrap();
            if (reply.status, &answer["field"]) != (400, &json!(field)) || answer["code"] != "invalid" {
                wrong.push(format!("{body} should name {field}: {} {answer}", reply.status));
            }
            assert!(!reply.text.contains("hunter2"), "a secret is repeated: {}", reply.text);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for (body, why) in [("{", "EOF"), ("[]", "struct"), ("{} {}", "more than one"), ("null", "")] {
            let reply = operator.raw("POST", "/v1/instances", body).await;
            let answer = reply.expect(400);
            assert!(answer["detail"].as_str().unwrap().contains(why), "{body}: {answer}");
        }
        let reply = operator.post("/v1/instances", json!({"image": "x".repeat(1_100_000)})).await;
        assert!(reply.expect(400)["detail"].as_str().unwrap().contains("1 MiB"));
        let reply = operator.post("/v1/instances", json!({"image": "img", "project": "nope"})).await;
        assert_eq!(reply.expect(404)["code"], "not_found");
        assert!(operator.get("/v1/instances").await.items().is_empty(), "a refused request made something");
        // No method that is not there, and a problem document for it.
        let reply = operator.put("/v1/instances", json!({})).await;
        assert_eq!((reply.status, reply.header("content-type")), (405, "application/problem+json"));
        operator.get("/v1/nothing").await.expect(404);
    })
    .await;
}
