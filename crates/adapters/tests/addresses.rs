//! What an address holds, asked of a service over HTTP.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use ryokan_adapters::bsv::{Bsv, Chain, HeaderSource};
use ryokan_model::Secret;
use ryokan_model::project::Network;
use ryokan_ports::payment::{PaymentError, PaymentProvider as _};

const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// Answers to what is asked of it, by the end of the path; and what was asked.
type Answers = Arc<Mutex<(Vec<(&'static str, u16, String)>, Vec<String>)>>;

fn service() -> (String, Answers) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = Answers::default();
    let known = answers.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().to_owned();
            let mut known = known.lock().unwrap();
            let found = known.0.iter().find(|(end, ..)| path.ends_with(end));
            let (status, body) =
                found.map_or((404, String::new()), |(_, status, body)| (*status, body.clone()));
            known.1.push(head.join("\n"));
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} Told\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    (url, answers)
}

fn provider(url: &str) -> Bsv {
    let chain = |part: &str| Chain {
        arc_url: "http://127.0.0.1:1".into(),
        arc_key: None,
        headers: HeaderSource::WhatsOnChain("http://127.0.0.1:1".into()),
        headers_key: None,
        addresses_url: format!("{url}/{part}"),
        addresses_key: Some(Secret::new("hush")),
    };
    Bsv::new(chain("main"), chain("test")).unwrap()
}

#[tokio::test]
async fn what_is_mined_and_what_is_not_yet_is_one_sum() {
    let (url, answers) = service();
    let bsv = provider(&url);
    let say = |confirmed: (u16, &str), unconfirmed: (u16, &str)| {
        let mut answers = answers.lock().unwrap();
        answers.0 = vec![
            ("/unconfirmed/balance", unconfirmed.0, unconfirmed.1.to_owned()),
            ("/confirmed/balance", confirmed.0, confirmed.1.to_owned()),
        ];
    };
    say((200, r#"{"address":"x","confirmed":700,"error":""}"#), (200, r#"{"unconfirmed":-300}"#));
    assert_eq!(bsv.funds(Network::Mainnet, KEY).await, Ok(400));
    let asked = answers.lock().unwrap().1.join("\n");
    assert!(
        asked.contains("GET /main/address/1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH/confirmed/balance"),
        "{asked}"
    );
    assert!(asked.contains("authorization: Bearer hush"), "{asked}");
    // Nobody has seen it; something is being spent twice.
    say((404, ""), (404, ""));
    assert_eq!(bsv.funds(Network::Testnet, KEY).await, Ok(0));
    assert!(answers.lock().unwrap().1.join("").contains("/test/address/mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r/"));
    say((200, r#"{"confirmed":1}"#), (200, r#"{"unconfirmed":-5}"#));
    assert_eq!(bsv.funds(Network::Mainnet, KEY).await, Ok(0));
    for (confirmed, unconfirmed) in [
        ((500, "{}"), (200, r#"{"unconfirmed":0}"#)),
        ((200, r#"{"confirmed":"1"}"#), (200, r#"{"unconfirmed":0}"#)),
        ((200, r#"{"confirmed":1}"#), (429, "slow down")),
        ((200, r#"{"confirmed":9223372036854775807}"#), (200, r#"{"unconfirmed":1}"#)),
        ((200, "<html>"), (200, "<html>")),
    ] {
        say(confirmed, unconfirmed);
        let error = bsv.funds(Network::Mainnet, KEY).await.unwrap_err();
        assert!(matches!(error, PaymentError::Unavailable(_)), "{confirmed:?} {error}");
        assert!(!error.to_string().contains("127.0.0.1") && !error.to_string().contains("hush"), "{error}");
    }
}
