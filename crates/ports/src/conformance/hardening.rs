//! The fence, looked at from inside.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Harness, PATIENCE};

/// `/proc/self/status` of a fresh process.
async fn status(h: &Harness, instance: ryokan_model::InstanceId) -> BTreeMap<String, String> {
    let text = h.sh(instance, "cat /proc/1/status /proc/self/status").await;
    // Of process 1 first, then of ours: both must be the same in what we look at.
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in text.lines().filter_map(|l| l.split_once(':')) {
        all.entry(key.to_owned()).or_default().push(value.trim().to_owned());
    }
    all.into_iter().map(|(key, values)| (key, values.last().cloned().unwrap_or_default())).collect()
}

pub async fn containers_are_fenced_in(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.security.user = Some("1234:4321".to_owned());
    workload.spec.hostname = Some("fixed-name".to_owned());
    h.runtime.ensure(&workload).await.unwrap();
    let instance = workload.instance;
    let status = status(h, instance).await;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2");
    assert_eq!(status["Uid"].split_whitespace().next(), Some("1234"));
    assert_eq!(status["Gid"].split_whitespace().next(), Some("4321"));
    assert_eq!(h.sh(instance, "hostname").await, "fixed-name");
    assert_eq!(h.sh(instance, "id -u; id -g").await, "1234\n4321");

    let memory = h
        .sh(
            instance,
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
        )
        .await;
    assert_eq!(memory, workload.spec.resources.memory.get().to_string());
    let pids =
        h.sh(instance, "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max").await;
    assert_eq!(pids, "64");

    for socket in ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd"] {
        assert_ne!(h.run(instance, &["test", "-e", socket]).await.0, 0, "{socket}");
    }
    // Nothing of the host's: not its network, not its processes, no device to write to.
    assert_ne!(h.run(instance, &["test", "-e", "/sys/class/net/docker0"]).await.0, 0);
    assert!(h.sh(instance, "ls -d /proc/[0-9]* | wc -l").await.parse::<u32>().unwrap() < 10);
    assert_ne!(h.run(instance, &["sh", "-c", "mount -t tmpfs x /tmp"]).await.0, 0);
    assert_ne!(h.run(instance, &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]).await.0, 0);
    assert_ne!(h.run(instance, &["sh", "-c", "mknod /tmp/d b 8 0"]).await.0, 0);
}

pub async fn containers_without_a_writable_root(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.security.read_only_root = true;
    workload.spec.security.user = Some("1000:1000".to_owned());
    workload.spec.security.tmpfs = vec!["/tmp".to_owned(), "/run".to_owned()];
    workload.spec.volumes = vec![super::volume("data", "/data")];
    h.runtime.ensure(&workload).await.unwrap();
    for writable in ["/tmp/x", "/run/x", "/data/x"] {
        h.sh(workload.instance, &format!("echo 1 > {writable}")).await;
    }
    let (code, _, err) = h.run(workload.instance, &["sh", "-c", "echo 1 > /x"]).await;
    assert!(code != 0 && err.contains("ead-only"), "{err}");
    // Programs may be run from there.
    h.sh(workload.instance, "cp /bin/busybox /tmp/true && /tmp/true").await;
}

pub async fn containers_keep_declared_capabilities_only(h: &Harness) {
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.security.user = Some("0:0".to_owned());
    workload.spec.security.capabilities = ["CHOWN", "NET_BIND_SERVICE"].map(str::to_owned).into();
    h.runtime.ensure(&workload).await.unwrap();
    let status = status(h, workload.instance).await;
    // Bits 0 and 10.
    assert_eq!(status["CapBnd"], "0000000000000401");
    assert_eq!(status["CapEff"], "0000000000000401");
    // Podman lets nobody without DAC_OVERRIDE write into `/` itself.
    h.sh(workload.instance, "touch /root/x && chown 5:5 /root/x").await;
    assert_ne!(h.run(workload.instance, &["sh", "-c", "chroot / true"]).await.0, 0);
}

pub async fn containers_have_a_process_limit(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let script = "i=0; while [ $i -lt 100 ]; do sleep 2 & i=$((i+1)); done; wait";
    let (_, _, err) = h.run(workload.instance, &["sh", "-c", script]).await;
    assert!(err.contains("fork"), "a hundred processes were started under a limit of 64: {err}");
    // It was no more than that. Some engines end a command's output with the command, while its children go on.
    let again = async {
        while h.run(workload.instance, &["true"]).await.0 != 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("processes can be started again");
}
