//! Input that somebody made to be misread.

use ryokan_model::policy::{ActionPattern, Host, HostPattern, Path, PathPattern, RuleBody};
use serde_json::json;

#[test]
fn a_host_has_one_form() {
    for (text, form) in [
        ("API.GitHub.com", "api.github.com"),
        ("api.github.com.", "api.github.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("ａｐｉ.github.com", "api.github.com"),
        ("api。github.com", "api.github.com"),
        ("[::1]", "[::1]"),
        ("::1", "[::1]"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("_dmarc.example", "_dmarc.example"),
        ("localhost", "localhost"),
    ] {
        assert_eq!(text.parse::<Host>().map(|h| h.to_string()).as_deref(), Ok(form), "{text}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    let long = "a.".repeat(200);
    for text in [
        "",
        ".",
        "..",
        "a..b",
        "a.b..",
        ".a",
        "api.github.com:443",
        "user@api.github.com",
        "api.github.com@evil.example",
        "api.github.com/x",
        "api.github.com\\x",
        "https://api.github.com",
        "api.github.com?x",
        "api.github.com#x",
        "api.github.com%2eevil.example",
        "api.github.com%00",
        "api.github.com\0",
        "api.github.com\n",
        " api.github.com",
        "a b",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "１２７.1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "[::1",
        "::1]",
        "[::1%eth0]",
        "[127.0.0.1]",
        "[]",
        "fe80::1%1",
        "*.example.com",
        "xn--zzzzzz99999ü.example",
        "a\u{202e}b.example",
        &long,
    ] {
        assert!(text.parse::<Host>().is_err(), "{text:?} is {:?}", text.parse::<Host>());
    }
}

#[test]
fn wildcards_are_of_whole_labels_below() {
    let below: HostPattern = "*.GitHub.com.".parse().unwrap();
    assert_eq!(below.to_string(), "*.github.com");
    let fits = |host: &str| below.fits(&host.parse().unwrap());
    assert!(fits("api.github.com") && fits("a.b.github.com"));
    for host in
        ["github.com", "evilgithub.com", "github.com.evil.example", "api.github.com.evil.example", "1.1.1.1"]
    {
        assert!(!fits(host), "{host}");
    }
    for text in [
        "*github.com",
        "api.*.com",
        "**.github.com",
        "*.",
        "",
        "*.*.com",
        "*.10.0.0.1",
        "10.0.0.1",
        "[::1]",
        "github.com:443",
        "*@x.example",
    ] {
        assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
    }
}

#[test]
fn paths_that_are_two_to_two_servers_are_ambiguous() {
    for (raw, form) in [
        ("", "/"),
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/%61%2e%2e", "/a.."),
        ("/%2e%2E/a", "!"),
        ("/a/%2e%2e/b", "/b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a?b=/../c", "/a"),
        ("/a#b", "/a"),
        ("/..", "!"),
        ("/a/../../b", "!"),
        ("/a%2fb", "!"),
        ("/a%2Fb", "!"),
        ("/a%5cb", "!"),
        ("/a\\b", "!"),
        ("/a%00", "!"),
        ("/a%0d%0aX:y", "!"),
        ("/a%", "!"),
        ("/a%2", "!"),
        ("/a%zz", "!"),
        ("/a%252fb", "!"),
        ("/a%25%32%66b", "!"),
        ("/a%25", "/a%25"),
        ("/100%25x", "/100%25x"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a/..;/b", "!"),
        ("/a/.;x/b", "!"),
        ("/é", "!"),
        ("/a b", "!"),
        ("a", "!"),
        ("http://x/", "!"),
        ("*", "!"),
    ] {
        assert_eq!(Path::parse(raw).clear().unwrap_or("!"), form, "{raw}");
    }
    assert_eq!(Path::parse(&"/a".repeat(5_000)).clear(), None);
    for text in ["a", "", "/a**", "/**a", "/a?b", "/a#b", "/a%2fb", "/../a", "/a\\b", &"/a".repeat(600)] {
        assert!(text.parse::<PathPattern>().is_err(), "{text}");
    }
    let slow: PathPattern = format!("/{}", "**/a*a*a*c/".repeat(90)).parse().unwrap();
    assert!(!slow.fits(&format!("/{}", "aaaaaaaaaaaaaaaab/".repeat(400))));
}

#[test]
fn rules_are_strict() {
    let refused = |json: serde_json::Value| match serde_json::from_value::<RuleBody>(json.clone()) {
        Err(_) => true,
        Ok(body) => body.validate().is_err(),
    };
    let good = json!({"effect": "allow", "action": "egress.request", "resources": {"hosts": ["a.example"], "methods": ["GET"]}});
    assert!(!refused(good.clone()));
    for (field, value) in [
        ("effect", json!("permit")),
        ("action", json!("egress.*")),
        ("action", json!("egress")),
        ("action", json!("egress.re*")),
        ("action", json!("nothing.*")),
        ("action", json!("*")),
        ("action", json!("model.call")),
        ("subject", json!("nobody")),
        ("subject", json!("user:ada")),
        ("subject", json!("role:root")),
        ("resources", json!({"hosts": ["*evil"]})),
        ("resources", json!({"names": ["x"]})),
        ("resources", json!({"methods": ["get"]})),
        ("resources", json!({"ports": ["0"]})),
        ("resources", json!({"ports": ["9-8"]})),
        ("resources", json!({"ports": [443]})),
        ("resources", json!({"host": ["a.example"]})),
        ("resources", json!({"hosts": vec!["a.example"; 101]})),
        ("conditions", json!({"window": {"from": "09:00", "to": "09:00"}})),
        ("conditions", json!({"budget": {"name": "a b", "at_least": 1}})),
        ("note", json!("a\nb")),
        ("note", json!("x".repeat(501))),
        ("priority", json!(1)),
    ] {
        let mut json = good.clone();
        json[field] = value;
        assert!(refused(json.clone()), "{json}");
    }
    assert_eq!("git.*".parse::<ActionPattern>().unwrap().actions().count(), 3);
    assert_eq!("git.pr.*".parse::<ActionPattern>().unwrap().actions().count(), 1);
}
