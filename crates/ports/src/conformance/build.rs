//! What every builder must do. `real` cases need an image with a shell and small tools.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{DeploymentId, Millis, ProjectId};

use crate::build::{BuildError, BuildLimits, BuildRequest, Built, Forgotten, ImageBuilder};
use crate::runtime::Image;

/// A builder, an image to begin from, and an empty folder.
pub struct Workshop<'a> {
    pub builder: &'a dyn ImageBuilder,
    pub base: ImageRef,
    pub context: PathBuf,
    /// A name of this test's own.
    pub tag: ImageRef,
}

impl Workshop<'_> {
    fn request(&self, dockerfile: &str) -> BuildRequest {
        BuildRequest {
            deployment: DeploymentId::from_parts(Millis(1), [3; 10]),
            project: ProjectId::from_parts(Millis(1), [4; 10]),
            tag: self.tag.clone(),
            context: self.context.clone(),
            dockerfile: format!("FROM {}\n{dockerfile}", self.base),
            limits: BuildLimits {
                time: Duration::from_mins(1),
                memory: Bytes::mebi(256),
                cpus: Cpus::from_millis(1000),
                disk: Bytes::mebi(64),
                log_bytes: 64 * 1024,
                network: "none".into(),
            },
        }
    }

    async fn build(&self, request: &BuildRequest) -> (Result<Image, BuildError>, Vec<String>) {
        let lines = Mutex::new(Vec::new());
        let outcome = self.builder.build(request, &|line| lines.lock().unwrap().push(line)).await;
        (outcome, lines.into_inner().unwrap())
    }

    async fn named(&self) -> Option<Built> {
        let built = self.builder.built().await.unwrap();
        built.into_iter().find(|built| built.tag.as_ref() == Some(&self.tag))
    }

    /// Nothing of what was built stays.
    async fn clear(&self) {
        for built in self.builder.built().await.unwrap() {
            assert_eq!(self.builder.forget(&built).await.unwrap(), Forgotten::Gone, "{built:?}");
        }
        assert_eq!(self.builder.built().await.unwrap(), []);
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.context.join(name), content).unwrap();
    }
}

/// Portable.
pub async fn builds_make_a_named_image_as_often_as_asked(shop: &Workshop<'_>) {
    shop.put("a", "x");
    let request = shop.request("COPY [\"a\", \"/a\"]\n");
    let (first, lines) = shop.build(&request).await;
    let first = first.unwrap();
    assert!(!first.id.is_empty() && lines.iter().any(|l| l.contains("COPY")), "{lines:?}");
    assert_eq!(shop.build(&request).await.0.unwrap().id, first.id, "nothing changed");
    let built = shop.named().await.unwrap();
    assert_eq!((&built.id, built.project), (&first.id, request.project));
    for _ in 0..2 {
        assert_eq!(shop.builder.forget(&built).await.unwrap(), Forgotten::Gone);
    }
    assert_eq!(shop.named().await, None);
    shop.clear().await;
}

/// Real.
pub async fn builds_that_fail_say_why(shop: &Workshop<'_>) {
    let (outcome, lines) =
        shop.build(&shop.request("RUN [\"sh\", \"-c\", \"echo what happened; exit 7\"]\n")).await;
    assert!(matches!(&outcome, Err(BuildError::Failed(why)) if why.contains('7')), "{outcome:?}");
    assert!(lines.iter().any(|l| l == "what happened"), "{lines:?}");
    let (outcome, _) = shop.build(&shop.request("NONSENSE\n")).await;
    assert!(
        matches!(&outcome, Err(BuildError::Failed(why)) if why.to_lowercase().contains("nonsense")),
        "{outcome:?}"
    );
    // What came before the failure has no name, and is found all the same.
    let (outcome, _) = shop.build(&shop.request("COPY [\".\", \"/x/\"]\nRUN [\"false\"]\n")).await;
    assert!(outcome.is_err());
    let left = shop.builder.built().await.unwrap();
    assert!(!left.is_empty() && left.iter().all(|built| built.tag.is_none()), "{left:?}");
    shop.clear().await;
}

/// Real.
pub async fn builds_are_held_to_their_limits(shop: &Workshop<'_>) {
    let probe = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; \
                 echo links: $(ls /sys/class/net)";
    let (outcome, lines) = shop.build(&shop.request(&format!("RUN {probe}\n"))).await;
    outcome.unwrap();
    assert!(lines.iter().any(|l| l == &Bytes::mebi(256).get().to_string()), "{lines:?}");
    assert!(lines.iter().any(|l| l == "links: lo"), "no network: {lines:?}");
    shop.clear().await;
    let mut request = shop.request("RUN [\"sleep\", \"100\"]\n");
    request.limits.time = Duration::from_secs(3);
    let begun = tokio::time::Instant::now();
    let (outcome, _) = shop.build(&request).await;
    assert!(matches!(outcome, Err(BuildError::TooLong(_))), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut request = shop.request("RUN [\"sh\", \"-c\", \"seq 1 100000\"]\n");
    request.limits.log_bytes = 5_000;
    let (outcome, lines) = shop.build(&request).await;
    outcome.unwrap();
    assert!(lines.iter().map(String::len).sum::<usize>() < 6_000, "{}", lines.len());
    assert!(lines.last().unwrap().contains("more than is kept"), "{:?}", lines.last());
    shop.clear().await;
}

/// Real. Also what is spread over steps and stages, what steps that are over in no time write, and what is written to a
/// volume, which the image never has.
pub async fn builds_that_fill_the_disk_are_ended(shop: &Workshop<'_>) {
    let write = |mebi: u32, path: &str| format!("dd if=/dev/zero of={path} bs=1048576 count={mebi}");
    for (dockerfile, what) in [
        (format!("RUN {} && sleep 100\n", write(100, "/x")), "one step"),
        (format!("RUN {}\nRUN {} && sleep 100\n", write(40, "/x"), write(40, "/y")), "two steps"),
        (format!("RUN {}\n", write(100, "/x")), "one that ends by itself"),
        (
            format!(
                "RUN {}\nFROM {} AS two\nRUN {} && sleep 100\n",
                write(40, "/x"),
                shop.base,
                write(40, "/y")
            ),
            "two stages",
        ),
        (format!("VOLUME /v\nRUN {} && sleep 100\n", write(100, "/v/x")), "a volume"),
    ] {
        let begun = tokio::time::Instant::now();
        let (outcome, lines) = shop.build(&shop.request(&dockerfile)).await;
        assert!(
            matches!(&outcome, Err(BuildError::TooLarge(limit)) if *limit == Bytes::mebi(64)),
            "{what}: {outcome:?} {lines:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(40), "{what} took {:?}", begun.elapsed());
        // What the engine finished in the very moment of the end has no name, and goes as all such layers do.
        let left = shop.builder.built().await.unwrap();
        assert!(left.len() <= 1 && left.iter().all(|built| built.tag.is_none()), "{what} leaves {left:?}");
        shop.clear().await;
    }
    let words = BuildError::TooLarge(Bytes::mebi(64)).to_string();
    assert!(words.contains("64Mi") && words.contains("`build.disk`"), "{words}");
    // What is not too much is not ended.
    let (outcome, _) = shop.build(&shop.request(&format!("RUN {} && sleep 2\n", write(40, "/x")))).await;
    outcome.unwrap();
    shop.clear().await;
}

/// Real.
pub async fn builds_send_links_as_links(shop: &Workshop<'_>) {
    std::os::unix::fs::symlink(Path::new("/etc/hostname"), shop.context.join("l")).unwrap();
    let (outcome, lines) =
        shop.build(&shop.request("COPY [\".\", \"/ctx/\"]\nRUN [\"readlink\", \"/ctx/l\"]\n")).await;
    outcome.unwrap();
    assert!(lines.iter().any(|l| l == "/etc/hostname"), "{lines:?}");
    shop.clear().await;
}
