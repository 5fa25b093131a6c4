//! Instances from creation to deletion.

use serde_json::json;

use crate::support::client::names;
use crate::support::on_both;

#[tokio::test]
async fn create_follows_to_ready_and_delete_to_the_end() {
    on_both(async |site| {
        let operator = site.operator();
        let body = json!({"name": "claw", "image": "img", "ports": [{"name": "http", "port": 3000}]});
        let events = operator.stream("POST", "/v1/instances", Some(body)).await.all().await;
        assert_eq!(names(&events), ["created", "pending", "ready"], "{events:?}");
        let id = operator.show("claw").await["id"].as_str().unwrap().parse().unwrap();
        assert!(site.engine.running(id));
        let events = operator.stream("DELETE", "/v1/instances/claw", None).await.all().await;
        assert_eq!(names(&events), ["pending", "deleted"], "{events:?}");
        assert!(!site.engine.exists(id));
        assert_eq!(operator.get("/v1/instances/claw").await.status, 404);
    })
    .await;
}
