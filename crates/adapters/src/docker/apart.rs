//! Whether Podman still keeps the networks of projects apart. netavark 1.4 stops to as soon as it takes one of them
//! down: the rule that leads traffic through the chain that does it goes as well. It is looked for, and never mended
//! from here: the machine's firewall is its administrator's.

use std::process::Stdio;
use std::time::Duration;

use bollard::models::SystemInfo;
use ryokan_ports::runtime::EngineInfo;
use tokio::process::Command;

use super::Inner;

const PATIENCE: Duration = Duration::from_secs(5);
/// Where Debian and others have it; a service's `PATH` often lacks the first.
const PROGRAMS: [&str; 4] =
    ["/usr/sbin/iptables-save", "/sbin/iptables-save", "/usr/bin/iptables-save", "/bin/iptables-save"];
const OPEN: &str = "Podman does not keep the networks of projects apart any more (a fault of netavark 1.4); run \
                    `iptables -I FORWARD -m comment --comment \"keep projects apart\" -j NETAVARK_ISOLATION_1`, and at \
                    each boot: see docs/engines.md";
const UNSEEN: &str = "whether Podman keeps the networks of projects apart cannot be seen from here (that takes root in its \
                      network namespace), and netavark 1.4 stops to: see docs/engines.md";

impl Inner {
    /// What to say of it. Nothing when there is no program to ask with: netavark then has none either.
    pub(super) async fn networks_that_are_open(
        &self,
        facts: &EngineInfo,
        info: &SystemInfo,
    ) -> Option<String> {
        // Later ones have netavark use nftables, which keeps its rules in another way.
        let unseen = || facts.version.starts_with("4.").then(|| UNSEEN.to_owned());
        let root = rustix::process::geteuid().is_root();
        if facts.rootless || !root || !self.podman_is_our_neighbour(info).await {
            return unseen();
        }
        let program = PROGRAMS.into_iter().find(|program| std::path::Path::new(program).exists())?;
        let mut listing = Command::new(program);
        listing.args(["-t", "filter"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(Ok(listed)) = tokio::time::timeout(PATIENCE, listing.output()).await else {
            return unseen();
        };
        is_open(&String::from_utf8_lossy(&listed.stdout)).then(|| OPEN.to_owned())
    }
}

/// Whether these rules have bridges that are to be kept apart, and no way to the chain that does so before the one that
/// lets traffic through.
fn is_open(rules: &str) -> bool {
    let place = |wanted: &dyn Fn(&str) -> bool| rules.lines().position(wanted);
    let bridges = place(&|rule| rule.starts_with("-A NETAVARK_ISOLATION_1 -i "));
    let apart = place(&|rule| rule.starts_with("-A FORWARD ") && rule.ends_with(" -j NETAVARK_ISOLATION_1"));
    let through = place(&|rule| rule.starts_with("-A FORWARD ") && rule.ends_with(" -j NETAVARK_FORWARD"));
    match (bridges, apart, through) {
        (None, ..) => false,
        (Some(_), None, _) => true,
        (Some(_), Some(apart), through) => through.is_some_and(|through| through < apart),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `iptables-save` tells them, in part.
    const BRIDGE: &str = "-A NETAVARK_ISOLATION_1 -i podman1 ! -o podman1 -j NETAVARK_ISOLATION_2\n";
    const APART: &str = "-A FORWARD -j NETAVARK_ISOLATION_1\n";
    const THROUGH: &str =
        "-A FORWARD -m comment --comment \"netavark firewall plugin rules\" -j NETAVARK_FORWARD\n";
    const OTHER: &str = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";

    #[test]
    fn networks_that_netavark_opened_are_seen() {
        for open in [[OTHER, THROUGH, BRIDGE].concat(), [THROUGH, APART, BRIDGE].concat()] {
            assert!(is_open(&open), "{open}");
        }
        let again = "-A FORWARD -m comment --comment \"keep projects apart\" -j NETAVARK_ISOLATION_1\n";
        for closed in [
            String::new(),
            [OTHER, THROUGH].concat(),
            [OTHER, APART, THROUGH, BRIDGE].concat(),
            [again, OTHER, THROUGH, BRIDGE].concat(),
        ] {
            assert!(!is_open(&closed), "{closed}");
        }
    }
}
