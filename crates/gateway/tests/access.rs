//! Who gets in, by which credential, and what those see who do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use ryokan_gateway::{Access, Route};
use support::{Agent, Answer, World, header, zone};

const BROWSER: &str = "Accept: text/html,application/xhtml+xml\r\n";

async fn world(agent: &Agent) -> World {
    let with = |id: &str, name: &str, access| {
        let mut route = Route::new(id, name, agent.ready());
        route.access = access;
        route
    };
    World::new(
        zone()
            .route(with("i-1", "claw", Access::Private))
            .route(with("i-2", "other", Access::Private))
            .route(with("i-3", "token", Access::Token))
            .route(with("i-4", "open", Access::Public))
            .domain("claw.example.org", "claw"),
    )
    .await
}

/// Signs in and returns the `Cookie` header line.
async fn sign_in(world: &World, host: &str, instance: &str, nonce: u8) -> String {
    let ticket = world.ticket("owner", instance, host, nonce);
    let answer = world.get(host, &format!("/.ryokan/session?ticket={ticket}&return=/x"), BROWSER).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let cookie = answer.header("set-cookie").unwrap();
    format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
}

#[tokio::test]
async fn a_browser_is_sent_to_sign_in_and_comes_back_with_a_cookie() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let answer = world.get("claw.localhost:7700", "/a?b=c&d", BROWSER).await;
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("location").as_deref(),
        Some(
            "http://localhost:7700/v1/gateway/authorize?instance=claw&return=http%3A%2F%2Fclaw.localhost%3A7700%2Fa%3Fb%3Dc%26d"
        )
    );
    let ticket = world.ticket("owner", "i-1", "claw.localhost", 1);
    let path = format!("/.ryokan/session?ticket={ticket}&return=%2Fa%3Fb%3Dc");
    let answer = world.get("claw.localhost:7700", &path, BROWSER).await;
    assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("/a?b=c")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("ryokan_agent=") && cookie.contains("; HttpOnly; SameSite=Lax"));
    assert!(cookie.contains("Path=/") && !cookie.contains("Domain") && !cookie.contains("Secure"));
    let line = format!("Cookie: own=1; {}\r\n", cookie.split(';').next().unwrap());
    let answer = world.get("claw.localhost:7700", "/", &line).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.headers("content-security-policy")[0].contains("frame-ancestors 'self' http://localhost:7700")
    );
    assert_eq!(header(&agent.last().head, "cookie").as_deref(), Some("own=1"));
    assert!(!agent.last().head.contains("ryokan"));
}

#[tokio::test]
async fn programs_get_401_and_not_a_redirect() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    for headers in ["", "Authorization: Bearer ryk_wrong\r\n", "X-Ryokan-Token: wrong\r\n", upgrade] {
        let answer = world.get("claw.localhost", "/", headers).await;
        assert_eq!(answer.status, 401, "{headers}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    // `token` agents have no sign-in page.
    assert_eq!(world.get("token.localhost", "/", BROWSER).await.status, 401);
    assert_eq!(world.get("open.localhost", "/", "Authorization: Bearer ryk_wrong\r\n").await.status, 200);
    assert_eq!(agent.count(), 1);
}

#[tokio::test]
async fn whoever_guesses_tokens_has_to_wait() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    // Nothing was refused, or nothing was guessed: an agent's own token, a browser without any, somebody else's agent.
    let cookie = sign_in(&world, "claw.localhost", "i-1", 1).await;
    for (host, headers, status) in [
        ("open.localhost", "Authorization: Bearer own\r\n".to_owned(), 200),
        ("claw.localhost", format!("{cookie}Authorization: Bearer own\r\n"), 200),
        ("claw.localhost", BROWSER.to_owned(), 302),
        ("claw.localhost", "Authorization: Bearer ryk_foreign\r\n".to_owned(), 404),
    ] {
        assert_eq!(world.get(host, "/", &headers).await.status, status, "{host} {headers}");
    }
    assert!(world.authenticator.guesses.lock().unwrap().is_empty());
    for guess in ["Authorization: Bearer a\r\n", "X-Ryokan-Token: b\r\n", "Authorization: Bearer c\r\n"] {
        assert_eq!(world.get("claw.localhost", "/", guess).await.status, 401, "{guess}");
    }
    for guess in ["Authorization: Bearer d\r\n", "X-Ryokan-Token: e\r\n"] {
        let answer = world.get("claw.localhost", "/", guess).await;
        assert_eq!((answer.status, answer.header("retry-after").as_deref()), (429, Some("7")), "{guess}");
        assert!(answer.text().contains("too_many_requests"));
    }
    assert_eq!(*world.authenticator.guesses.lock().unwrap(), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn tokens_let_in_and_foreign_ones_find_nothing() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    for host in ["claw.localhost", "token.localhost"] {
        for good in [
            "Authorization: Bearer ryk_good\r\n",
            "authorization: bearer ryk_good\r\n",
            "X-Ryokan-Token: ryk_good\r\n",
        ] {
            assert_eq!(world.get(host, "/", good).await.status, 200, "{host} {good}");
        }
        let unknown = world.get("nobody.localhost", "/", "").await;
        for foreign in ["Authorization: Bearer ryk_foreign\r\n", "X-Ryokan-Token: ryk_foreign\r\n"] {
            let answer = world.get(host, "/", foreign).await;
            assert_eq!((answer.status, answer.text()), (404, unknown.text()), "as if it did not exist");
        }
    }
}

#[tokio::test]
async fn tickets_work_once_for_one_host_and_instance() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let redeem = async |host: &str, ticket: &str| -> Answer {
        world.get(host, &format!("/.ryokan/session?ticket={ticket}&return=/"), BROWSER).await
    };
    let ticket = world.ticket("owner", "i-1", "claw.localhost", 1);
    assert_eq!(redeem("other.localhost", &ticket).await.status, 403, "another host");
    assert_eq!(redeem("claw.example.org", &ticket).await.status, 403, "another host of the same instance");
    assert_eq!(redeem("claw.localhost", &ticket).await.status, 302);
    assert_eq!(redeem("claw.localhost", &ticket).await.status, 403, "used");
    let wrong_instance = world.ticket("owner", "i-2", "claw.localhost", 2);
    assert_eq!(redeem("claw.localhost", &wrong_instance).await.status, 403);
    let late = world.ticket("owner", "i-1", "claw.localhost", 3);
    world.clock.advance(60);
    assert_eq!(redeem("claw.localhost", &late).await.status, 403, "expired");
    assert_eq!(redeem("claw.localhost", "nonsense").await.status, 403);
    let stranger = world.ticket("stranger", "i-1", "claw.localhost", 4);
    assert_eq!(redeem("claw.localhost", &stranger).await.status, 404);
    assert_eq!(world.get("claw.localhost", "/.ryokan/other", BROWSER).await.status, 404);
    assert_eq!(agent.count(), 0);
}

#[tokio::test]
async fn the_way_back_is_a_local_path() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let evil = [
        "//evil.com",
        "https%3A%2F%2Fevil.com",
        "%2F%5Cevil.com",
        "%2Fa%0D%0AX%3A%20y",
        "evil",
        "%2F%09%2Fevil.com",
    ];
    for (nonce, back) in (1..).zip(evil) {
        let ticket = world.ticket("owner", "i-1", "claw.localhost", nonce);
        let answer =
            world.get("claw.localhost", &format!("/.ryokan/session?ticket={ticket}&return={back}"), "").await;
        assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("/")), "{back}");
    }
}

#[tokio::test]
async fn cookies_are_bound_age_and_can_be_revoked() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let cookie = sign_in(&world, "claw.localhost", "i-1", 1).await;
    assert_eq!(world.get("claw.localhost", "/", &cookie).await.status, 200);
    assert_eq!(world.get("claw.example.org", "/", &cookie).await.status, 200);
    assert_eq!(world.get("other.localhost", "/", &cookie).await.status, 401, "another instance");
    // A neighbour may have tossed a cookie of the same name.
    let tossed = cookie.replace("Cookie: ", "Cookie: ryokan_agent=tossed; ");
    assert_eq!(world.get("claw.localhost", "/", &tossed).await.status, 200);
    world.authenticator.revoked.lock().unwrap().insert("session-1".into());
    assert_eq!(world.get("claw.localhost", "/", &cookie).await.status, 401, "revoked");
    world.authenticator.revoked.lock().unwrap().clear();
    world.clock.advance(3599);
    assert_eq!(world.get("claw.localhost", "/", &cookie).await.status, 200);
    world.clock.advance(1);
    assert_eq!(world.get("claw.localhost", "/", &cookie).await.status, 401, "expired");
}

#[tokio::test]
async fn another_agents_page_cannot_use_the_cookie() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let cookie = sign_in(&world, "claw.localhost", "i-1", 1).await;
    for (headers, status) in [
        ("Origin: http://other.localhost\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://claw.localhost\r\n", 200),
        ("Origin: http://claw.example.org\r\n", 200),
        ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n", 200),
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n", 200),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nOrigin: http://other.localhost\r\n", 403),
    ] {
        let answer = world.get("claw.localhost", "/", &format!("{cookie}{headers}")).await;
        assert_eq!(answer.status, status, "{headers}");
    }
    let post = format!(
        "POST / HTTP/1.1\r\nHost: claw.localhost\r\n{cookie}Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(world.ask(&post).await.status, 403, "a form on another agent's page");
}

#[tokio::test]
async fn the_dashboards_cookie_counts_on_the_path_route_for_the_dashboard_only() {
    let agent = Agent::ok().await;
    let world = world(&agent).await;
    let dash = "Cookie: __Host-ryokan_session=dash\r\n";
    for (headers, status) in [
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("", 403),
        ("Origin: http://localhost\r\n", 200),
        ("Origin: http://claw.localhost\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: null\r\nSec-Fetch-Site: same-origin\r\n", 403),
    ] {
        let answer = world.get("localhost", "/gateway/claw/", &format!("{dash}{headers}")).await;
        assert_eq!(answer.status, status, "{headers}");
    }
    let same = "Sec-Fetch-Site: same-origin\r\n";
    let foreign = format!("Cookie: ryokan_session=foreign\r\n{same}");
    assert_eq!(world.get("localhost", "/gateway/claw/", &foreign).await.status, 404);
    assert_eq!(world.get("localhost", "/gateway/claw/", same).await.status, 401);
    let bearer = "Authorization: Bearer ryk_good\r\n";
    assert_eq!(world.get("localhost", "/gateway/claw/", bearer).await.status, 200);
    // The dashboard's cookie is worth nothing on the agent's own host.
    assert_eq!(world.get("claw.localhost", "/", &format!("{dash}{same}")).await.status, 401);
    assert!(!agent.got.lock().unwrap().iter().any(|got| got.head.contains("ryokan")));
}

#[tokio::test]
async fn https_is_told_by_a_trusted_proxy_only() {
    let agent = Agent::ok().await;
    let mut route = agent.route();
    route.access = Access::Private;
    let world = World::with(zone().route(route), ryokan_gateway::Limits::default(), &["127.0.0.1"]).await;
    let secure = format!("{BROWSER}X-Forwarded-Proto: https\r\n");
    let answer = world.get("claw.localhost", "/", &secure).await;
    assert!(answer.header("location").unwrap().starts_with("https://localhost/v1/gateway/authorize?"));
    let ticket = world.ticket("owner", "i-1", "claw.localhost", 1);
    let answer = world.get("claw.localhost", &format!("/.ryokan/session?ticket={ticket}"), &secure).await;
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"));
    assert_eq!(answer.header("location").as_deref(), Some("/"));
}
