//! Databases beside agents.

use ryokan_model::addon::Addon;
use ryokan_model::project::Network;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Millis, ProjectId, UserId};
use ryokan_store::StoreError;
use ryokan_store::instances::Instance;
use ryokan_store::test_util::for_each_engine;
use ryokan_store::users::User;

const NOW: Millis = Millis(1000);

fn row(n: u8, name: &str, addon: Option<Addon>) -> Instance {
    let project = ProjectId::from_parts(NOW, [2; 10]);
    let spec = InstanceSpec::new("img".parse().unwrap());
    Instance {
        addon,
        ..Instance::new(InstanceId::from_parts(NOW, [n; 10]), project, name.parse().unwrap(), spec, NOW)
    }
}

#[tokio::test]
async fn an_agent_has_its_databases_while_they_live() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let (agent, other) = (row(1, "bot", None), row(2, "other", None));
        let (agent_id, other_id) = (agent.id, other.id);
        store
            .write(move |tx| {
                let user = User {
                    email: None,
                    id: UserId::from_parts(NOW, [1; 10]),
                    login: "ada".into(),
                    name: String::new(),
                    operator: false,
                    password_hash: None,
                    disabled: false,
                    created_at: NOW,
                };
                tx.insert_user(&user)?;
                tx.insert_project(
                    agent.project,
                    &"p".parse().unwrap(),
                    user.id,
                    false,
                    Network::Mainnet,
                    NOW,
                )?;
                for row in [
                    &agent,
                    &other,
                    &row(3, "redis-bot", Some(Addon::Redis)),
                    &row(4, "mysql-bot", Some(Addon::Mysql)),
                ] {
                    tx.insert_instance(row)?;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        let names = async |agent: InstanceId| {
            let rows = store.read(move |tx| tx.addons_of(agent)).await.unwrap();
            rows.into_iter().map(|row| (row.name.to_string(), row.addon)).collect::<Vec<_>>()
        };
        assert_eq!(names(agent_id).await, [], "nobody's yet");
        store
            .write(move |tx| {
                for name in ["redis-bot", "mysql-bot"] {
                    let mut row = tx.instance_by_name(name)?.unwrap();
                    assert_eq!(row.addon_of, None);
                    row.addon_of = Some(agent_id);
                    // What it is does not change with what is written.
                    row.addon = None;
                    tx.update_instance(&mut row, NOW)?;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        let both =
            [("mysql-bot".to_owned(), Some(Addon::Mysql)), ("redis-bot".to_owned(), Some(Addon::Redis))];
        assert_eq!(names(agent_id).await, both);
        assert_eq!(names(other_id).await, []);
        store
            .write(|tx| {
                let mut gone = tx.instance_by_name("redis-bot")?.unwrap();
                gone.deleted_at = Some(NOW);
                tx.update_instance(&mut gone, NOW)
            })
            .await
            .unwrap();
        assert_eq!(names(agent_id).await, both[..1]);
    })
    .await;
}
