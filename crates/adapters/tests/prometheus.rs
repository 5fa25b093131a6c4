//! Metering by a genuine Prometheus: it scrapes a page of this test's own, which says what cAdvisor would say of a genuine
//! container, with the times at which it was counted.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests; they poll with a deadline")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ryokan_adapters::docker::Docker;
use ryokan_adapters::prometheus::{Options, PrometheusUsage};
use ryokan_model::InstanceId;
use ryokan_ports::UsageSource as _;
use ryokan_ports::conformance::{self, Harness};
use ryokan_ports::usage::Reading;
use support::Stage;

/// What is scraped.
#[derive(Clone)]
struct Page {
    text: Arc<Mutex<String>>,
    port: u16,
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Page {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let page = Self { text: Arc::default(), port: listener.local_addr().unwrap().port() };
        let text = page.text.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let text = text.lock().unwrap().clone();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
            }
        });
        page
    }

    /// As cAdvisor has it, counted at `at`.
    fn say(&self, container: &str, cpu: f64, memory: u64, received: u64, sent: u64, at: i64) {
        let id =
            format!("id=\"/system.slice/docker-{container}.scope\",container_label_ryokan_instance=\"x\"");
        *self.text.lock().unwrap() = format!(
            "container_cpu_usage_seconds_total{{{id},cpu=\"total\"}} {cpu} {at}\n\
             container_cpu_usage_seconds_total{{id=\"/\",cpu=\"total\"}} 99 {at}\n\
             container_memory_working_set_bytes{{{id}}} {memory} {at}\n\
             container_network_receive_bytes_total{{{id},interface=\"eth0\"}} {received} {at}\n\
             container_network_transmit_bytes_total{{{id},interface=\"eth0\"}} {sent} {at}\n"
        );
    }
}

/// Ended with the test.
struct Server {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None` where there is no Prometheus.
    fn start(page: &Page) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: cadvisor\n    static_configs:\n      - targets: [\"127.0.0.1:{}\"]\n",
            page.port
        );
        std::fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = started.ok()?;
        Some(Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn container_of(instance: InstanceId) -> String {
    let label = format!("label=ryokan.instance={instance}");
    let engine = format!("unix://{}", support::socket());
    let found = Command::new("docker")
        .args(["-H", &engine, "ps", "-q", "--no-trunc", "--filter", &label])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

fn readings_of(all: Vec<Reading>, instance: InstanceId) -> Vec<Reading> {
    all.into_iter().filter(|r| r.instance == instance && r.epoch != "volumes").collect()
}

/// Reads until a reading is as it is to be.
async fn until(
    source: &PrometheusUsage,
    instance: InstanceId,
    what: &str,
    is: impl Fn(&Reading) -> bool,
) -> Reading {
    let mut seen = Vec::new();
    for _ in 0..80 {
        seen = readings_of(source.read().await.unwrap(), instance);
        assert!(seen.len() <= 1, "{seen:?}");
        if let Some(found) = seen.iter().find(|r| is(r)) {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{what}: {seen:?}");
}

#[tokio::test]
async fn prometheus_counts_what_runs_and_nothing_else() {
    let Some(docker) = support::engine().await else { return };
    let page = Page::start();
    let Some(server) = Server::start(&page) else {
        return support::skip("no prometheus (`scripts/ensure-test-tools` gets it)");
    };
    let stage = Stage::new(docker);
    let (harness, docker) = (stage.harness(stage.options()).await, Docker::connect(stage.options()).unwrap());
    let url = server.url.clone();
    let server = Arc::new(Mutex::new(Some(server)));
    conformance::run(harness, async |h: &Harness| case(h, &docker, &page, &url, &server).await).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

async fn case(h: &Harness, docker: &Docker, page: &Page, url: &str, server: &Mutex<Option<Server>>) {
    let options = Options { apart: Duration::ZERO, ..Options::new(url.to_owned(), None) };
    let source = PrometheusUsage::new(docker.clone(), options).unwrap();
    let (workload, _) = h.up_script("while true; do sleep 1; done").await;
    let (id, container) = (workload.instance, container_of(workload.instance));
    page.say(&container, 1.5, 5_000_000, 100, 23, now());
    let first = until(&source, id, "it is counted", |r| r.cpu_nanos == 1_500_000_000).await;
    assert_eq!((first.memory_bytes, first.network_bytes, first.disk_bytes), (5_000_000, 123, 0));
    assert_eq!(first.project, workload.project);
    // The series is the one that the engine itself would tell of.
    let own = readings_of(docker.read().await.unwrap(), id);
    assert_eq!((&own[0].epoch, own[0].began), (&first.epoch, first.began));
    page.say(&container, 2.25, 6_000_000, 200, 46, now());
    let second = until(&source, id, "it goes on", |r| r.cpu_nanos == 2_250_000_000).await;
    assert_eq!((&second.epoch, second.network_bytes), (&first.epoch, 246));

    // Started again: what was counted before is not of the new run, until it is counted anew.
    h.runtime.stop(id, Duration::from_secs(1)).await.unwrap();
    assert_eq!(readings_of(source.read().await.unwrap(), id), []);
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(container_of(id), container, "the same container");
    assert_eq!(readings_of(source.read().await.unwrap(), id), []);
    page.say(&container, 0.5, 4_000_000, 7, 1, now());
    let again = until(&source, id, "it is counted again", |_| true).await;
    assert!(again.epoch != first.epoch && again.began > first.began, "{again:?}");
    assert_eq!((again.cpu_nanos, again.network_bytes), (500_000_000, 8));

    // Away: no reading, and no failure.
    drop(server.lock().unwrap().take());
    assert_eq!(readings_of(source.read().await.unwrap(), id), []);
}
