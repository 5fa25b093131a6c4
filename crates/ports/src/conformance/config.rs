//! What a workload is given: variables, secrets, files, volumes.

use std::time::Duration;

use ryokan_model::Secret;
use ryokan_model::spec::{ConfigFile, FileOwnership};

use super::{Harness, volume};
use crate::runtime::RuntimeError;

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
    let modes = h.runtime.list_files(instance, "/data/managed").await.unwrap();
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
