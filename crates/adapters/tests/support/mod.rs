//! What tests on a real Docker engine need: an image made of nothing but busybox, two servers on the engine, and a
//! look at what they leave behind. Needs Debian's `busybox-static`; no registry.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    CreateImageOptions, ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions,
    RemoveContainerOptions,
};
use futures_util::TryStreamExt;
use ryokan_adapters::docker::{Docker, Options};
use ryokan_model::image::ImageRef;
use ryokan_model::spec::Security;
use ryokan_model::{InstanceId, ServerId};
use ryokan_ports::conformance::{Harness, Meddler, test_server};
use tokio::sync::OnceCell;

const BUSYBOX: &str = "/bin/busybox";
const AGENT: &str = include_str!("agent.sh");

/// The socket of the engine under test: `RYOKAN_TEST_ENGINE`, else Docker's own.
#[expect(clippy::disallowed_methods, reason = "how scripts/test-engines names an engine")]
pub(crate) fn socket() -> String {
    let named = std::env::var("RYOKAN_TEST_ENGINE").unwrap_or_else(|_| "/var/run/docker.sock".to_owned());
    named.trim_start_matches("unix://").to_owned()
}

/// What isolates the containers under test: `RYOKAN_TEST_ISOLATION`, else what needs no word.
#[expect(clippy::disallowed_methods, reason = "how scripts/test-engines names an isolation")]
pub(crate) fn isolation() -> String {
    std::env::var("RYOKAN_TEST_ISOLATION").unwrap_or_else(|_| Security::DEFAULT_ISOLATION.to_owned())
}

/// The engine, by a client of its own; `None`, with the reason said, when there is none.
pub(crate) async fn engine() -> Option<bollard::Docker> {
    let answer = async {
        let docker = bollard::Docker::connect_with_unix(&socket(), 120, bollard::API_DEFAULT_VERSION)
            .map_err(|e| e.to_string())?;
        let docker = docker.negotiate_version().await.map_err(|e| e.to_string())?;
        if Path::new(BUSYBOX).exists() {
            Ok(docker)
        } else {
            Err(format!("no {BUSYBOX}; install busybox-static"))
        }
    };
    match answer.await {
        Ok(docker) => Some(docker),
        Err(reason) => {
            skip(&reason);
            None
        }
    }
}

/// Says that a test cannot run here; fails where skips are refused.
#[expect(clippy::print_stdout, reason = "a test's word to whoever runs it")]
#[expect(clippy::disallowed_methods, reason = "how CI refuses skips")]
pub(crate) fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    assert!(std::env::var("RYOKAN_REFUSE_SKIPS").as_deref() != Ok("1"), "SKIPPED: {reason}");
}

/// The image of the suite's agent, made if need be.
pub(crate) async fn image(docker: &bollard::Docker) -> ImageRef {
    static IMAGE: OnceCell<ImageRef> = OnceCell::const_new();
    IMAGE.get_or_init(|| make_image(docker)).await.clone()
}

async fn make_image(docker: &bollard::Docker) -> ImageRef {
    let busybox = std::fs::read(BUSYBOX).unwrap();
    let mut hasher = DefaultHasher::new();
    (AGENT, &busybox, 2).hash(&mut hasher);
    let tag = format!("{:016x}", hasher.finish());
    let image: ImageRef = format!("ryokan-test/agent:{tag}").parse().unwrap();
    if docker.inspect_image(image.as_str()).await.is_ok() {
        return image;
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        tar.append_data(&mut header, path, content).unwrap();
    };
    for folder in ["bin/", "etc/", "root/", "www/", "www/3000/", "www/3000/cgi-bin/", "www/3001/"] {
        add(folder, 0o755, b"");
    }
    add("tmp/", 0o1777, b"");
    add("bin/busybox", 0o755, &busybox);
    add("bin/agent", 0o755, AGENT.as_bytes());
    add("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::/:/bin/sh\n");
    add("etc/group", 0o644, b"root:x:0:\nagent:x:1000:\n");
    for port in ["3000", "3001"] {
        add(&format!("www/{port}/index.html"), 0o644, format!("hello from {port}\n").as_bytes());
        add(&format!("www/{port}/health"), 0o644, b"ok\n");
    }
    add("www/3000/cgi-bin/slow", 0o755, b"#!/bin/sh\nexec sleep 100\n");
    let applets = std::process::Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|a| *a != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let root = tar.into_inner().unwrap();
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        // Podman overlooks `tag` here.
        repo: Some(image.to_string()),
        changes: vec![r#"ENTRYPOINT ["/bin/agent"]"#.to_owned()],
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(root.into());
    docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>().await.unwrap();
    image
}

/// An engine under test, and the ids under which it keeps things.
pub(crate) struct Stage {
    pub(crate) docker: bollard::Docker,
    servers: [ServerId; 2],
}

impl Stage {
    pub(crate) fn new(docker: bollard::Docker) -> Self {
        Self { docker, servers: [test_server(), test_server()] }
    }

    pub(crate) fn options(&self) -> Options {
        // What an engine cannot limit is for the cases that look at limits to say.
        Options { socket: Some(socket()), allow_unlimited: true, ..Options::new(self.servers[0]) }
    }

    pub(crate) async fn harness(&self, options: Options) -> Harness {
        let other = Options { server: self.servers[1], ..options.clone() };
        let other = Arc::new(Docker::connect(other).unwrap());
        let runtime = Arc::new(Docker::connect(options).unwrap());
        let image = image(&self.docker).await;
        let meddler = Arc::new(Hand { docker: self.docker.clone(), server: self.servers[0] });
        let mut harness = Harness::new(runtime, other, meddler, image, "/bin/agent");
        harness.isolation = isolation();
        harness
    }

    /// Everything that bears the label of one of the servers, whatever else it bears.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for server in self.servers {
            let filters =
                Some([("label".to_owned(), vec![format!("ryokan.server={server}")])].into_iter().collect());
            let options = ListContainersOptions {
                all: true,
                filters: filters.clone(),
                ..ListContainersOptions::default()
            };
            let containers = self.docker.list_containers(Some(options)).await.unwrap();
            left.extend(containers.into_iter().map(|c| format!("container {:?}", c.names)));
            let options = ListVolumesOptions { filters: filters.clone() };
            let volumes = self.docker.list_volumes(Some(options)).await.unwrap();
            left.extend(
                volumes.volumes.unwrap_or_default().into_iter().map(|v| format!("volume {}", v.name)),
            );
            let networks = self.docker.list_networks(Some(ListNetworksOptions { filters })).await.unwrap();
            left.extend(networks.into_iter().map(|n| format!("network {:?}", n.name)));
            left.extend(self.built(server).await);
        }
        left
    }
}

impl Stage {
    /// What builds for one of the servers left: containers and images.
    async fn built(&self, server: ServerId) -> Vec<String> {
        let label = format!("ryokan.build={server}");
        let filters = Some([("label".to_owned(), vec![label])].into_iter().collect());
        let options =
            ListContainersOptions { all: true, filters: filters.clone(), ..ListContainersOptions::default() };
        let containers = self.docker.list_containers(Some(options)).await.unwrap();
        let options = ListImagesOptions { filters, ..ListImagesOptions::default() };
        let images = self.docker.list_images(Some(options)).await.unwrap();
        let containers = containers.into_iter().map(|c| format!("container of a build {:?}", c.names));
        containers.chain(images.into_iter().map(|i| format!("image {:?} {}", i.repo_tags, i.id))).collect()
    }
}

/// An operator's hand.
struct Hand {
    docker: bollard::Docker,
    server: ServerId,
}

impl Hand {
    async fn containers(&self, instance: InstanceId) -> Vec<ContainerSummary> {
        let labels = vec![format!("ryokan.server={}", self.server), format!("ryokan.instance={instance}")];
        let filters = Some([("label".to_owned(), labels)].into_iter().collect());
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        self.docker.list_containers(Some(options)).await.unwrap()
    }
}

#[async_trait]
impl Meddler for Hand {
    async fn lose(&self, instance: InstanceId) {
        for container in self.containers(instance).await {
            let options = RemoveContainerOptions { force: true, ..RemoveContainerOptions::default() };
            self.docker.remove_container(&container.id.unwrap(), Some(options)).await.unwrap();
        }
    }

    async fn mentions(&self, instance: InstanceId, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for container in self.containers(instance).await {
            let mut inspected =
                self.docker.inspect_container(container.id.as_ref().unwrap(), None).await.unwrap();
            if let Some(config) = &mut inspected.config {
                config.env = None;
            }
            found.extend(
                [format!("{container:?}"), format!("{inspected:?}")].into_iter().filter(|s| s.contains(text)),
            );
        }
        found
    }
}
