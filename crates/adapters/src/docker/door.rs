//! What an instance is told of our door: the variables by which programs find a proxy, models and the authorities to
//! trust. What the spec sets itself is left alone. The token is a secret: it is in the variables and nowhere else.

use std::collections::BTreeMap;

use ryokan_model::spec::EgressProfile;
use ryokan_ports::runtime::{TRUST, Workload};

/// What is not to be asked of the proxy: itself, and siblings by their full names.
const DIRECT: &str = "localhost,127.0.0.1,::1";
/// Programs that take these files for all there is to trust.
const BUNDLE_IN: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
];
/// Programs that add to their own.
const ADDED_IN: &str = "NODE_EXTRA_CA_CERTS";

/// Name and value of each variable, for a container that sees this machine at `host`.
pub(super) fn variables(workload: &Workload, host: Option<&str>) -> BTreeMap<String, String> {
    let spec = &workload.spec;
    let (Some(door), Some(host), true) = (&workload.door, host, spec.egress.has_door()) else {
        return BTreeMap::new();
    };
    let (port, token) = (door.port, door.token.expose());
    let url = format!("http://{host}:{port}");
    let mut variables: Vec<(&str, String)> = vec![
        ("RYOKAN_TOKEN", token.to_owned()),
        ("RYOKAN_URL", url.clone()),
        ("OPENAI_BASE_URL", format!("{url}/v1")),
        ("OPENAI_API_KEY", token.to_owned()),
        ("ANTHROPIC_BASE_URL", url),
        ("ANTHROPIC_API_KEY", token.to_owned()),
    ];
    if spec.egress == EgressProfile::Proxy {
        let proxy = format!("http://agent:{token}@{host}:{port}");
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"];
        variables.extend(names.map(|name| (name, proxy.clone())));
        let direct = format!("{DIRECT},{host},.internal");
        variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name, direct.clone())));
        variables.push(("NODE_USE_ENV_PROXY", "1".to_owned()));
        if workload.trust.is_some() {
            variables.extend(BUNDLE_IN.map(|name| (name, format!("{TRUST}/ca-bundle.crt"))));
            variables.push((ADDED_IN, format!("{TRUST}/ca.crt")));
        }
    }
    let own = |name: &str| spec.env.contains_key(name) || spec.secret_env.contains(name);
    variables
        .into_iter()
        .filter(|(name, _)| !own(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The same in words that anybody may read: another text, another door.
pub(super) fn described(workload: &Workload, host: Option<&str>) -> Option<String> {
    let (Some(door), Some(host), true) = (&workload.door, host, workload.spec.egress.has_door()) else {
        return None;
    };
    let trust = workload.trust.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
    Some(format!("door {host}:{} {trust}", door.port))
}
