//! Labels and names of everything that the engine holds for us. Labels say whose a thing is and are the only way to
//! find it; names are made from ids, so that making the same thing twice meets itself.

use std::collections::HashMap;

use ryokan_model::{InstanceId, Name, ProjectId, ServerId};
use ryokan_ports::runtime::Reach;
use sha2::{Digest as _, Sha256};

pub(super) const SERVER: &str = "ryokan.server";
pub(super) const PROJECT: &str = "ryokan.project";
pub(super) const INSTANCE: &str = "ryokan.instance";
pub(super) const GENERATION: &str = "ryokan.generation";
pub(super) const NAME: &str = "ryokan.name";
/// Name of the volume within its instance.
pub(super) const VOLUME: &str = "ryokan.volume";
/// How many it holds.
pub(super) const GPUS: &str = "ryokan.gpus";
/// What a container was told of its surroundings.
pub(super) const FACTS: &str = "ryokan.facts";
/// Which of its project's networks one is; of a container: the one that its project reaches it in. What has none is of
/// the time when a project had one network, with a route to everywhere.
pub(super) const NETWORK: &str = "ryokan.network";
/// How a container was made to be reached.
pub(super) const REACH: &str = "ryokan.reach";
/// `ryokan.port.NAME` holds the port's number.
pub(super) const PORT: &str = "ryokan.port.";
/// The server that built an image, and what for. Containers that a build runs its steps in bear these, too, and may bear
/// whatever else a Dockerfile says; so they must never come by [`SERVER`], which makes a container an instance's.
pub(super) const BUILT_BY: &str = "ryokan.build";
pub(super) const BUILT_FOR: &str = "ryokan.build.project";
pub(super) const BUILT_IN: &str = "ryokan.build.deployment";
/// Marks the never started containers that prepare volumes; they live for milliseconds and are no instance's.
pub(super) const PURPOSE: &str = "ryokan.purpose";

pub(super) type Labels = HashMap<String, String>;

/// The random end of a `UUIDv7`.
fn short(id: &impl std::fmt::Display) -> String {
    id.to_string().split_off(24)
}

fn prefix(server: ServerId) -> String {
    format!("ryokan-{}", server.to_string().split_off(32))
}

pub(super) fn container_name(server: ServerId, instance: InstanceId, name: &Name, generation: i64) -> String {
    format!("{}-{name}-{}-g{generation}", prefix(server), short(&instance))
}

/// `kind` is the word under [`NETWORK`].
pub(super) fn network_name(server: ServerId, project: ProjectId, kind: &str) -> String {
    format!("{}-{}-{kind}", prefix(server), short(&project))
}

/// An interface of this machine has at most 15 characters, and must be another one for each server and project.
pub(super) fn bridge_name(server: ServerId, project: ProjectId, kind: &str) -> String {
    let digest =
        Sha256::new().chain_update(server.0.as_bytes()).chain_update(project.0.as_bytes()).finalize();
    format!("rk{}-{}", &kind[..1], &hex::encode(digest)[..10])
}

pub(super) fn volume_prefix(server: ServerId) -> String {
    format!("{}-", prefix(server))
}

pub(super) fn volume_name(server: ServerId, instance: InstanceId, volume: &str) -> String {
    format!("{}-{}-{volume}", prefix(server), short(&instance))
}

/// The instance's part and the volume's own name in a name that [`volume_name`] makes for this server; `None` for any
/// other name.
pub(super) fn read_volume_name(server: ServerId, name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(&volume_prefix(server))?;
    let (end, volume) = rest.split_at_checked(12)?;
    let volume = volume.strip_prefix('-')?;
    let digits = end.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digits && ryokan_model::spec::is_volume_name(volume)).then_some((end, volume))
}

pub(super) fn of_project(server: ServerId, project: ProjectId) -> Labels {
    HashMap::from([(SERVER.to_owned(), server.to_string()), (PROJECT.to_owned(), project.to_string())])
}

pub(super) fn of_build(server: ServerId, project: ProjectId) -> Labels {
    HashMap::from([(BUILT_BY.to_owned(), server.to_string()), (BUILT_FOR.to_owned(), project.to_string())])
}

pub(super) fn of_instance(server: ServerId, project: ProjectId, instance: InstanceId) -> Labels {
    let mut labels = of_project(server, project);
    labels.insert(INSTANCE.to_owned(), instance.to_string());
    labels
}

/// An engine's filter: each label must be there with its value (or at all, without one).
pub(super) fn filter(labels: &[(&str, Option<String>)]) -> HashMap<String, Vec<String>> {
    let wanted = labels
        .iter()
        .map(|(key, value)| value.as_ref().map_or_else(|| (*key).to_owned(), |v| format!("{key}={v}")))
        .collect();
    HashMap::from([("label".to_owned(), wanted)])
}

/// Whether these are among the labels. Engines are asked with [`filter`] to spare them and us a long answer; what they
/// answer is looked at again with this, because Podman takes several labels of a volume for alternatives.
pub(super) fn carries(labels: &Labels, wanted: &[(&str, Option<String>)]) -> bool {
    wanted.iter().all(|(key, value)| {
        labels.get(*key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
    })
}

/// What the labels of a container say.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub(super) instance: InstanceId,
    pub(super) project: ProjectId,
    pub(super) generation: i64,
    pub(super) reach: Reach,
    pub(super) ports: Vec<(String, u16)>,
    pub(super) gpus: u32,
    pub(super) facts: String,
    /// Whether it is in its project's closed network.
    pub(super) is_closed_in: bool,
}

impl Tag {
    /// `None` unless the labels are whole and of this server.
    pub(super) fn read(server: ServerId, labels: &Labels) -> Option<Self> {
        if labels.get(SERVER)? != &server.to_string() {
            return None;
        }
        Some(Self {
            instance: labels.get(INSTANCE)?.parse().ok()?,
            project: labels.get(PROJECT)?.parse().ok()?,
            generation: labels.get(GENERATION)?.parse().ok()?,
            reach: match labels.get(REACH).map(String::as_str) {
                Some("loopback") => Reach::Loopback,
                _ => Reach::Bridge,
            },
            gpus: labels.get(GPUS).and_then(|n| n.parse().ok()).unwrap_or(0),
            is_closed_in: labels.contains_key(NETWORK),
            facts: labels.get(FACTS).cloned().unwrap_or_default(),
            ports: labels
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(PORT)?.to_owned(), value.parse().ok()?)))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_labels_must_be_there() {
        let labels: Labels = [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let is = |value: &str| Some(value.to_owned());
        assert!(carries(&labels, &[("a", is("1")), ("b", None)]));
        for wanted in [[("a", is("1")), ("b", is("1"))], [("a", is("1")), ("c", None)]] {
            assert!(!carries(&labels, &wanted), "{wanted:?}");
        }
    }

    #[test]
    fn bridges_have_names_that_an_interface_may_have() {
        let id = |last: u128| uuid::Uuid::from_u128(0x0198_f3a1_7c2b_7def_8123_4567_89ab_0000 + last);
        let mut names = std::collections::HashSet::new();
        for (server, project) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            for kind in ["closed", "routed"] {
                let name = bridge_name(ServerId(id(server)), ProjectId(id(project)), kind);
                assert!(name.len() < 16 && name.starts_with(&format!("rk{}-", &kind[..1])), "{name}");
                names.insert(name);
            }
        }
        assert_eq!(names.len(), 8);
    }

    #[test]
    fn only_names_that_we_make_are_read() {
        let id: InstanceId = "0198f3a1-7c2b-7def-8123-456789abcdef".parse().unwrap();
        let server = ServerId(id.0);
        let name = volume_name(server, id, "my-data");
        assert_eq!(name, "ryokan-cdef-456789abcdef-my-data");
        assert_eq!(read_volume_name(server, &name), Some(("456789abcdef", "my-data")));
        for other in [
            "ryokan-cdee-456789abcdef-my-data",
            "ryokan-cdef-456789abcdeg-my-data",
            "ryokan-cdef-456789ABCDEF-my-data",
            "ryokan-cdef-456789abcdef",
            "ryokan-cdef-456789abcdef-",
            "ryokan-cdef-456789abcdef-My_data",
            "ryokan-cdef-456789abcdé-x",
            "my-ryokan-cdef-456789abcdef-my-data",
            "ryokan-cdef-456789abcdef0-my-data",
            "ryokan-cdef-data",
            "",
        ] {
            assert_eq!(read_volume_name(server, other), None, "{other}");
        }
    }
}
