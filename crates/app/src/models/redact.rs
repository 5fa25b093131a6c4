//! Secrets taken out of text before it is kept: keys by the forms that their makers give them, private keys in PEM over as
//! many lines as they have (also with their line ends escaped, as inside JSON), passwords in URLs, and values of fields
//! whose names say that they are secret. What it cannot know are secrets without any form; so it is a net, and no promise.

/// What stands in a secret's place.
pub const REDACTED: &str = "SECRET_REDACTED";

/// Beginnings that only keys have, how many more characters a key has at least.
const PREFIXES: &[(&str, usize)] = &[
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("sk-or-", 20),
    ("sk-", 20),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("rk_live_", 10),
    ("whsec_", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("ghr_", 30),
    ("github_pat_", 30),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("xapp-", 16),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("hf_", 20),
    ("gsk_", 20),
    ("npm_", 30),
    ("pypi-", 40),
    ("dop_v1_", 40),
    ("SG.", 40),
    ("r8_", 30),
    ("eyJ", 40),
    ("ryk_", 20),
    ("ryokan_", 20),
];

/// Names of fields whose values are secret, in lower case without `-` and `_`.
const NAMES: &[&str] = &[
    "apikey",
    "secret",
    "clientsecret",
    "password",
    "passwd",
    "pwd",
    "token",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "authorization",
    "xapikey",
    "privatekey",
    "secretkey",
    "secretaccesskey",
    "awssecretaccesskey",
    "sessiontoken",
    "bearer",
    "credential",
    "credentials",
];

/// The text without its secrets. Running it again changes nothing.
pub fn redact(text: &str) -> String {
    urls(&fields(&keys(&pem(text))))
}

/// Blocks of `-----BEGIN … PRIVATE KEY-----`. One without an end is taken out to the end of the text.
fn pem(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(at);
        out.push_str(before);
        let label = block[BEGIN.len()..].split("-----").next().unwrap_or_default();
        if !label.ends_with("PRIVATE KEY") && !label.ends_with("PRIVATE KEY BLOCK") {
            out.push_str(BEGIN);
            rest = &block[BEGIN.len()..];
            continue;
        }
        out.push_str(REDACTED);
        let end = format!("-----END {label}-----");
        rest = block.find(&end).map_or("", |at| &block[at + end.len()..]);
    }
    out.push_str(rest);
    out
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.+/=".contains(c)
}

/// Words that have the form of a key.
fn keys(text: &str) -> String {
    let (mut out, mut word) = (String::with_capacity(text.len()), String::new());
    for c in text.chars().chain(std::iter::once('\0')) {
        if is_key_char(c) {
            word.push(c);
            continue;
        }
        out.push_str(&clean(&word));
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn clean(word: &str) -> String {
    // A key may follow other text without a space, as in `key=sk-…` or `/hooks/xoxb-…`.
    let starts = std::iter::once(0).chain(word.match_indices(['=', '/', '.', '+']).map(|(at, _)| at + 1));
    for start in starts {
        let Some(rest) = word.get(start..) else { continue };
        let long = |least: usize, prefix: &str| rest.len() - prefix.len() >= least;
        if let Some((prefix, _)) = PREFIXES.iter().find(|(p, least)| rest.starts_with(p) && long(*least, p)) {
            // Tokens with dots are three words of base64; others that begin so are not.
            if *prefix == "eyJ" && rest.matches('.').count() < 2 {
                continue;
            }
            return format!("{}{REDACTED}", &word[..start]);
        }
    }
    word.to_owned()
}

/// `"api_key": "…"`, `password=…`, `Authorization: Bearer …`, escaped quotes included.
fn fields(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find([':', '=']) {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let name_part = before[..at].trim_end_matches([' ', '"', '\'', '\\', '`']);
        let name: String = name_part
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-')
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let secret =
            NAMES.iter().any(|known| name == *known || (name.len() > known.len() && name.ends_with(known)));
        if !secret {
            continue;
        }
        let lead: &str = &rest[..rest.len() - rest.trim_start_matches([' ', '"', '\'', '\\', '`']).len()];
        let mut value = &rest[lead.len()..];
        let mut kept = lead.to_owned();
        for scheme in ["Bearer ", "bearer ", "Basic ", "basic "] {
            if let Some(more) = value.strip_prefix(scheme) {
                kept.push_str(scheme);
                value = more;
            }
        }
        let quoted = lead.contains(['"', '\'', '`']);
        let end =
            value
                .find(|c: char| {
                    if quoted { "\"'`\\\n".contains(c) } else { c.is_whitespace() || ",;&\"'}])".contains(c) }
                })
                .unwrap_or(value.len());
        let found = &value[..end];
        // Short values are words such as `true`, `null` or `string`.
        if found.len() >= 6
            && found != REDACTED
            && !matches!(found, "string" | "object" | "number" | "boolean")
        {
            out.push_str(&kept);
            out.push_str(REDACTED);
            rest = &value[end..];
        }
    }
    out.push_str(rest);
    out
}

/// `scheme://user:password@host`.
fn urls(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        rest = after;
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(rest.len());
        if let Some(host) = rest[..end].rfind('@')
            && let Some(colon) = rest[..host].find(':')
            && &rest[colon + 1..host] != REDACTED
        {
            out.push_str(&rest[..=colon]);
            out.push_str(REDACTED);
            rest = &rest[host..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(count: usize) -> String {
        "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7".chars().cycle().take(count).collect()
    }

    /// Made here, so that no scanner takes this file for a leak.
    fn corpus() -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (prefix, least) in PREFIXES {
            let body = if *prefix == "eyJ" {
                format!("{}.{}.{}", letters(20), letters(20), letters(20))
            } else {
                letters(*least + 4)
            };
            let key = format!("{prefix}{body}");
            all.push((key.clone(), format!("my key is {key}, use it")));
            all.push((key.clone(), format!("{{\"messages\":[{{\"content\":\"{key}\"}}]}}")));
            all.push((key.clone(), format!("X={key}\nY=2")));
            all.push((key.clone(), format!("`{key}`")));
        }
        let body = format!("{}\n{}\n{}", letters(64), letters(64), letters(20));
        for label in [
            "RSA PRIVATE KEY",
            "PRIVATE KEY",
            "EC PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
        ] {
            let key = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----");
            all.push((letters(64), format!("here:\n{key}\nthat was it")));
            // As JSON has it, once and twice escaped.
            all.push((letters(64), format!("{{\"k\":\"{}\"}}", key.replace('\n', "\\n"))));
            all.push((letters(64), key.replace('\n', "\\\\n")));
            all.push((letters(64), key.replace('\n', "\r\n")));
            all.push((letters(64), format!("-----BEGIN {label}-----\n{body}")));
        }
        let word = "correct-horse-battery";
        for text in [
            format!("password={word}"),
            format!("\"password\": \"{word}\""),
            format!("\\\"client_secret\\\": \\\"{word}\\\""),
            format!("DB_PASSWORD='{word}' make"),
            format!("Authorization: Bearer {word}"),
            format!("authorization: Basic {word}"),
            format!("https://h/?api_key={word}&x=1"),
            format!("postgres://user:{word}@host:5432/db"),
            format!("X-Api-Key: {word}"),
            format!("aws_secret_access_key = {word}"),
        ] {
            all.push((word.to_owned(), text));
        }
        all
    }

    #[test]
    fn no_secret_of_the_corpus_is_left() {
        for (secret, text) in corpus() {
            let clean = redact(&text);
            assert!(!clean.contains(&secret) && clean.contains(REDACTED), "{text:?} became {clean:?}");
            assert_eq!(redact(&clean), clean, "again changes nothing");
        }
    }

    #[test]
    fn what_is_around_a_secret_stays() {
        let key = format!("sk-{}", letters(30));
        assert_eq!(redact(&format!("use {key}, please")), "use SECRET_REDACTED, please");
        assert_eq!(redact("password: hunter22; next"), "password: SECRET_REDACTED; next");
        assert_eq!(redact("postgres://u:secret@h/db"), "postgres://u:SECRET_REDACTED@h/db");
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in [
            "Hello, how are you? What is a token: a piece of text?",
            "fn main() { let x: u32 = 5; }",
            "the password is asked for at https://example.com/login",
            r#"{"type":"object","properties":{"password":{"type":"string"}}}"#,
            "max_tokens: 4096",
            "sk-short and AKIA are no keys",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "a = b; c == d; e::f",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}") {
            let once = redact(&text);
            prop_assert_eq!(redact(&once), once);
        }

        #[test]
        fn a_key_is_found_wherever_it_stands(before in "[ -~]{0,20}[ \n\"'(]", after in "[ \n\"',)][ -~]{0,20}") {
            let key = format!("sk-proj-{}", letters(40));
            let text = format!("{before}{key}{after}");
            prop_assert!(!redact(&text).contains(&key));
        }
    }
}
