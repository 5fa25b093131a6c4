//! Every decision is a row, whoever may read them reads them, and what cannot be recorded is refused.

use ryokan_app::Error;
use ryokan_app::audit::Ended;
use ryokan_model::policy::{Action, Verdict};
use ryokan_store::params;
use serde_json::{Value, json};

use crate::policies::{agent, question};
use crate::support::{on_both, on_both_with};

#[tokio::test]
async fn every_decision_is_a_row_without_secrets() {
    on_both(async |site| {
        let owner = site.user("olga").await;
        owner.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        owner.ready("claw", json!({"project": "team"})).await;
        let who = agent(&owner, "claw").await;
        let app = site.app();
        let mut asked =
            question(&who, Action::EgressRequest, "POST https://api.github.com/user?token=hunter2#x");
        asked.credential = Some("github".into());
        asked.request_id = Some("r1".into());
        asked.address = Some("172.20.0.2\u{1b}[31m".into());
        let denied = app.judge(asked).await.unwrap();
        assert_eq!(denied.decision.verdict, Verdict::Deny);
        let allowed = app.judge(question(&who, Action::ModelCall, "llama")).await.unwrap();
        let ended = Ended { status: Some(200), bytes_in: 7, bytes_out: 5, millis: 12 };
        app.note_end(allowed.audit, ended);
        app.write_ends().await.unwrap();
        // Once: the second is not written.
        app.note_end(allowed.audit, Ended { status: Some(500), ..ended });
        app.write_ends().await.unwrap();
        let rows = owner.get("/v1/audit?project=team").await.items();
        assert_eq!(rows.len(), 2);
        let (model, egress) = (&rows[0], &rows[1]);
        assert_eq!(model["ended"], json!({"status": 200, "bytes_in": 7, "bytes_out": 5, "millis": 12}));
        assert_eq!(egress["resource"], "POST https://api.github.com/user");
        assert_eq!(
            [
                &egress["decision"],
                &egress["level"],
                &egress["credential"],
                &egress["address"],
                &egress["actor"]
            ],
            ["deny", "project", "github", "172.20.0.2[31m", "instance:claw"]
        );
        assert!(!json!(rows).to_string().contains("hunter2"));
        // Filters.
        let count = async |query: &str| owner.get(&format!("/v1/audit?{query}")).await.items().len();
        let at = egress["at"].as_i64().unwrap();
        for (query, expected) in [
            ("", 2),
            ("instance=claw", 2),
            ("project=team&instance=claw&decision=deny", 1),
            ("action=model.call", 1),
            ("action=model", 0),
            ("resource=POST%20https://api.github.com/", 1),
            ("resource=post", 0),
            ("resource=%25", 0),
            ("user=olga", 0),
            (&format!("since={at}"), 2),
            (&format!("until={at}"), 0),
            (&format!("since={}", at + 60_000), 0),
        ] {
            assert_eq!(count(query).await, expected, "{query}");
        }
        let page = owner.get("/v1/audit?limit=1").await.expect(200);
        let next = owner
            .get(&format!("/v1/audit?limit=1&after={}", page["next"].as_str().unwrap()))
            .await
            .expect(200);
        assert_eq!((&next["items"][0]["id"], &next["next"]), (&egress["id"], &Value::Null));
        owner.get("/v1/audit?after=zzz").await.expect(400);
        owner.get("/v1/audit?decision=maybe").await.expect(400);
        // Who may read it.
        let mary = site.user("mary").await;
        mary.get("/v1/audit?project=team").await.expect(404);
        for (role, status) in [("viewer", 403), ("developer", 403), ("admin", 200)] {
            owner.put("/v1/projects/team/members/mary", json!({"role": role})).await.expect(200);
            assert_eq!(mary.get("/v1/audit?project=team").await.status, status, "{role}");
            assert_eq!(mary.get("/v1/audit/export?instance=claw").await.status, status, "{role}");
        }
        assert_eq!(site.operator().get("/v1/audit").await.items().len(), 2);
        let stranger = site.user("bob").await;
        assert_eq!(stranger.get("/v1/audit").await.items().len(), 0);
        // Nobody changes it, not even by SQL.
        for sql in [
            "UPDATE audit SET decision = 'allow'",
            "UPDATE audit SET status = 1, millis = 1",
            "DELETE FROM audit",
        ] {
            let changed = app.store.write(move |tx| tx.execute(sql, params![])).await;
            assert!(changed.is_err(), "{sql}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused() {
    on_both(async |site| {
        site.operator().ready("claw", json!({})).await;
        let who = agent(&site.operator(), "claw").await;
        let app = site.app();
        let rename = async |sql: &'static str| {
            app.store.write(move |tx| tx.execute(sql, params![])).await.unwrap();
        };
        rename("ALTER TABLE audit RENAME TO audit_away").await;
        // The rules allow it.
        let judged = app.judge(question(&who, Action::ModelCall, "llama")).await;
        rename("ALTER TABLE audit_away RENAME TO audit").await;
        assert!(matches!(judged, Err(Error::AuditUnavailable(_))), "{judged:?}");
        app.judge(question(&who, Action::ModelCall, "llama")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_export_has_it_all() {
    on_both(async |site| {
        site.operator().ready("claw", json!({})).await;
        let who = agent(&site.operator(), "claw").await;
        let app = site.app();
        let asking = (0..1_200).map(|n| app.judge(question(&who, Action::ModelCall, &format!("m{n}"))));
        futures_util::future::try_join_all(asking).await.unwrap();
        let reply = site.operator().get("/v1/audit/export?instance=claw").await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/x-ndjson"));
        let mut names: Vec<String> = reply
            .text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["resource"].as_str().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 1_200);
        site.operator().get("/v1/audit/export?limit=5").await.expect(400);
        let none = site.operator().get("/v1/audit/export?action=git.push").await;
        assert_eq!((none.status, none.text.as_str()), (200, ""));
    })
    .await;
}

#[tokio::test]
async fn old_rows_are_forgotten_by_age() {
    let short = |config: &mut ryokan_server::config::Config| {
        config.retention.audit = std::time::Duration::from_hours(24).into();
    };
    on_both_with(short, async |site| {
        site.operator().ready("claw", json!({})).await;
        let who = agent(&site.operator(), "claw").await;
        let app = site.app();
        app.judge(question(&who, Action::ModelCall, "old")).await.unwrap();
        site.clock.forward(std::time::Duration::from_hours(23));
        app.judge(question(&who, Action::ModelCall, "new")).await.unwrap();
        site.clock.forward(std::time::Duration::from_hours(2));
        // Housekeeping runs when a server begins to lead.
        site.restart().await;
        crate::support::eventually("the old row goes", async || {
            let rows = site.operator().get("/v1/audit").await.items();
            let left: Vec<_> = rows.iter().map(|row| row["resource"].as_str().unwrap()).collect();
            if left == ["new"] { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    })
    .await;
}
