//! Signing in and out: passwords, links, cookies, and the session of an agent's host.

use std::time::Duration;

use ryokan_store::StoreUrl;
use serde_json::json;

use super::{PASSWORD, browser, signed_in, with_password};
use crate::support::{Client, eventually, on_both, on_sqlite, on_sqlite_with};

#[tokio::test]
async fn passwords_sign_in_and_wrong_ones_look_like_unknown_logins() {
    on_both(async |site| {
        with_password(site, "alice").await;
        let alice = signed_in(site, "alice").await;
        assert_eq!(alice.get("/v1/users/me").await.expect(200)["login"], "alice");
        let anonymous = site.anonymous();
        let wrong =
            anonymous.post("/v1/sessions", json!({"login": "alice", "password": "wrong wrong"})).await;
        let unknown =
            anonymous.post("/v1/sessions", json!({"login": "nobody", "password": "wrong wrong"})).await;
        assert_eq!(wrong.expect(403)["detail"], unknown.expect(403)["detail"]);
        assert!(!wrong.headers.contains_key("set-cookie"));
        // Without a password there is none to guess.
        site.operator().post("/v1/users", json!({"login": "bare"})).await.expect(201);
        anonymous.post("/v1/sessions", json!({"login": "bare", "password": ""})).await.expect(403);
        for bad in [json!({}), json!({"login": "alice"}), json!({"login": "a", "password": "b", "link": "c"})]
        {
            anonymous.post("/v1/sessions", bad).await.expect(400);
        }
        let short = site.operator().post("/v1/users", json!({"login": "bob", "password": "short"})).await;
        assert_eq!(short.expect(400)["field"], "password");
        let refused: Vec<_> =
            site.events().await.into_iter().filter(|e| e["kind"] == "session.refused").collect();
        assert_eq!(refused.len(), 3);
        assert!(refused.iter().all(|e| e["outcome"] == "denied" && e["address"] == "127.0.0.1"));
    })
    .await;
}

#[tokio::test]
async fn guessing_locks_out_with_backoff_even_when_all_guesses_come_at_once() {
    on_sqlite(async |site| {
        with_password(site, "alice").await;
        let anonymous = site.anonymous();
        let guess = |password: &str| {
            let (anonymous, body) = (anonymous.clone(), json!({"login": "alice", "password": password}));
            async move { anonymous.post("/v1/sessions", body).await }
        };
        let replies = futures_util::future::join_all((0..20).map(|_| guess("wrong wrong"))).await;
        let tried = replies.iter().filter(|r| r.status == 403).count();
        assert_eq!(tried, 6, "guesses that were checked");
        let locked = replies.iter().find(|r| r.status == 429).unwrap();
        assert!(["1", "2"].contains(&locked.header("retry-after")), "{locked:?}");
        assert_eq!(locked.expect(429)["code"], "too_many_requests");
        // The right password does not help while it is locked, and a token is not affected.
        guess(PASSWORD).await.expect(429);
        site.operator().get("/v1/users").await.expect(200);
        site.clock.forward(Duration::from_millis(1100));
        guess("wrong wrong").await.expect(403);
        site.clock.forward(Duration::from_millis(1100));
        guess(PASSWORD).await.expect(429);
        site.clock.forward(Duration::from_millis(1100));
        guess(PASSWORD).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_program_with_an_old_token_locks_nobody_out() {
    on_sqlite(async |site| {
        with_password(site, "alice").await;
        let old = site.with_token("ryk_revoked");
        for _ in 0..6 {
            old.get("/v1/instances").await.expect(401);
        }
        old.get("/v1/instances").await.expect(429);
        signed_in(site, "alice").await.get("/v1/instances").await.expect(200);
        site.operator().get("/v1/instances").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn one_time_links_work_once_and_expire() {
    on_both(async |site| {
        let first = browser(site, json!({"link": site.first_link()})).await;
        assert_eq!(first.get("/v1/users/me").await.expect(200)["login"], "operator");
        site.anonymous().post("/v1/sessions", json!({"link": site.first_link()})).await.expect(403);
        let operator = site.operator();
        operator.post("/v1/users", json!({"login": "alice"})).await.expect(201);
        let link = async || {
            let made = operator.post("/v1/users/alice/login-link", json!({})).await.expect(201);
            made["url"].as_str().unwrap().split_once("/login?link=").unwrap().1.to_owned()
        };
        // Looking at the page does not use it up, however often a scanner does.
        let one = link().await;
        for _ in 0..3 {
            assert_eq!(site.anonymous().get(&format!("/login?link={one}")).await.status, 200);
        }
        let replies = futures_util::future::join_all((0..4).map(|_| {
            let (client, body) = (site.anonymous(), json!({"link": one}));
            async move { client.post("/v1/sessions", body).await.status }
        }))
        .await;
        assert_eq!(replies.iter().filter(|s| **s == 201).count(), 1, "{replies:?}");
        let late = link().await;
        site.clock.forward(Duration::from_mins(16));
        site.anonymous().post("/v1/sessions", json!({"link": late})).await.expect(403);
        // A disabled account's link opens nothing.
        let disabled = link().await;
        operator.patch("/v1/users/alice", json!({"disabled": true})).await.expect(200);
        site.anonymous().post("/v1/sessions", json!({"link": disabled})).await.expect(403);
    })
    .await;
}

#[tokio::test]
async fn cookies_are_host_only_and_only_our_own_pages_may_use_them() {
    on_sqlite(async |site| {
        with_password(site, "alice").await;
        let body = json!({"login": "alice", "password": PASSWORD});
        let reply = site.anonymous().post("/v1/sessions", body).await;
        let cookie = reply.header("set-cookie").to_owned();
        assert!(cookie.starts_with("ryokan_session=rys_"), "{cookie}");
        for flag in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(flag), "{cookie} lacks {flag}");
        }
        assert!(!cookie.contains("Domain") && !cookie.contains("Secure"), "{cookie}");
        assert!(!reply.text.contains("rys_"), "the secret is in the body: {}", reply.text);
        let plain = site.anonymous().with("cookie", cookie.split(';').next().unwrap());
        let own = format!("http://{}", site.address());
        for (name, value, get, post) in [
            ("sec-fetch-site", "same-origin", 200, 201),
            ("sec-fetch-site", "none", 200, 403),
            ("sec-fetch-site", "same-site", 403, 403),
            ("sec-fetch-site", "cross-site", 403, 403),
            ("origin", "http://claw.localhost:7700", 403, 403),
            ("origin", "null", 403, 403),
            ("origin", own.as_str(), 200, 201),
            ("x-nothing", "", 200, 403),
        ] {
            let client = plain.with(name, value);
            assert_eq!(client.get("/v1/users/me").await.status, get, "GET {name}: {value}");
            let reply = client.post("/v1/tokens", json!({"label": "x"})).await;
            assert_eq!(reply.status, post, "POST {name}: {value}: {}", reply.text);
        }
        // A page that lies to its own advantage in one header is caught by the other.
        let mixed = plain.with("sec-fetch-site", "same-site").with("origin", &own);
        mixed.post("/v1/tokens", json!({"label": "x"})).await.expect(403);
    })
    .await;
}

#[tokio::test]
async fn a_foreign_page_cannot_use_up_its_visitor_s_requests() {
    on_sqlite_with(
        |config| config.limits.requests_per_second = 2,
        async |site| {
            with_password(site, "alice").await;
            let own = signed_in(site, "alice").await;
            let foreign = own.without("sec-fetch-site").with("sec-fetch-site", "same-site");
            let mut refused = 0;
            while foreign.get("/v1/users/me").await.status == 403 {
                refused += 1;
                assert!(refused < 100, "no limit holds");
            }
            foreign.get("/v1/users/me").await.expect(429);
            own.get("/v1/users/me").await.expect(200);
        },
    )
    .await;
}

#[tokio::test]
async fn behind_tls_the_cookie_is_bound_to_it() {
    on_sqlite_with(
        |config| config.server.trusted_proxies = vec!["127.0.0.0/8".into()],
        async |site| {
            with_password(site, "alice").await;
            let proxied =
                site.anonymous().with("x-forwarded-proto", "https").with("x-forwarded-for", "203.0.113.7");
            let body = json!({"login": "alice", "password": PASSWORD});
            let reply = proxied.post("/v1/sessions", body).await;
            let cookie = reply.header("set-cookie").to_owned();
            assert!(cookie.starts_with("__Host-ryokan_session=") && cookie.contains("Secure"), "{cookie}");
            let pair = cookie.split(';').next().unwrap();
            let page = proxied.with("cookie", pair).with("sec-fetch-site", "same-origin");
            page.get("/v1/users/me").await.expect(200);
            // A cookie without the prefix, which any page of the site can set, is not looked at.
            let planted = pair.replace("__Host-", "");
            proxied
                .with("cookie", &planted)
                .with("sec-fetch-site", "same-origin")
                .get("/v1/users/me")
                .await
                .expect(401);
            let events = site.events().await;
            let session = events.iter().find(|e| e["kind"] == "session.created").unwrap();
            assert_eq!(session["address"], "203.0.113.7");
        },
    )
    .await;
}

#[tokio::test]
async fn signing_out_a_new_password_and_a_lock_end_sessions_at_once() {
    on_both(async |site| {
        let operator = site.operator();
        with_password(site, "alice").await;
        let (one, two) = (signed_in(site, "alice").await, signed_in(site, "alice").await);
        let reply = one.delete("/v1/sessions").await;
        assert!(reply.status == 204 && reply.header("set-cookie").contains("Max-Age=0"), "{reply:?}");
        one.get("/v1/users/me").await.expect(401);
        two.get("/v1/users/me").await.expect(200);
        for (body, field) in [
            (json!({"password": "another password"}), "current_password"),
            (json!({"password": "another password", "current_password": "wrong"}), "current_password"),
            (json!({"password": "short", "current_password": PASSWORD}), "password"),
            (json!({"name": " "}), "name"),
        ] {
            assert_eq!(two.patch("/v1/users/me", body).await.expect(400)["field"], field);
        }
        two.patch("/v1/users/me", json!({"operator": true})).await.expect(403);
        let body = json!({"password": "another password", "current_password": PASSWORD});
        two.patch("/v1/users/me", body).await.expect(200);
        two.get("/v1/users/me").await.expect(401);
        let three = browser(site, json!({"login": "alice", "password": "another password"})).await;
        let token = operator.post("/v1/tokens", json!({"label": "x", "user": "alice"})).await.expect(201);
        let token = site.with_token(token["secret"].as_str().unwrap());
        token.get("/v1/users/me").await.expect(200);
        operator.patch("/v1/users/alice", json!({"disabled": true})).await.expect(200);
        three.get("/v1/users/me").await.expect(401);
        token.get("/v1/users/me").await.expect(401);
        site.anonymous()
            .post("/v1/sessions", json!({"login": "alice", "password": "another password"}))
            .await
            .expect(403);
        operator.patch("/v1/users/alice", json!({"disabled": false})).await.expect(200);
        three.get("/v1/users/me").await.expect(401);
        token.get("/v1/users/me").await.expect(200);
        // Seven days.
        let four = browser(site, json!({"login": "alice", "password": "another password"})).await;
        site.clock.forward(Duration::from_secs(7 * 24 * 3600 + 1));
        four.get("/v1/users/me").await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn nobody_signs_a_browser_in_from_elsewhere() {
    on_sqlite(async |site| {
        with_password(site, "alice").await;
        let own = format!("http://{}", site.address());
        for (name, value, status) in [
            ("sec-fetch-site", "same-origin", 201),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("origin", own.as_str(), 201),
            ("origin", "http://claw.localhost:7700", 403),
            ("origin", "null", 403),
            ("x-nothing", "", 201),
        ] {
            let client = site.anonymous().with(name, value);
            let body = json!({"login": "alice", "password": PASSWORD});
            let reply = client.post("/v1/sessions", body).await;
            assert_eq!(reply.status, status, "{name}: {value}: {}", reply.text);
            assert_eq!(reply.headers.contains_key("set-cookie"), status == 201, "{name}: {value}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_dashboard_has_its_own_paths_and_loads_nothing_from_elsewhere() {
    on_sqlite(async |site| {
        let anonymous = site.anonymous();
        for path in
            ["/", "/login?link=x&return=/", "/new", "/new/hello", "/agents/claw/logs", "/settings/users"]
        {
            let page = anonymous.get(path).await;
            assert_eq!(
                (page.status, page.header("content-type")),
                (200, "text/html; charset=utf-8"),
                "{path}"
            );
            let policy = page.header("content-security-policy");
            for part in ["default-src 'none'; script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
            {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("script-src 'self' 'unsafe"), "{policy}");
            assert_eq!(page.header("referrer-policy"), "no-referrer");
        }
        // What belongs to the API, or to nobody, is no page, whoever asks.
        let browser = anonymous.with("accept", "text/html").with("sec-fetch-mode", "navigate");
        for (path, status) in [
            ("/v1/instances", 401),
            ("/instances", 401),
            ("/users", 401),
            ("/nodes", 401),
            ("/_app/immutable/nothing.js", 404),
            ("/agents", 404),
            ("/nothing", 404),
        ] {
            let reply = browser.get(path).await;
            assert_eq!(reply.status, status, "{path}: {}", reply.text);
            assert!(!reply.text.contains("<html"), "{path}: {}", reply.text);
        }
        assert_eq!(anonymous.post("/login", json!({})).await.status, 405);
    })
    .await;
}

#[tokio::test]
async fn a_ticket_works_once_on_all_servers_and_over_restarts() {
    on_both(async |site| {
        with_password(site, "alice").await;
        let alice = signed_in(site, "alice").await;
        alice.ready("claw", json!({})).await;
        let ticket = async |port: u16| {
            let alice = signed_in(site, "alice").await;
            let back = format!("http%3A%2F%2Fclaw.localhost%3A{port}%2F");
            let reply = alice.get(&format!("/v1/gateway/authorize?instance=claw&return={back}")).await;
            let path = reply.header("location").split_once("/.ryokan/").expect(&reply.text).1.to_owned();
            format!("/.ryokan/{path}")
        };
        let redeem = async |client: Client, path: &str| {
            let port = client.base.rsplit(':').next().unwrap().to_owned();
            let at_host = client.with("host", &format!("claw.localhost:{port}"));
            eventually("a server that has just started knows the agent", async || {
                let reply = at_host.get("/").await;
                if reply.status == 401 { Ok(()) } else { Err(reply.text) }
            })
            .await;
            at_host.get(path).await
        };
        let path = ticket(site.address().port()).await;
        assert!(redeem(site.anonymous(), &path).await.headers.contains_key("set-cookie"));
        site.restart().await;
        redeem(site.anonymous(), &path).await.expect(403);
        // No ticket signs anybody in at the zone.
        let path = ticket(site.address().port()).await;
        let sealed = path.split_once("ticket=").unwrap().1.split('&').next().unwrap();
        site.anonymous().post("/v1/sessions", json!({"link": sealed})).await.expect(403);
        let caller = site.app().bearer(&site.first_token(), "").unwrap();
        let nonce = site.app().issue_ticket(&caller, Duration::from_mins(1)).await.unwrap();
        let name = format!("ticket:{:032x}", u128::from_be_bytes(nonce));
        site.anonymous().post("/v1/sessions", json!({"link": name})).await.expect(403);
        assert!(site.app().use_ticket(nonce).await.unwrap() && !site.app().use_ticket(nonce).await.unwrap());
        if matches!(site.database.url(), StoreUrl::Postgres(_)) {
            let beside = site.beside().await;
            let other = Client::new(beside.address, None);
            assert!(redeem(other, &path).await.headers.contains_key("set-cookie"));
            redeem(site.anonymous(), &path).await.expect(403);
            assert!(beside.stop().await);
        } else {
            assert!(redeem(site.anonymous(), &path).await.headers.contains_key("set-cookie"));
        }
    })
    .await;
}

#[tokio::test]
async fn an_agent_s_host_gets_a_session_of_its_own_and_only_for_its_owner() {
    on_sqlite(async |site| {
        with_password(site, "alice").await;
        with_password(site, "bob").await;
        let alice = signed_in(site, "alice").await;
        alice.ready("claw", json!({})).await;
        let port = site.address().port();
        let authorize = |client: &Client, instance: &str, back: &str| {
            let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
            let (client, path) =
                (client.clone(), format!("/v1/gateway/authorize?instance={instance}&return={back}"));
            async move { client.get(&path).await }
        };
        let good = format!("http://claw.localhost:{port}/page?a=b");
        let reply = authorize(&alice, "claw", &good).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        let location = reply.header("location").to_owned();
        let start = format!("http://claw.localhost:{port}/.ryokan/session?ticket=");
        assert!(location.starts_with(&start), "{location}");
        // The ticket opens that host, once, for a cookie that is not the zone's.
        let path = location.split_once(&format!("localhost:{port}")).unwrap().1.to_owned();
        let at_host = site.anonymous().with("host", &format!("claw.localhost:{port}"));
        let elsewhere = site.anonymous().with("host", &format!("frontend-claw.localhost:{port}"));
        assert_ne!(elsewhere.get(&path).await.header("location"), "/page?a=b", "a ticket of another host");
        let reply = at_host.get(&path).await;
        assert_eq!(reply.header("location"), "/page?a=b", "{} {}", reply.status, reply.text);
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        assert!(!cookie.contains("rys_") && !cookie.starts_with("ryokan_session"), "{cookie}");
        assert!(!at_host.get(&path).await.headers.contains_key("set-cookie"), "a ticket works twice");
        let page = at_host.with("cookie", &cookie).with("sec-fetch-site", "same-origin");
        let reply = page.get("/page").await;
        assert!(reply.status == 200 && reply.text.starts_with("GET /page "), "{}", reply.text);
        assert!(!reply.text.contains(cookie.split('=').nth(1).unwrap()), "the cookie reached the agent");
        // It is no credential for us.
        site.anonymous()
            .with("cookie", &cookie)
            .with("sec-fetch-site", "same-origin")
            .get("/v1/users/me")
            .await
            .expect(401);
        // Nobody else's, and nowhere else.
        let bob = signed_in(site, "bob").await;
        authorize(&bob, "claw", &good).await.expect(404);
        authorize(&bob, "none", &good).await.expect(404);
        for bad in [
            "https://evil.example/".to_owned(),
            format!("http://claw.localhost.evil.example:{port}/"),
            format!("http://evil.localhost:{port}/"),
            format!("http://claw.localhost@evil.example:{port}/"),
            format!("http://x--claw.localhost:{port}/"),
            "/relative".to_owned(),
            format!("http://claw.localhost:{port}//evil.example"),
        ] {
            let reply = authorize(&alice, "claw", &bad).await;
            assert_eq!(reply.expect(400)["field"], "return", "{bad}");
        }
        let reply = authorize(&site.anonymous(), "claw", &good).await;
        assert!(
            reply.header("location").starts_with("/login?return=%2Fv1%2Fgateway%2Fauthorize"),
            "{reply:?}"
        );
        // Signing out ends it there as well, with the next request.
        alice.delete("/v1/sessions").await.expect(204);
        assert_ne!(page.get("/page").await.status, 200);
    })
    .await;
}
