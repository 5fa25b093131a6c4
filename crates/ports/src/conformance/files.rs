//! Files in and out.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Harness, content};
use crate::runtime::{FileKind, RuntimeError};

fn refused<T: std::fmt::Debug>(outcome: Result<T, RuntimeError>) -> String {
    match outcome {
        Err(RuntimeError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

pub async fn files_come_back_as_they_were_written(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let instance = workload.instance;
    for size in [0, 1, 511, 512, 513, 100_000] {
        let text: String = ('a'..='z').cycle().take(size).collect();
        h.write(instance, "/folder/not/there/yet/file", &text).await;
        assert_eq!(h.read(instance, "/folder/not/there/yet/file").await.unwrap(), text, "{size}");
    }
    let name = format!("/tmp/{}é-{}", "n".repeat(120), "m".repeat(60));
    h.write(instance, &name, "long name").await;
    assert_eq!(h.read(instance, &name).await.unwrap(), "long name");
    h.runtime.write_file(instance.into(), "/tmp/script", 0o755, 2, content(b"hi")).await.unwrap();
    let listed = h.runtime.list_files(instance.into(), "/tmp/script").await.unwrap();
    assert_eq!((listed.len(), listed[0].mode, listed[0].size), (1, 0o755, 2));
    let missing = h.read(instance, "/tmp/missing").await;
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
    let missing = h.read(h.instance(), "/tmp/script").await;
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
}

pub async fn files_of_a_stopped_container(h: &Harness) {
    let (workload, _) = h.serving().await;
    h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
    h.write(workload.instance, "/notes/a", "while it sleeps").await;
    assert_eq!(h.read(workload.instance, "/notes/a").await.unwrap(), "while it sleeps");
    assert_eq!(h.runtime.list_files(workload.instance.into(), "/notes").await.unwrap().len(), 1);
}

pub async fn files_are_listed_by_name(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    for path in ["/here/b", "/here/a", "/here/sub/deep/x", "/here/c c"] {
        h.write(workload.instance, path, "12345").await;
    }
    for path in ["/here", "/here/", "//here/./"] {
        let listed = h.runtime.list_files(workload.instance.into(), path).await.unwrap();
        let short: Vec<_> = listed.iter().map(|f| (f.name.as_str(), f.kind, f.size)).collect();
        let (file, folder) = (FileKind::File, FileKind::Directory);
        assert_eq!(short, [("a", file, 5), ("b", file, 5), ("c c", file, 5), ("sub", folder, 0)]);
        assert!(listed.iter().all(|f| f.modified.0 >= 0 && f.link.is_none()));
    }
    let root = h.runtime.list_files(workload.instance.into(), "/").await.unwrap();
    assert!(root.iter().any(|f| f.name == "here" && f.kind == FileKind::Directory), "{root:?}");
    let missing = h.runtime.list_files(workload.instance.into(), "/nowhere").await;
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
}

pub async fn files_never_leave_the_container(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let instance = workload.instance;
    for path in ["", "relative", "../x", "/a/../../etc/shadow", "/..", "/a\0b"] {
        refused(h.runtime.list_files(instance.into(), path).await);
        refused(h.runtime.read_file(instance.into(), path).await.map(drop));
        refused(h.runtime.write_file(instance.into(), path, 0o644, 1, content(b"x")).await);
    }
    h.write(instance, "/folder/file", "x").await;
    refused(h.runtime.read_file(instance.into(), "/folder").await.map(drop));
    refused(h.runtime.write_file(instance.into(), "/folder", 0o644, 1, content(b"x")).await);
    refused(h.runtime.write_file(instance.into(), "/", 0o644, 1, content(b"x")).await);
    refused(h.runtime.write_file(instance.into(), "/folder/file/below", 0o644, 1, content(b"x")).await);
}

pub async fn files_that_end_early_or_late_keep_the_old_one(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let instance = workload.instance;
    h.write(instance, "/tmp/file", "the old one").await;
    refused(h.runtime.write_file(instance.into(), "/tmp/file", 0o644, 10, content(b"short")).await);
    refused(h.runtime.write_file(instance.into(), "/tmp/file", 0o644, 3, content(b"long one")).await);
    let broken = stream::iter([Ok(Bytes::from_static(b"some")), Err(std::io::ErrorKind::BrokenPipe.into())]);
    refused(h.runtime.write_file(instance.into(), "/tmp/file", 0o644, 8, Box::pin(broken)).await);
    refused(h.runtime.write_file(instance.into(), "/tmp/file", 0o644, 1 << 40, content(b"")).await);
    assert_eq!(h.read(instance, "/tmp/file").await.unwrap(), "the old one");
    h.write(instance, "/tmp/file", "new").await;
    assert_eq!(h.read(instance, "/tmp/file").await.unwrap(), "new");
}

pub async fn files_of_a_hundred_mebibytes(h: &Harness) {
    const CHUNK: usize = 256 * 1024;
    const COUNT: usize = 400;
    let mut workload = h.workload(&["sleep", "600"]).await;
    workload.spec.volumes = vec![super::volume("data", "/data")];
    h.runtime.ensure(&workload).await.unwrap();
    let piece = |index: usize| Bytes::from(vec![u8::try_from(index % 251).unwrap(); CHUNK]);
    let pieces = stream::iter(0..COUNT).map(move |index| Ok(piece(index)));
    let size = (CHUNK * COUNT) as u64;
    h.runtime.write_file(workload.instance.into(), "/data/big", 0o600, size, Box::pin(pieces)).await.unwrap();
    let (info, mut chunks) = h.runtime.read_file(workload.instance.into(), "/data/big").await.unwrap();
    assert_eq!(info.size, size);
    let mut at = 0;
    while let Some(chunk) = chunks.next().await {
        for byte in chunk.unwrap() {
            assert_eq!(usize::from(byte), at / CHUNK % 251);
            at += 1;
        }
    }
    assert_eq!(at as u64, size);
    // A listing passes over it.
    assert_eq!(h.runtime.list_files(workload.instance.into(), "/data").await.unwrap()[0].size, size);
}

pub async fn files_behind_links_stay_inside(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    let instance = workload.instance;
    // The container has an `/etc/shadow` of its own, and none of the host's names.
    h.sh(
        instance,
        "echo ours > /etc/shadow; ln -s /etc/shadow /root/link; ln -s ../../../../../../etc/shadow /tmp/up",
    )
    .await;
    h.sh(
        instance,
        "ln -s /root /tmp/folder; ln -s /proc/1/root /tmp/proc; ln -s /root/nowhere /tmp/dangling",
    )
    .await;
    h.sh(instance, "ln -s /tmp /root/tmp-link; ln /etc/shadow /tmp/hard").await;
    for path in ["/root/link", "/tmp/up", "/root/tmp-link/up"] {
        assert_eq!(h.read(instance, path).await.unwrap(), "ours\n", "{path}");
    }
    h.write(instance, "/root/link", "written through").await;
    assert_eq!(h.sh(instance, "cat /etc/shadow; test -L /root/link").await, "written through");
    h.write(instance, "/root/tmp-link/new", "behind a folder's link").await;
    assert_eq!(h.sh(instance, "cat /tmp/new").await, "behind a folder's link");
    // Refused, or the container's own; never the machine's.
    if let Ok(found) = h.read(instance, "/tmp/proc/etc/hostname").await {
        assert_eq!(found.trim(), h.sh(instance, "cat /etc/hostname").await);
    }
    let listed = h.runtime.list_files(instance.into(), "/root/tmp-link").await.unwrap();
    let up = listed.iter().find(|f| f.name == "up").unwrap();
    assert_eq!((up.kind, up.link.as_deref()), (FileKind::Symlink, Some("../../../../../../etc/shadow")));
    let hard = listed.iter().find(|f| f.name == "hard").unwrap();
    assert_eq!((hard.kind, hard.size), (FileKind::File, 5));
}

pub async fn files_behind_a_dangling_link_are_made(h: &Harness) {
    let (workload, _) = h.up(&["sleep", "600"]).await;
    h.sh(workload.instance, "ln -s /root/nowhere /tmp/dangling").await;
    h.write(workload.instance, "/tmp/dangling", "made").await;
    assert_eq!(h.sh(workload.instance, "cat /root/nowhere").await, "made");
}
