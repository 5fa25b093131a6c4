//! Images that were built here go once nothing can be started from them any more, and no others ever do.

use std::collections::BTreeSet;
use std::time::Duration;

use ryokan_model::{DeploymentId, Millis, ProjectId};
use ryokan_ports::ImageBuilder as _;
use ryokan_ports::build::BuildRequest;
use ryokan_ports::fake::Call;
use serde_json::json;

use crate::deployments::{agent, deploy, over, promise, send};
use crate::support::{Client, Site, eventually, on_both, on_both_with, on_sqlite};

async fn names(site: &Site) -> BTreeSet<String> {
    let built = site.engine.built().await.unwrap();
    built.into_iter().filter_map(|built| built.tag).map(|tag| tag.to_string()).collect()
}

async fn parts(site: &Site) -> usize {
    site.engine.built().await.unwrap().iter().filter(|built| built.tag.is_none()).count()
}

async fn image_of(client: &Client, name: &str) -> String {
    client.show(name).await["spec"]["image"].as_str().unwrap().to_owned()
}

/// Waits until the engine has no other images of ours.
async fn only(site: &Site, wanted: &[&String]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).clone()).collect();
    eventually("only what is needed is left", async || {
        let names = names(site).await;
        if names == wanted { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

#[tokio::test]
async fn what_can_be_rolled_back_to_is_kept_and_no_more() {
    on_both_with(
        |config| config.build.keep_revisions = Some(2),
        async |site| {
            let operator = site.operator();
            let mut images = Vec::new();
            for version in 1..=4 {
                let done = deploy(site, "bot", agent(&format!("FROM img\n# {version}\n"))).await;
                assert_eq!(done["state"], json!("succeeded"));
                images.push(image_of(&operator, "bot").await);
            }
            only(site, &[&images[2], &images[3]]).await;
            let refused =
                operator.post("/v1/instances/bot/rollback", json!({"revision": 1})).await.expect(409);
            let detail = refused["detail"].as_str().unwrap();
            assert!(
                detail.contains("the image of revision 1 is gone")
                    && detail.contains("deploy that version again"),
                "{detail}"
            );
            let back =
                operator.stream("POST", "/v1/instances/bot/rollback", Some(json!({}))).await.all().await;
            assert_eq!(back.last().unwrap().name, "ready", "{back:?}");
            assert_eq!(image_of(&operator, "bot").await, images[2]);
            // The two newest that were ready are of the third and the fourth version still.
            only(site, &[&images[2], &images[3]]).await;
            // A change of a variable is a revision, too, and needs the same image.
            operator.patch("/v1/instances/bot", json!({"env": {"A": "1"}})).await.expect(202);
            operator.until("bot", "ready").await;
            only(site, &[&images[2]]).await;
        },
    )
    .await;
}

#[tokio::test]
async fn with_its_instance_or_its_project_an_image_goes() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.image("img").loaded();
        assert_eq!(deploy(site, "bot", agent("FROM img")).await["state"], json!("succeeded"));
        assert_eq!(deploy(site, "other", agent("FROM img")).await["state"], json!("succeeded"));
        let other = image_of(&operator, "other").await;
        operator.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        let made = operator.post("/v1/projects/team/deployments", json!({"name": "third"})).await.expect(201);
        let path = made["upload"]["url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
        send(site, &format!("/{path}"), agent("FROM img")).await.expect(202);
        over(&operator, made["id"].as_str().unwrap()).await;
        let third = image_of(&operator, "third").await;
        assert_eq!(names(site).await.len(), 3);

        operator.delete("/v1/instances/bot").await.expect(202);
        only(site, &[&other, &third]).await;
        operator.delete("/v1/projects/team?cascade=true").await.expect(204);
        only(site, &[&other]).await;
        // What it was built from is not ours.
        operator.ready("plain", json!({"image": "img", "pull": "never"})).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_built_for_nothing_goes_as_soon_as_nothing_uses_it() {
    on_sqlite(async |site| {
        let operator = site.operator();
        assert_eq!(deploy(site, "bot", agent("FROM img")).await["state"], json!("succeeded"));
        let good = image_of(&operator, "bot").await;
        let (id, path) = promise(&operator, json!({"name": "bot"})).await;
        send(site, &path, agent("FROM img\n# ill\n")).await.expect(202);
        eventually("it is over", async || {
            site.clock.forward(Duration::from_secs(2));
            let row = operator.get(&format!("/v1/deployments/{id}")).await.expect(200);
            if row["state"] == json!("failed") { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        operator.until("bot", "ready").await;
        // Its container may still have been there when the deployment ended.
        site.app().collect_images().await.unwrap();
        only(site, &[&good]).await;

        // One that fails leaves a part, from which a next try begins; after an hour it is waste.
        deploy(site, "worse", agent("FROM img\n# fails of course\n")).await;
        assert_eq!(parts(site).await, 1);
        site.app().collect_images().await.unwrap();
        assert_eq!(parts(site).await, 1);
        site.clock.forward(Duration::from_hours(1));
        site.app().collect_images().await.unwrap();
        assert_eq!((parts(site).await, names(site).await.len()), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_server_left_is_found() {
    on_both(async |site| {
        let operator = site.operator();
        assert_eq!(deploy(site, "bot", agent("FROM img")).await["state"], json!("succeeded"));
        let good = image_of(&operator, "bot").await;
        site.stop().await;
        let deployment = DeploymentId::from_parts(Millis(1), [9; 10]);
        let project = ProjectId::from_parts(Millis(1), [9; 10]);
        let folder = tempfile::tempdir().unwrap();
        let request = BuildRequest {
            deployment,
            project,
            tag: format!("ryokan.local/{}/gone:{deployment}", project.0.simple()).parse().unwrap(),
            context: folder.path().to_owned(),
            dockerfile: "FROM img\n".into(),
            limits: ryokan_app::deployments::Settings::new(folder.path().to_owned()).unwrap().limits,
        };
        site.engine.build(&request, &|_| ()).await.unwrap();
        assert_eq!(names(site).await.len(), 2);
        site.start().await;
        only(site, &[&good]).await;
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_away_loses_nothing_and_is_asked_again() {
    on_sqlite(async |site| {
        let operator = site.operator();
        assert_eq!(deploy(site, "bot", agent("FROM img")).await["state"], json!("succeeded"));
        site.engine.down();
        assert_eq!(site.app().collect_images().await.unwrap(), 0);
        site.engine.up();
        site.engine.fail(Call::Forget, ryokan_ports::runtime::RuntimeError::Other("no".into()));
        operator.delete("/v1/instances/bot").await.expect(202);
        operator.until_gone("bot").await;
        assert_eq!(site.app().collect_images().await.unwrap(), 1);
        site.engine.heal();
        assert_eq!(site.app().collect_images().await.unwrap(), 0);
        only(site, &[]).await;
    })
    .await;
}
