//! Requests in absolute form: who asks, what is allowed, where names lead, what is taken out.

use ryokan_gateway::egress::{Ask, Scheme};

use super::support::within;
use super::world::{AUTH, Host, World, text};

#[tokio::test]
async fn a_request_is_passed_on_and_recorded() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("host.test");
    let url = format!("http://Host.TEST:{}/a%20b?c=d", host.port);
    let answer = world
        .get(
            &url,
            "X-Own: 1\r\nProxy-Connection: keep-alive\r\nProxy-Foo: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n",
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = host.last();
    assert_eq!(got.uri, "/a%20b?c=d");
    assert_eq!(got.header("host"), Some(format!("host.test:{}", host.port).as_str()));
    assert_eq!(got.header("x-own"), Some("1"));
    for name in [
        "proxy-authorization",
        "proxy-connection",
        "proxy-foo",
        "connection",
        "x-hop",
        "x-forwarded-for",
        "via",
    ] {
        assert_eq!(got.header(name), None, "{name}");
    }
    let asked = world.state.asked.lock().unwrap().clone();
    assert!(
        matches!(&asked[..], [Ask::Request { scheme: Scheme::Http, path, host, .. }] if path == "/a%20b" && host.to_string() == "host.test"),
        "{asked:?}"
    );
    world.until(|| !world.outcomes().is_empty()).await;
    let outcome = &world.outcomes()[0];
    assert_eq!((outcome.status, outcome.ended), (200, None));
    assert_eq!(outcome.bytes_out, answer.body.len() as u64);
}

#[tokio::test]
async fn nobody_is_let_in_without_token_and_address() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("host.test");
    let url = format!("http://host.test:{}/", host.port);
    let name = format!("host.test:{}", host.port);
    let bearer = "Proxy-Authorization: Bearer ryk_inst_one\r\n";
    let as_user = "Proxy-Authorization: Basic cnlrX2luc3Rfb25lOg==\r\n"; // `ryk_inst_one:`
    for good in [AUTH, bearer, as_user] {
        let answer = world.ask(&format!("GET {url} HTTP/1.1\r\nHost: {name}\r\n{good}\r\n")).await;
        assert_eq!(answer.status, 200, "{good}");
    }
    for bad in [
        "",
        "Proxy-Authorization: Basic YWdlbnQ6d3Jvbmc=\r\n",
        // Another instance's token, from this one's address.
        "Proxy-Authorization: Bearer ryk_inst_two\r\n",
        "Proxy-Authorization: Basic !!!\r\n",
        "Proxy-Authorization: Digest x\r\n",
        "Proxy-Authorization: Bearer\r\n",
        "Authorization: Bearer ryk_inst_one\r\n",
        "Proxy-Authorization: Bearer ryk_inst_one\r\nProxy-Authorization: Bearer ryk_inst_one\r\n",
    ] {
        let answer = world.ask(&format!("GET {url} HTTP/1.1\r\nHost: {name}\r\n{bad}\r\n")).await;
        assert_eq!(answer.status, 407, "{bad}");
        assert!(answer.header("proxy-authenticate").unwrap().starts_with("Basic"));
        assert!(answer.text().contains("proxy_authentication_required"));
        let answer = world.ask(&format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n{bad}\r\n")).await;
        assert_eq!(answer.status, 407, "{bad}");
    }
    // The right token from another address.
    let mut other = world.connect_from("127.0.0.2").await;
    other.send(format!("GET {url} HTTP/1.1\r\nHost: {name}\r\n{AUTH}\r\n")).await;
    assert_eq!(within(other.answer()).await.status, 407);
    assert_eq!(host.count(), 3);
    assert!(world.rebuffs().iter().all(|code| *code == "proxy_authentication_required"));
}

#[tokio::test]
async fn what_is_denied_is_not_even_resolved() {
    let world = World::new().await;
    world.deny("secret-data.attacker.test:80");
    let answer = world.get("http://secret-data.attacker.test/", "").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains(r#""code":"egress_denied""#), "{}", answer.text());
    assert!(answer.text().contains(r#"Ask for it with \"egress.request\"."#), "{}", answer.text());
    assert!(answer.header("proxy-status").unwrap().contains("http_request_denied"));
    let (answer, _) = world.tunnel("secret-data.attacker.test:80").await;
    assert_eq!(answer.status, 403);
    assert!(world.state.resolved.lock().unwrap().is_empty());
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_spelt() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.name("private.test", &["10.0.0.1"]);
    world.name("metadata.test", &["169.254.169.254"]);
    world.name("mapped.test", &["::ffff:127.0.0.1"]);
    world.name("loopback.test", &["127.0.0.2"]);
    // One good address does not make up for a bad one: the next look might find only that.
    world.name("mixed.test", &["127.0.0.1", "10.0.0.1"]);
    world.name("mixed6.test", &["127.0.0.1", "fd00::1"]);
    for spelt in [
        "private.test",
        "metadata.test",
        "mapped.test",
        "loopback.test",
        "mixed.test",
        "mixed6.test",
        "127.0.0.2",
        "127.2",
        "0x7f.2",
        "2130706434",
        "017700000002",
        "0177.0.0.02",
        "0x7f000002",
        "127.0.0.2.",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "[::1]",
        "[::]",
        "0",
        "0.0.0.0",
        "10.1.2.3",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "100.100.100.200",
        "168.63.129.16",
        "192.168.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
    ] {
        let answer = world.get(&format!("http://{spelt}:{}/", host.port), "").await;
        assert_eq!(answer.status, 403, "{spelt} {}", answer.text());
        assert!(answer.text().contains("address_not_public"), "{spelt} {}", answer.text());
        let (answer, _) = world.tunnel(&format!("{spelt}:{}", host.port)).await;
        assert_eq!(answer.status, 403, "{spelt}");
    }
    assert_eq!(host.count(), 0);
    // The one exception that the operator named, in any spelling; and the judge saw it in one.
    for spelt in ["127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]"] {
        assert_eq!(world.get(&format!("http://{spelt}:{}/", host.port), "").await.status, 200, "{spelt}");
        let last = world.state.asked.lock().unwrap().last().cloned().unwrap();
        assert_eq!(last.host().to_string(), "127.0.0.1");
    }
    world.until(|| world.outcomes().iter().any(|outcome| outcome.ended == Some("address_not_public"))).await;
}

#[tokio::test]
async fn what_is_not_a_host_is_refused() {
    let world = World::new().await;
    for url in [
        "http://user@host.test/",
        "http://user:pass@host.test/",
        "http://host.test@evil.test/",
        "http://[fe80::1%25eth0]/",
        "http://1.2.3.4.5/",
        "http://host.test:0/",
        "http://host.test:99999/",
        "http://b%2ehost.test/",
        "http:///x",
        "ftp://host.test/",
        "https://host.test/",
        "gopher://host.test/",
        "http://a..b/",
    ] {
        let answer = world.ask(&format!("GET {url} HTTP/1.1\r\nHost: host.test\r\n{AUTH}\r\n")).await;
        assert_eq!(answer.status, 400, "{url}");
    }
    for authority in
        ["host.test", "user@host.test:443", "host.test:", "host.test:0", "[::1", "http://host.test:443", "/x"]
    {
        let answer =
            world.ask(&format!("CONNECT {authority} HTTP/1.1\r\nHost: host.test:443\r\n{AUTH}\r\n")).await;
        assert_eq!(answer.status, 400, "{authority}");
    }
    assert!(world.state.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_host_header_that_differs_is_refused() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("host.test");
    let url = format!("http://host.test:{}/", host.port);
    for other in ["evil.test", "host.test", &format!("host.test.evil.test:{}", host.port), "", "host.test:1"]
    {
        let answer = world.ask(&format!("GET {url} HTTP/1.1\r\nHost: {other}\r\n{AUTH}\r\n")).await;
        assert_eq!(answer.status, 421, "{other}");
    }
    let authority = format!("host.test:{}", host.port);
    let answer = world
        .ask(&format!("CONNECT {authority} HTTP/1.1\r\nHost: evil.test:{}\r\n{AUTH}\r\n", host.port))
        .await;
    assert_eq!(answer.status, 421);
    assert_eq!(host.count(), 0);
}

#[tokio::test]
async fn a_redirect_is_a_new_request_and_judged_anew() {
    let world = World::new().await;
    let host = Host::answering(None, true, &[], |_| {
        let mut response = text("");
        *response.status_mut() = http::StatusCode::FOUND;
        response.headers_mut().insert("location", "http://10.0.0.1/secret".parse().unwrap());
        response
    })
    .await;
    world.local("host.test");
    let answer = world.get(&format!("http://host.test:{}/", host.port), "").await;
    assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("http://10.0.0.1/secret")));
    assert_eq!(world.get("http://10.0.0.1/secret", "").await.status, 403);
    assert_eq!(world.state.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_name_that_changes_its_address_meets_the_check_again() {
    let (world, host) = (World::new().await, Host::plain().await);
    world.local("rebind.test");
    let url = format!("http://rebind.test:{}/", host.port);
    assert_eq!(world.get(&url, "").await.status, 200);
    world.name("rebind.test", &["127.0.0.3"]);
    assert_eq!(world.get(&url, "").await.status, 403);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_same_host_only() {
    let (world, one, two) = (World::new().await, Host::plain().await, Host::plain().await);
    world.local("one.test");
    world.local("two.test");
    let mut client = world.connect().await;
    for (name, host) in [("one.test", &one), ("one.test", &one), ("two.test", &two), ("one.test", &one)] {
        let authority = format!("{name}:{}", host.port);
        client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{AUTH}\r\n")).await;
        assert_eq!(within(client.answer()).await.status, 200);
    }
    assert!(one.got.lock().unwrap().iter().all(|got| got.connection == 0));
    assert_eq!((one.count(), two.count()), (3, 1));
    // Another connection of a caller never takes over what this one opened.
    assert_eq!(world.get(&format!("http://one.test:{}/", one.port), "").await.status, 200);
    assert_eq!(one.last().connection, 1);
}

#[tokio::test]
async fn hosts_that_fail_are_told_apart() {
    let world = World::new().await;
    world.local("dead.test");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, code) in [
        ("http://unknown.test/".to_owned(), "name_not_resolved"),
        (format!("http://dead.test:{port}/"), "host_unreachable"),
    ] {
        let answer = world.get(&url, "").await;
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains(code), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_door_offers_what_is_inside_to_callers_only() {
    let world = World::new().await;
    for header in [
        "Authorization: Bearer ryk_inst_one",
        "X-Api-Key: ryk_inst_one",
        "Api-Key: ryk_inst_one",
        AUTH.trim(),
    ] {
        let answer = world.ask(&format!("GET /v1/models HTTP/1.1\r\nHost: door\r\n{header}\r\n\r\n")).await;
        assert_eq!(answer.text(), "inside one /v1/models token=false", "{header}");
    }
    for header in ["X: y", "Authorization: Bearer ryk_inst_two", "Authorization: Bearer x"] {
        let answer = world.ask(&format!("GET /v1/models HTTP/1.1\r\nHost: door\r\n{header}\r\n\r\n")).await;
        assert_eq!(answer.status, 401, "{header}");
    }
}
