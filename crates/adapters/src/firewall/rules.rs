//! The rules themselves, as commands of nft's JSON. Pure. Chains and rules are the same for all bridges; bridges are
//! elements of sets, and of one map for each reason that leads to the bridge's own counter.
//!
//! Ours come before the engine's (priority 0), so that what we drop is dropped whatever the engine would allow; what we
//! accept is still the engine's and the administrator's to drop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ryokan_ports::edge::Reason;
use serde_json::{Value, json};

use super::{Bridge, Kind, Settings};

const PRIORITY: i32 = -10;
/// Of destinations that are changed, before the engine's (-100).
const BEFORE_DNAT: i32 = -110;
/// Addresses that are not the public internet's (RFC 6890 and the registries that it began).
const NOT_PUBLIC_4: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    // Multicast, reserved, broadcast.
    "224.0.0.0/3",
];
/// Public ones are in `2000::/3` and not in any of these: what holds an IPv4 address or leads to one (6to4, Teredo), and
/// what is for documentation or benchmarks.
const PUBLIC_6: &str = "2000::/3";
const NOT_PUBLIC_6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];
const METADATA_4: &str = "169.254.0.0/16";
/// Where clouds have them in IPv6.
const METADATA_6: [&str; 2] = ["fd00:ec2::254/128", "fe80::/10"];

/// Commands that make an emptied table whole.
pub(super) fn whole<'a>(
    table: &str,
    settings: &Settings,
    bridges: impl Iterator<Item = &'a Bridge>,
) -> Vec<Value> {
    let mut commands = vec![add("table", json!({ "family": "inet", "name": table }))];
    let t = Table(table);
    for (name, kind) in [
        ("closed", json!("ifname")),
        ("routed", json!("ifname")),
        ("within", json!(["ifname", "ifname"])),
        ("door", json!("inet_service")),
        ("names", json!("inet_service")),
        ("resolvers4", json!("ipv4_addr")),
        ("resolvers6", json!("ipv6_addr")),
    ] {
        commands.push(t.add("set", json!({ "name": name, "type": kind })));
    }
    for (name, kind, prefixes) in [
        ("not_public4", "ipv4_addr", NOT_PUBLIC_4.as_slice()),
        ("not_public6", "ipv6_addr", NOT_PUBLIC_6.as_slice()),
        ("metadata6", "ipv6_addr", METADATA_6.as_slice()),
    ] {
        let prefixes: Vec<Value> = prefixes.iter().map(|p| prefix(p)).collect();
        let set = json!({ "name": name, "type": kind, "flags": ["interval"], "elem": prefixes });
        commands.push(t.add("set", set));
    }
    for reason in Reason::ALL {
        commands.push(t.add("map", json!({ "name": by(reason), "type": "ifname", "map": "counter" })));
    }
    commands.extend(settings.door.map(|port| t.element("door", json!(port))));
    commands.extend(settings.names.map(|port| t.element("names", json!(port))));
    for resolver in &settings.resolvers {
        let set = if resolver.is_ipv4() { "resolvers4" } else { "resolvers6" };
        commands.push(t.element(set, json!(resolver.to_string())));
    }
    commands.extend(chains(t, settings.names));
    for bridge in bridges {
        commands.extend(add_bridge(table, bridge));
    }
    commands
}

/// Commands that take everything out of a table but its counters. Making it first lets them succeed always.
pub(super) fn emptied(table: &str) -> Vec<Value> {
    let t = Table(table);
    let whole = whole(table, &Settings::default(), std::iter::empty());
    let mut commands: Vec<Value> = whole
        .iter()
        .filter(|command| {
            ["table", "set", "map", "chain"].iter().any(|kind| command["add"].get(kind).is_some())
        })
        .map(|command| {
            let mut command = command.clone();
            if let Some(set) = command.pointer_mut("/add/set").and_then(Value::as_object_mut) {
                set.remove("elem");
            }
            command
        })
        .collect();
    let flushed: Vec<Value> = commands
        .iter()
        .filter_map(|command| {
            let (kind, named) =
                ["set", "map", "chain"].iter().find_map(|k| Some((*k, command["add"].get(k)?)))?;
            Some(json!({ "flush": { kind: { "family": "inet", "table": t.0, "name": named["name"] } } }))
        })
        .collect();
    commands.extend(flushed);
    commands
}

/// Commands that remove a table, there or not.
pub(super) fn delete(table: &str) -> Vec<Value> {
    let named = json!({ "table": { "family": "inet", "name": table } });
    vec![json!({ "add": named }), json!({ "delete": named })]
}

/// Commands that let a whole table know one more bridge, or the same again.
pub(super) fn add_bridge(table: &str, bridge: &Bridge) -> Vec<Value> {
    let t = Table(table);
    let name = bridge.name.as_str();
    let mut commands = Vec::new();
    for reason in Reason::ALL {
        commands.push(t.add("counter", json!({ "name": counter(name, reason) })));
        commands.push(t.element(by(reason), json!([name, counter(name, reason)])));
    }
    // The counters first: what is found in a set is dropped by way of them.
    match bridge.kind {
        Kind::Closed => {
            commands.push(t.element("within", json!({ "concat": [name, name] })));
            commands.push(t.element("closed", json!(name)));
        }
        Kind::Routed => commands.push(t.element("routed", json!(name))),
    }
    commands
}

/// Commands that let a whole table forget a bridge.
pub(super) fn remove_bridge(table: &str, bridge: &Bridge) -> Vec<Value> {
    let counters = Reason::ALL.map(|reason| counter(&bridge.name, reason));
    let mut commands = add_bridge(table, bridge);
    commands.retain(|command| command["add"].get("element").is_some());
    for command in &mut commands {
        *command = json!({ "delete": command["add"].take() });
    }
    commands.extend(delete_counters(table, counters.iter().map(String::as_str)));
    commands
}

pub(super) fn delete_counters<'a>(table: &str, names: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let named = |name| json!({ "family": "inet", "table": table, "name": name });
    names.map(|name| json!({ "delete": { "counter": named(name) } })).collect()
}

fn counter(bridge: &str, reason: Reason) -> String {
    format!("{bridge}.{}", reason.as_str())
}

/// The bridge and the reason in a counter's name.
pub(super) fn read_counter(name: &str) -> Option<(&str, Reason)> {
    let (bridge, reason) = name.rsplit_once('.')?;
    Some((bridge, Reason::ALL.into_iter().find(|r| r.as_str() == reason)?))
}

/// The name of the map from bridges to their counters.
fn by(reason: Reason) -> &'static str {
    match reason {
        Reason::Private => "by_private",
        Reason::Metadata => "by_metadata",
        Reason::Host => "by_host",
        Reason::Port => "by_port",
        Reason::Dns => "by_dns",
        Reason::Other => "by_other",
    }
}

/// Names, packets and bytes of a listed table's counters.
pub(super) fn counters(listed: &[Value]) -> impl Iterator<Item = (&str, u64, u64)> {
    listed.iter().filter_map(|object| {
        let counter = object.get("counter")?;
        Some((counter["name"].as_str()?, counter["packets"].as_u64()?, counter["bytes"].as_u64()?))
    })
}

/// Names of the counters that commands make.
pub(super) fn added_counters(commands: &[Value]) -> impl Iterator<Item = &str> {
    commands.iter().filter_map(|command| command["add"].get("counter")?["name"].as_str())
}

/// Chains and rules of a listed table, in order, without what is different each time.
pub(super) fn fixed_parts(listed: &[Value]) -> Vec<Value> {
    let fixed = listed.iter().filter(|object| object.get("chain").is_some() || object.get("rule").is_some());
    fixed
        .cloned()
        .map(|mut object| {
            for part in object.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
                part.as_object_mut().map(|part| part.remove("handle"));
            }
            object
        })
        .collect()
}

/// What is in each set and map: of a listed table, or of commands that make one.
pub(super) fn elements(objects: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in objects {
        let object = object.get("add").unwrap_or(object);
        let Some(set) = ["set", "map", "element"].iter().find_map(|kind| object.get(kind)) else { continue };
        let Some(name) = set["name"].as_str() else { continue };
        let elements = set["elem"].as_array().into_iter().flatten().map(Value::to_string);
        found.entry(name.to_owned()).or_default().extend(elements);
    }
    found
}

#[derive(Clone, Copy)]
struct Table<'a>(&'a str);

impl Table<'_> {
    fn add(self, kind: &str, mut object: Value) -> Value {
        object["family"] = json!("inet");
        object["table"] = json!(self.0);
        add(kind, object)
    }

    fn element(self, set: &str, element: Value) -> Value {
        self.add("element", json!({ "name": set, "elem": [element] }))
    }
}

fn add(kind: &str, object: Value) -> Value {
    json!({ "add": { kind: object } })
}

fn prefix(text: &str) -> Value {
    match text.split_once('/').map(|(address, length)| (address, length.parse::<u8>())) {
        Some((address, Ok(length))) if !(address.contains(':') && length == 128) => {
            json!({ "prefix": { "addr": address, "len": length } })
        }
        Some((address, _)) => json!(address),
        None => json!(text),
    }
}

fn is(left: Value, right: Value) -> Value {
    json!({ "match": { "op": "==", "left": left, "right": right } })
}

fn has(left: Value, right: Value) -> Value {
    json!({ "match": { "op": "in", "left": left, "right": right } })
}

fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

fn to(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn known() -> Value {
    has(json!({ "ct": { "key": "state" } }), json!(["established", "related"]))
}

fn tcp_or_udp() -> Value {
    is(meta("l4proto"), json!({ "set": ["tcp", "udp"] }))
}

/// Whether an address is one of this machine, or of a bridge's own.
fn address_type(flags: &[&str], op: &str, kind: &str) -> Value {
    let fib = json!({ "fib": { "result": "type", "flags": flags } });
    json!({ "match": { "op": op, "left": fib, "right": kind } })
}

/// One chain's rules under construction.
struct Chain<'a> {
    table: Table<'a>,
    name: &'static str,
    /// By which interface a bridge is known here.
    side: &'static str,
    rules: Vec<Value>,
}

impl<'a> Chain<'a> {
    fn new(table: Table<'a>, name: &'static str, side: &'static str) -> Self {
        Self { table, name, side, rules: Vec::new() }
    }

    fn rule(mut self, conditions: impl IntoIterator<Item = Value>, then: Value) -> Self {
        let expressions: Vec<Value> = conditions.into_iter().chain([then]).collect();
        self.rules.push(self.table.add("rule", json!({ "chain": self.name, "expr": expressions })));
        self
    }

    fn accept(self, conditions: impl IntoIterator<Item = Value>) -> Self {
        self.rule(conditions, json!({ "accept": null }))
    }

    /// Counts for the bridge, and refuses.
    fn drop(self, reason: Reason, conditions: impl IntoIterator<Item = Value>) -> Self {
        let counted =
            json!({ "counter": { "map": { "key": meta(self.side), "data": format!("@{}", by(reason)) } } });
        let conditions: Vec<Value> = conditions.into_iter().chain([counted]).collect();
        self.rule(conditions, json!({ "goto": { "target": "refused" } }))
    }

    fn drop_names_and_metadata(self) -> Self {
        self.drop(Reason::Dns, [tcp_or_udp(), is(to("th", "dport"), json!(53))])
            .drop(Reason::Metadata, [is(to("ip", "daddr"), prefix(METADATA_4))])
            .drop(Reason::Metadata, [is(to("ip6", "daddr"), json!("@metadata6"))])
    }
}

fn chains(t: Table<'_>, names: Option<u16>) -> Vec<Value> {
    let base = |hook: &str| {
        t.add(
            "chain",
            json!({ "name": hook, "type": "filter", "hook": hook, "prio": PRIORITY, "policy": "accept" }),
        )
    };
    let mut commands = vec![base("forward"), base("input")];
    commands.push(t.add(
        "chain",
        json!({ "name": "names", "type": "nat", "hook": "prerouting", "prio": BEFORE_DNAT, "policy": "accept" }),
    ));
    let parts = [
        from_closed(t),
        into_closed(t),
        from_routed(t),
        into_routed(t),
        closed_to_host(t),
        routed_to_host(t),
    ];
    for part in &parts {
        commands.push(t.add("chain", json!({ "name": part.name })));
    }
    commands.push(t.add("chain", json!({ "name": "refused" })));
    let refused = |conditions: Vec<Value>, with: Value| {
        let expressions: Vec<Value> = conditions.into_iter().chain([json!({ "reject": with })]).collect();
        t.add("rule", json!({ "chain": "refused", "expr": expressions }))
    };
    commands.extend([
        refused(vec![is(meta("l4proto"), json!("tcp"))], json!({ "type": "tcp reset" })),
        refused(Vec::new(), json!({ "type": "icmpx", "expr": "admin-prohibited" })),
    ]);
    commands.extend(names.map(|port| {
        let at_the_bridge = address_type(&["daddr", "iif"], "==", "local");
        let expressions = [
            is(meta("iifname"), json!("@closed")),
            is(meta("nfproto"), json!("ipv4")),
            at_the_bridge,
            is(to("udp", "dport"), json!(53)),
            json!({ "redirect": { "port": port } }),
        ];
        t.add("rule", json!({ "chain": "names", "expr": expressions }))
    }));
    let jump = |chain, side: &str, set: &str, target: &str| {
        let jump = json!({ "jump": { "target": target } });
        t.add("rule", json!({ "chain": chain, "expr": [is(meta(side), json!(format!("@{set}"))), jump] }))
    };
    commands.extend([
        jump("forward", "iifname", "closed", "from_closed"),
        jump("forward", "oifname", "closed", "into_closed"),
        jump("forward", "iifname", "routed", "from_routed"),
        jump("forward", "oifname", "routed", "into_routed"),
        jump("input", "iifname", "closed", "closed_to_host"),
        jump("input", "iifname", "routed", "routed_to_host"),
    ]);
    commands.extend(parts.into_iter().flat_map(|part| part.rules));
    commands
}

/// Instances of one project reach each other, and nothing else.
fn from_closed(t: Table<'_>) -> Chain<'_> {
    let sides = json!({ "concat": [meta("iifname"), meta("oifname")] });
    Chain::new(t, "from_closed", "iifname")
        .accept([is(sides, json!("@within"))])
        .drop_names_and_metadata()
        .drop(Reason::Private, [is(to("ip", "daddr"), json!("@not_public4"))])
        .drop(Reason::Port, [tcp_or_udp()])
        .drop(Reason::Other, [])
}

/// Nobody from elsewhere.
fn into_closed(t: Table<'_>) -> Chain<'_> {
    Chain::new(t, "into_closed", "oifname").drop(Reason::Private, [])
}

/// Names and the web, at public addresses.
fn from_routed(t: Table<'_>) -> Chain<'_> {
    let names = || [tcp_or_udp(), is(to("th", "dport"), json!(53))];
    let [protocol, port] = names();
    let of_the_machine4 = [is(to("ip", "daddr"), json!("@resolvers4")), protocol.clone(), port.clone()];
    let of_the_machine6 = [is(to("ip6", "daddr"), json!("@resolvers6")), protocol, port];
    let not_public6 =
        json!({ "match": { "op": "!=", "left": to("ip6", "daddr"), "right": prefix(PUBLIC_6) } });
    Chain::new(t, "from_routed", "iifname")
        .accept([known()])
        .accept(of_the_machine4)
        .accept(of_the_machine6)
        // A port of this machine that the engine leads elsewhere.
        .drop(Reason::Host, [has(json!({ "ct": { "key": "status" } }), json!("dnat"))])
        .drop(Reason::Metadata, [is(to("ip", "daddr"), prefix(METADATA_4))])
        .drop(Reason::Metadata, [is(to("ip6", "daddr"), json!("@metadata6"))])
        .drop(Reason::Private, [is(to("ip", "daddr"), json!("@not_public4"))])
        .drop(Reason::Private, [is(to("ip6", "daddr"), json!("@not_public6"))])
        .drop(Reason::Private, [not_public6])
        .drop(Reason::Private, [address_type(&["daddr"], "!=", "unicast")])
        .accept(names())
        .accept([is(to("tcp", "dport"), json!({ "set": [80, 443] }))])
        .drop(Reason::Port, [tcp_or_udp()])
        .drop(Reason::Other, [])
}

/// Answers only.
fn into_routed(t: Table<'_>) -> Chain<'_> {
    Chain::new(t, "into_routed", "oifname").accept([known()]).drop(Reason::Private, [])
}

/// Of this machine: our door and our name server, at the bridge's own address, and answers to the gateway's connections.
fn closed_to_host(t: Table<'_>) -> Chain<'_> {
    let at_the_bridge = address_type(&["daddr", "iif"], "==", "local");
    let door = [is(meta("nfproto"), json!("ipv4")), at_the_bridge, is(to("tcp", "dport"), json!("@door"))];
    let [nfproto, local, _] = door.clone();
    // What asked for port 53; nothing else of this machine that may listen there is ever asked.
    let asked = has(json!({ "ct": { "key": "status" } }), json!("dnat"));
    let names = [nfproto, local, is(to("udp", "dport"), json!("@names")), asked];
    Chain::new(t, "closed_to_host", "iifname")
        .accept([known()])
        .accept(door)
        .accept(names)
        .drop_names_and_metadata()
        .drop(Reason::Host, [tcp_or_udp()])
        .drop(Reason::Other, [])
}

/// Of this machine: nothing.
fn routed_to_host(t: Table<'_>) -> Chain<'_> {
    Chain::new(t, "routed_to_host", "iifname")
        .accept([known()])
        .drop_names_and_metadata()
        .drop(Reason::Host, [tcp_or_udp()])
        .drop(Reason::Other, [])
}

/// Name servers in a machine's `/etc/resolv.conf`; those on its loopback are nobody else's.
pub fn resolvers(resolv_conf: &str) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>)
            && !address.is_loopback()
            && !address.is_unspecified()
        {
            servers.push(address);
        }
    }
    servers
}
