//! What can be known of a template before one runs it.

use serde_json::{Value, json};

use crate::support::{Site, on_sqlite};

async fn check_of(site: &Site, name: &str) -> Value {
    let all = site.operator().get("/v1/template-checks").await.items();
    all.into_iter().find(|check| check["template"] == name).unwrap()
}

#[tokio::test]
async fn a_template_that_cannot_run_says_why_and_what_would_help() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let walled = json!({"name": "walled", "summary": "Walled", "image": "required",
            "spec": {"image": "img", "security": {"isolation": "kata"}, "resources": {"memory": "64Gi"}}});
        let homemade = json!({"name": "homemade", "summary": "Homemade", "spec": {"image": "none/such", "pull": "never"}});
        for template in [walled, homemade] {
            operator.post("/v1/templates", template).await.expect(201);
        }
        let walled = check_of(site, "walled").await;
        assert_eq!(walled["runnable"], false);
        let problems = walled["problems"].to_string();
        for word in ["`kata`", "runc, runsc", "install", "64Gi"] {
            assert!(problems.contains(word), "{word} in {problems}");
        }
        assert!(walled.get("image_present").is_none(), "its request names one: {walled}");

        let homemade = check_of(site, "homemade").await;
        assert_eq!((&homemade["runnable"], &homemade["image_present"]), (&json!(false), &json!(false)));
        let problem = homemade["problems"][0].as_str().unwrap();
        assert!(problem.contains("none/such") && problem.contains("--image"), "{problem}");

        assert_eq!(check_of(site, "custom").await, json!({"template": "custom", "runnable": true}));
    })
    .await;
}
