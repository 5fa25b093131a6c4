//! Pages: every list that has them ends where its items end.

use serde_json::json;

use crate::support::{Client, on_both};

/// Walks through a list by pages of `limit`, and returns the sizes of the pages.
async fn sizes(client: &Client, path: &str, limit: usize) -> Vec<usize> {
    let (mut after, mut sizes) = (String::new(), Vec::new());
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = client.get(&format!("{path}{separator}limit={limit}{after}")).await.expect(200);
        sizes.push(page["items"].as_array().unwrap().len());
        assert!(sizes.len() < 100, "{path} does not end");
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return sizes,
        }
    }
}

#[tokio::test]
async fn a_page_that_is_exactly_full_and_the_last_leads_nowhere() {
    on_both(async |site| {
        let operator = site.operator();
        site.user("alice").await;
        operator.ready("one", json!({})).await;
        operator.ready("two", json!({})).await;
        let lists = [
            "/v1/users",
            "/v1/tokens",
            "/v1/instances",
            "/v1/system/jobs",
            "/v1/events?kind=instance.created",
            "/v1/instances/one/events?kind=instance.ready",
        ];
        for path in lists {
            let separator = if path.contains('?') { '&' } else { '?' };
            let all = operator.get(&format!("{path}{separator}limit=500")).await.items().len();
            assert!(all >= 1, "{path}");
            assert_eq!(sizes(&operator, path, all).await, [all], "{path}");
            assert_eq!(sizes(&operator, path, 1).await, vec![1; all], "{path}");
        }
    })
    .await;
}
