//! Ways out of a sandbox, each tried from inside. For each there is a control: the same attempt succeeds from where our
//! rules are not (an ordinary container of the same engine, or this machine), so that a way that is closed by accident
//! or by a mistake of the test is told from one that is closed by us. Each says which layer stops it; where that is a
//! rule, its counter must have grown.
//!
//! The world outside is a network namespace with addresses that look public, private and a cloud's; needs root.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions, StartContainerOptions};
use futures_util::FutureExt as _;
use ryokan_adapters::docker::Options;
use ryokan_model::image::ImageRef;
use ryokan_model::spec::EgressProfile;
use ryokan_ports::conformance::{self, Harness};
use ryokan_ports::edge::Reason;
use support::Stage;

/// Public by all registries, and used by nobody on the internet.
const PUBLIC: &str = "25.25.25.25";
const PRIVATE: &str = "10.255.77.7";
const SHARED: &str = "100.127.77.7";
const METADATA: &str = "169.254.169.254";
/// Listens on all addresses of this machine, as a service of it may.
const SERVICE: u16 = 23751;
const DOOR: u16 = 23752;
const FUNCTIONS: &str = r#"
t() { timeout 4 nc -w 2 "$1" "$2" </dev/null 2>/dev/null | grep -q outside; }
u() { timeout 3 nslookup "$2.x" "$1" >/dev/null 2>&1; false; }
"#;

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// A rule for what goes through this machine, or to it.
    Rule(Reason),
    /// The container may not.
    Capability,
    /// No such address or interface inside.
    Address,
    /// Our name server, or the engine's, which asks nobody else.
    Resolver,
}

/// Where the same attempt succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Ordinary,
    Host,
    /// A container that may do more.
    Privileged,
    /// In the other tenant's own network.
    Sibling,
}

struct Attempt {
    name: String,
    /// Succeeds if it got out.
    script: String,
    control: Control,
    layer: Layer,
}

fn run(words: &str) -> String {
    let mut words = words.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What was received outside.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    fn has(&self, text: &str) -> bool {
        self.0.lock().unwrap().windows(text.len()).any(|w| w == text.as_bytes())
    }

    /// Says `outside` to whoever connects.
    fn greet(listener: TcpListener) {
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"outside\n");
            }
        });
    }

    fn note(&self, socket: UdpSocket) {
        let seen = self.clone();
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while let Ok((length, _)) = socket.recv_from(&mut datagram) {
                seen.0.lock().unwrap().extend(&datagram[..length]);
            }
        });
    }
}

/// Everything outside, which goes when this is dropped.
struct World {
    name: String,
    seen: Seen,
}

impl World {
    fn new() -> Self {
        let name = format!("ryke{}", std::process::id());
        let world = Self { name: name.clone(), seen: Seen::default() };
        run(&format!("ip netns add {name}"));
        run(&format!("ip link add {name}h type veth peer name {name}n"));
        run(&format!("ip link set {name}n netns {name}"));
        run(&format!("ip addr add 10.255.77.1/30 dev {name}h"));
        run(&format!("ip link set {name}h up"));
        run(&format!("ip -n {name} addr add 10.255.77.2/30 dev {name}n"));
        run(&format!("ip -n {name} link set {name}n up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} route add default via 10.255.77.1"));
        for address in [PUBLIC, PRIVATE, SHARED, METADATA] {
            run(&format!("ip -n {name} addr add {address}/32 dev lo"));
            run(&format!("ip route add {address}/32 via 10.255.77.2"));
        }
        let (there, seen) = (name, world.seen.clone());
        let inside = std::thread::spawn(move || {
            let namespace = std::fs::File::open(format!("/run/netns/{there}")).unwrap();
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            for port in [22, 53, 80, 443, 8443] {
                Seen::greet(TcpListener::bind(("0.0.0.0", port)).unwrap());
            }
            for port in [53, 123, 443] {
                seen.note(UdpSocket::bind(("0.0.0.0", port)).unwrap());
            }
        });
        inside.join().unwrap();
        Seen::greet(TcpListener::bind(("0.0.0.0", SERVICE)).unwrap());
        Seen::greet(TcpListener::bind(("0.0.0.0", DOOR)).unwrap());
        world.seen.note(UdpSocket::bind(("0.0.0.0", SERVICE)).unwrap());
        world
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for address in [PUBLIC, PRIVATE, SHARED, METADATA] {
            let _ = Command::new("ip").args(["route", "del", &format!("{address}/32")]).output();
        }
        let _ = Command::new("ip").args(["link", "del", &format!("{}h", self.name)]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A container that the engine's user made without us, in the engine's own network.
async fn ordinary(stage: &Stage, image: &ImageRef, capable: bool) -> String {
    let body = ContainerCreateBody {
        image: Some(image.to_string()),
        entrypoint: Some(["sleep", "600"].map(str::to_owned).to_vec()),
        host_config: Some(HostConfig {
            cap_add: capable.then(|| vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let made = stage.docker.create_container(None::<CreateContainerOptions>, body).await.unwrap();
    stage.docker.start_container(&made.id, None::<StartContainerOptions>).await.unwrap();
    made.id
}

/// Whether a script succeeds in a container of the engine's, by its process's namespaces.
async fn succeeds_in(stage: &Stage, container: &str, script: &str) -> bool {
    let options = bollard::exec::CreateExecOptions {
        cmd: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        ..Default::default()
    };
    let exec = stage.docker.create_exec(container, options).await.unwrap().id;
    let detached = bollard::exec::StartExecOptions { detach: true, ..Default::default() };
    stage.docker.start_exec(&exec, Some(detached)).await.unwrap();
    loop {
        let seen = stage.docker.inspect_exec(&exec).await.unwrap();
        if seen.running != Some(true)
            && let Some(code) = seen.exit_code
        {
            return code == 0;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a script succeeds on this machine, with the same tools.
async fn succeeds_here(script: &str) -> bool {
    let tools = script.replace("timeout ", "busybox timeout ").replace("nc -", "busybox nc -");
    let tools = tools.replace("nslookup ", "busybox nslookup ").replace("ping ", "busybox ping ");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &tools]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.unwrap().success()
}

/// Of all projects: what is on its way to another tenant is counted where it is turned away, at that one's network.
async fn counted(h: &Harness, reason: Reason) -> u64 {
    let drops = h.runtime.drops().await.unwrap();
    drops.iter().filter(|d| d.reason == reason).map(|d| d.packets).sum()
}

fn attempt(name: &str, script: impl Into<String>, control: Control, layer: Layer) -> Attempt {
    Attempt { name: name.to_owned(), script: format!("{FUNCTIONS}\n{}", script.into()), control, layer }
}

/// An IPv4 address in a form that filters by text overlook.
fn disguised(address: &str) -> [(&'static str, String); 4] {
    let octets: Vec<u32> = address.split('.').map(|o| o.parse().unwrap()).collect();
    let number = octets.iter().fold(0, |sum, octet| sum << 8 | octet);
    let mut octal = String::new();
    for octet in &octets {
        write!(octal, "{}0{octet:o}", if octal.is_empty() { "" } else { "." }).unwrap();
    }
    [
        ("decimal", number.to_string()),
        ("octal", octal),
        ("hex", format!("{number:#010x}")),
        ("mapped into IPv6", format!("::ffff:{address}")),
    ]
}

/// What is around the instance that tries to get out.
struct Around {
    /// This machine in the instance's closed network.
    gateway: String,
    /// This machine in another tenant's.
    other_gateway: String,
    /// Another tenant's instance.
    stranger: String,
    stranger_name: String,
    /// This machine in the engine's own network.
    engine: String,
}

/// Ways that are closed in either profile.
fn common(around: &Around) -> Vec<Attempt> {
    use Control::{Host, Ordinary, Privileged};
    use Layer::{Address, Capability, Resolver, Rule};
    let Around { gateway, other_gateway, stranger, stranger_name, engine } = around;
    let host = Rule(Reason::Host);
    let (private, metadata) = (Rule(Reason::Private), Rule(Reason::Metadata));
    let service = |address: &str| format!("t {address} {SERVICE}");
    let tell = |address: &str| format!("u {address}:{SERVICE} TOKEN");
    let name = |name: &str| format!("nslookup {name} | grep -q {stranger}");
    let mut all = vec![
        attempt("a service of this machine at our bridge", service(gateway), Ordinary, host),
        attempt("the same by UDP", tell(gateway), Ordinary, host),
        attempt("a service of this machine at the engine's bridge", service(engine), Ordinary, host),
        attempt("the same by UDP, at the engine's bridge", tell(engine), Ordinary, host),
        attempt("at its address to the world", service("10.255.77.1"), Ordinary, host),
        attempt("at another tenant's bridge", service(other_gateway), Ordinary, host),
        attempt("another tenant's door", format!("t {other_gateway} {DOOR}"), Ordinary, host),
        attempt("metadata of a cloud", format!("t {METADATA} 80"), Ordinary, metadata),
        attempt("metadata of a cloud, TLS", format!("t {METADATA} 443"), Ordinary, metadata),
        attempt("a private address", format!("t {PRIVATE} 80"), Ordinary, private),
        attempt("an address that providers share", format!("t {SHARED} 443"), Ordinary, private),
        attempt(
            "another tenant by address",
            format!(r"printf 'GET / HTTP/1.0\r\n\r\n' | timeout 4 nc -w 2 {stranger} 3000 | grep -q hello"),
            Host,
            private,
        ),
        attempt("another tenant by name", name(stranger_name), Control::Sibling, Resolver),
        attempt(
            "another tenant by full name",
            name(&format!("{stranger_name}.internal")),
            Control::Sibling,
            Resolver,
        ),
        attempt(
            "this machine by ping",
            format!("timeout 4 ping -c 1 -W 2 {gateway}"),
            Privileged,
            Capability,
        ),
        attempt("the world by ping", format!("timeout 4 ping -c 1 -W 2 {PUBLIC}"), Privileged, Capability),
        attempt("another port of the world", format!("t {PUBLIC} 22"), Ordinary, Rule(Reason::Port)),
        attempt("one more port of the world", format!("t {PUBLIC} 8443"), Ordinary, Rule(Reason::Port)),
        attempt("the world's clock", format!("u {PUBLIC}:123 TOKEN"), Ordinary, Rule(Reason::Port)),
        attempt("QUIC", format!("u {PUBLIC}:443 TOKEN"), Ordinary, Rule(Reason::Port)),
        attempt("a route of its own", "ip route add 25.0.0.0/8 dev eth0", Privileged, Capability),
        attempt(
            "an address of its own",
            format!("ip addr add {stranger}/32 dev eth0"),
            Privileged,
            Capability,
        ),
        attempt("an interface of its own making", "ip link set eth0 mtu 1400", Privileged, Capability),
        attempt(
            "a raw socket",
            "arping -c 1 -w 1 -I eth0 192.0.2.9 2>&1 | grep -q Sent",
            Privileged,
            Capability,
        ),
        attempt(
            "the engine's socket",
            "test -S /var/run/docker.sock || test -S /run/podman/podman.sock",
            Host,
            Address,
        ),
    ];
    for (form, address) in disguised(gateway) {
        all.push(attempt(&format!("this machine, {form}"), service(&address), Ordinary, host));
    }
    for (form, address) in disguised(METADATA) {
        all.push(attempt(&format!("metadata, {form}"), format!("t {address} 80"), Ordinary, metadata));
    }
    all
}

/// Ways that `ports` leaves open, and `proxy` and `none` close.
fn web() -> Vec<Attempt> {
    let rule = Layer::Rule;
    let mut all = vec![
        attempt("HTTP to the world", format!("t {PUBLIC} 80"), Control::Ordinary, rule(Reason::Port)),
        attempt("TLS to the world", format!("t {PUBLIC} 443"), Control::Ordinary, rule(Reason::Port)),
        attempt("names by TCP", format!("t {PUBLIC} 53"), Control::Ordinary, rule(Reason::Dns)),
        attempt("names by UDP", format!("u {PUBLIC}:53 TOKEN"), Control::Ordinary, rule(Reason::Dns)),
    ];
    for (form, address) in disguised(PUBLIC) {
        all.push(attempt(
            &format!("the world, {form}"),
            format!("t {address} 443"),
            Control::Ordinary,
            rule(Reason::Port),
        ));
    }
    all
}

/// One world, one stage, all attempts of one profile.
#[expect(clippy::print_stdout, reason = "a test's word to whoever runs it")]
async fn try_all(docker: bollard::Docker, world: &World, profile: EgressProfile) {
    let stage = Stage::new(docker);
    let mut options: Options = stage.options();
    options.firewall.door = Some(DOOR);
    let harness = stage.harness(options).await;
    let image = harness.image.clone();
    let containers = [ordinary(&stage, &image, false).await, ordinary(&stage, &image, true).await];
    let tried = conformance::run(harness, async |h: &Harness| {
        let mut workload = h.workload(&["sleep", "600"]).await;
        workload.spec.egress = profile;
        let inmate = h.runtime.ensure(&workload).await.unwrap();
        let mut stranger = h.workload(&["serve"]).await;
        stranger.project = h.project();
        let seen = h.runtime.ensure(&stranger).await.unwrap();
        let mut sibling = h.workload(&["sleep", "600"]).await;
        sibling.project = stranger.project;
        let beside = h.runtime.ensure(&sibling).await.unwrap();
        h.answers(&stranger, "http").await;
        let networks = h.runtime.networks().await.unwrap();
        let gateway = |project| {
            let network = networks.iter().find(|n| n.project == project).unwrap();
            network.host.unwrap().to_string()
        };
        let engine = stage.docker.inspect_container(&containers[0], None).await.unwrap();
        let engine =
            engine.network_settings.unwrap().networks.unwrap().into_values().next().unwrap().gateway.unwrap();
        let around = Around {
            gateway: gateway(workload.project),
            other_gateway: gateway(stranger.project),
            stranger: seen.addresses[0].to_string(),
            stranger_name: stranger.name.to_string(),
            engine,
        };
        let mut wrong = Vec::new();
        let open = if profile == EgressProfile::Ports { web() } else { Vec::new() };
        for (index, attempt) in open.iter().enumerate() {
            if !got_out(&stage, world, &inmate.engine_id, attempt, &format!("open{index}z")).await {
                wrong.push(format!("{}: is closed, and `ports` promises it", attempt.name));
            }
        }
        let mut closed = common(&around);
        if profile != EgressProfile::Ports {
            closed.extend(web());
        }
        for (index, attempt) in closed.iter().enumerate() {
            let before = match attempt.layer {
                Layer::Rule(reason) => counted(h, reason).await,
                _ => 0,
            };
            if got_out(&stage, world, &inmate.engine_id, attempt, &format!("in{index}z")).await {
                wrong.push(format!("{}: got out", attempt.name));
            }
            if let Layer::Rule(reason) = attempt.layer
                && counted(h, reason).await <= before
            {
                wrong.push(format!("{}: not counted as {}", attempt.name, reason.as_str()));
            }
            let token = format!("out{index}z");
            let controlled = match attempt.control {
                Control::Ordinary => got_out(&stage, world, &containers[0], attempt, &token).await,
                Control::Privileged => got_out(&stage, world, &containers[1], attempt, &token).await,
                Control::Sibling => got_out(&stage, world, &beside.engine_id, attempt, &token).await,
                Control::Host => succeeds_here(&attempt.script).await,
            };
            if !controlled {
                wrong.push(format!("{}: the control fails too, so this shows nothing", attempt.name));
            }
            println!("{}: {:?}", attempt.name, attempt.layer);
        }
        println!("{} ways tried", closed.len());
        assert!(closed.len() >= 30 && wrong.is_empty(), "{}", wrong.join("\n"));
    });
    let outcome = AssertUnwindSafe(tried).catch_unwind().await;
    for container in containers {
        let options = RemoveContainerOptions { force: true, ..RemoveContainerOptions::default() };
        stage.docker.remove_container(&container, Some(options)).await.unwrap();
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// By its own account, or by what was received.
async fn got_out(stage: &Stage, world: &World, container: &str, attempt: &Attempt, token: &str) -> bool {
    let script = attempt.script.replace("TOKEN", token);
    succeeds_in(stage, container, &script).await || world.seen.has(token)
}

/// One after the other: there is one world.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_out_but_what_its_profile_says() {
    let Some(docker) = support::engine().await else { return };
    if !rustix::process::geteuid().is_root() {
        support::skip("the world outside takes root");
        return;
    }
    let world = World::new();
    try_all(docker.clone(), &world, EgressProfile::Proxy).await;
    try_all(docker, &world, EgressProfile::Ports).await;
}
