//! What a workload is given: variables, secrets, files, volumes.

use std::time::Duration;

use ryokan_model::Secret;
use ryokan_model::spec::{ConfigFile, FileOwnership};

use super::{Harness, volume};
use crate::runtime::{PROXY, RuntimeError};

fn file(path: &str, content: &str, mode: &str, ownership: FileOwnership) -> ConfigFile {
    ConfigFile { path: path.to_owned(), content: content.to_owned(), mode: mode.to_owned(), ownership }
}

pub async fn variables_and_secrets_arrive(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    let values = [("PLAIN", "a b"), ("EMPTY", ""), ("ODD", "x=y;$HOME \"q\" é")];
    workload.spec.env = values.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    workload.spec.secret_env = ["TOKEN".to_owned()].into();
    workload.secret_env = [("TOKEN".to_owned(), Secret::new("s3cret"))].into();
    h.runtime.ensure(&workload).await.unwrap();
    let (code, out, _) = h.run(workload.instance, &[&h.agent, "env"]).await;
    assert_eq!(code, 0);
    for (name, value) in values.iter().chain(&[("TOKEN", "s3cret")]) {
        assert!(out.lines().any(|l| l == format!("{name}={value}")), "{name} in {out}");
    }
}

pub async fn facts_arrive_and_restart_nothing(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.facts = [("RYOKAN_INSTANCE", "claw"), ("RYOKAN_ZONE", "a.example")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into();
    workload.spec.env = [("RYOKAN_ZONE".to_owned(), "its own".to_owned())].into();
    let first = h.runtime.ensure(&workload).await.unwrap();
    let (_, out, _) = h.run(workload.instance, &[&h.agent, "env"]).await;
    for line in ["RYOKAN_INSTANCE=claw", "RYOKAN_ZONE=its own"] {
        assert!(out.lines().any(|l| l == line), "{line} in {out}");
    }
    assert!(!out.contains("a.example"), "{out}");
    // A user's Podman cannot say, and then agents must not be told something that is not so.
    let info = h.runtime.info().await.unwrap();
    let told = out.lines().any(|l| l.starts_with(PROXY));
    assert_eq!(told, !(info.rootless && info.engine == "podman"), "{out}");

    workload.facts.insert("RYOKAN_INSTANCE".to_owned(), "another".to_owned());
    assert_eq!(h.runtime.ensure(&workload).await.unwrap(), first);
    // Its disk is worth more than the news.
    h.write(workload.instance, "/its-own", "kept").await;
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    assert_eq!(h.runtime.ensure(&workload).await.unwrap().engine_id, first.engine_id);
    assert_eq!(h.read(workload.instance, "/its-own").await.unwrap(), "kept");
}

pub async fn facts_name_the_address_that_the_gateway_comes_from(h: &Harness) {
    let serve = format!("{} serve & exec tail -f /dev/null", h.agent);
    let mut workload = h.script(&serve).await;
    workload.spec.ports = h.workload(&["serve"]).await.spec.ports;
    h.runtime.ensure(&workload).await.unwrap();
    h.answers(&workload, "http").await;
    // A connection that is held open is seen by its other end.
    let _open = h.runtime.dial(workload.instance.into(), "http").await.unwrap();
    let proxy = h.sh(workload.instance, &format!("echo ${PROXY}")).await;
    let peers = h.sh(workload.instance, "netstat -tn").await;
    assert!(peers.contains(&format!("{proxy}:")), "{proxy} in {peers}");
}

pub async fn facts_that_changed_reach_a_container_with_nothing_to_lose(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.security.read_only_root = true;
    workload.spec.volumes = vec![volume("data", "/data")];
    workload.facts = [("RYOKAN_ZONE".to_owned(), "one.example".to_owned())].into();
    let first = h.runtime.ensure(&workload).await.unwrap();
    h.write(workload.instance, "/data/kept", "on the volume").await;
    workload.facts.insert("RYOKAN_ZONE".to_owned(), "two.example".to_owned());
    assert_eq!(h.runtime.ensure(&workload).await.unwrap(), first, "it runs: leave it");

    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    let second = h.runtime.ensure(&workload).await.unwrap();
    assert_ne!(second.engine_id, first.engine_id);
    let (_, out, _) = h.run(workload.instance, &[&h.agent, "env"]).await;
    assert!(out.lines().any(|l| l == "RYOKAN_ZONE=two.example"), "{out}");
    assert_eq!(h.read(workload.instance, "/data/kept").await.unwrap(), "on the volume");

    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    assert_eq!(h.runtime.ensure(&workload).await.unwrap().engine_id, second.engine_id, "no news");
}

pub async fn files_are_seeded_once_and_managed_always(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.volumes = vec![volume("data", "/data")];
    workload.spec.files = vec![
        file("/data/deep/er/seed", "first seed", "0644", FileOwnership::Seed),
        file("/data/managed", "first managed", "0640", FileOwnership::Managed),
        file("/etc/on-root", "root", "0600", FileOwnership::Seed),
    ];
    h.runtime.ensure(&workload).await.unwrap();
    let instance = workload.instance;
    assert_eq!(h.read(instance, "/data/deep/er/seed").await.unwrap(), "first seed");
    assert_eq!(h.read(instance, "/data/managed").await.unwrap(), "first managed");
    assert_eq!(h.read(instance, "/etc/on-root").await.unwrap(), "root");
    let modes = h.runtime.list_files(instance.into(), "/data/managed").await.unwrap();
    assert_eq!(modes[0].mode, 0o640);

    h.write(instance, "/data/deep/er/seed", "the agent's own").await;
    h.write(instance, "/data/managed", "meddled with").await;
    h.runtime.stop(instance, Duration::from_secs(5)).await.unwrap();
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(h.read(instance, "/data/deep/er/seed").await.unwrap(), "the agent's own");
    assert_eq!(h.read(instance, "/data/managed").await.unwrap(), "first managed");

    let mut workload = super::next(&workload);
    "second seed".clone_into(&mut workload.spec.files[0].content);
    "second managed".clone_into(&mut workload.spec.files[1].content);
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(h.read(instance, "/data/deep/er/seed").await.unwrap(), "the agent's own");
    assert_eq!(h.read(instance, "/data/managed").await.unwrap(), "second managed");
}

pub async fn files_and_fresh_volumes_belong_to_the_user(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.security.user = Some("1000:1001".to_owned());
    workload.spec.volumes = vec![volume("data", "/data"), volume("deep", "/var/lib/some/where")];
    workload.spec.files = vec![file("/data/conf/a.toml", "x = 1", "0640", FileOwnership::Managed)];
    h.runtime.ensure(&workload).await.unwrap();
    let instance = workload.instance;
    h.sh(instance, "echo 1 > /data/x; echo 1 > /var/lib/some/where/x; echo 'x = 2' > /data/conf/a.toml")
        .await;
    assert_eq!(h.sh(instance, "stat -c '%u:%g %a' /data/conf/a.toml").await, "1000:1001 640");
    assert_eq!(h.sh(instance, "stat -c '%u:%g' /data/conf").await, "1000:1001");
    h.write(instance, "/data/sent", "by us").await;
    h.sh(instance, "echo by the agent > /data/sent").await;
    // Another generation finds them as they are.
    h.runtime.ensure(&super::next(&workload)).await.unwrap();
    h.sh(instance, "test -f /data/x && echo 2 > /data/x").await;
}

pub async fn config_on_a_read_only_root_is_refused_by_its_field(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.security.read_only_root = true;
    workload.spec.volumes = vec![volume("data", "/data")];
    workload.spec.files = vec![
        file("/data/fine", "x", "0644", FileOwnership::Seed),
        file("/etc/conf", "x", "0644", FileOwnership::Seed),
    ];
    match h.runtime.ensure(&workload).await {
        Err(RuntimeError::Refused { field, reason }) => {
            assert_eq!(field, "files[1].path");
            assert!(reason.contains("read-only"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    workload.spec.files.pop();
    workload.generation += 1;
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(h.read(workload.instance, "/data/fine").await.unwrap(), "x");
}
