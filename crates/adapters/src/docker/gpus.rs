//! Whether an engine gives GPUs to containers. Asked before anything is made, since some engines take the request and
//! forget it.

use bollard::models::SystemInfo;
use serde::Deserialize;

use super::Inner;

/// What the newest API says of devices; older ones leave it out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Devices {
    discovered_devices: Option<Vec<Device>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Device {
    source: String,
    #[serde(rename = "ID")]
    id: String,
}

impl Inner {
    pub(super) async fn why_no_gpus(&self, info: &SystemInfo, podman: bool) -> Option<String> {
        let has = match self.options.gpus {
            None if !podman && !has_runtime(info) => has_devices(&self.devices().await),
            _ => true,
        };
        why(podman, self.options.gpus, has)
    }

    /// Asked in the engine's own version of the API, which may be newer than what we speak.
    async fn devices(&self) -> Devices {
        match self.link.get("the engine", "/info").await {
            Ok(devices) => devices,
            Err(error) => {
                tracing::debug!(error = %error, "the engine does not tell of its devices");
                Devices::default()
            }
        }
    }
}

fn has_runtime(info: &SystemInfo) -> bool {
    info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("nvidia"))
}

fn has_devices(devices: &Devices) -> bool {
    let mut all = devices.discovered_devices.iter().flatten();
    all.any(|device| device.source == "cdi" && device.id.starts_with("nvidia.com/gpu="))
}

/// `has`: the engine says so, or whoever runs the server does.
fn why(podman: bool, setting: Option<u32>, has: bool) -> Option<String> {
    let why = match setting {
        _ if podman => {
            "Podman overlooks the request for GPUs in its Docker-compatible call; use Docker for instances with GPUs"
        }
        Some(0) => "this server gives none (`engine.gpus` is 0); leave them out",
        _ if has => return None,
        _ => {
            "this engine shows no runtime `nvidia` and no CDI devices of NVIDIA's: install the NVIDIA container toolkit where it runs, or say how many GPUs there are with `engine.gpus`"
        }
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_given_is_promised() {
        for (podman, setting, has, word) in [
            (false, None, true, None),
            (false, Some(2), true, None),
            (false, None, false, Some("`engine.gpus`")),
            (false, Some(0), true, Some("is 0")),
            (true, Some(2), true, Some("Podman")),
            (true, None, true, Some("Podman")),
        ] {
            let why = why(podman, setting, has);
            assert_eq!(why.is_some(), word.is_some(), "{why:?}");
            assert!(word.is_none_or(|word| why.as_ref().unwrap().contains(word)), "{why:?}");
        }
    }

    #[test]
    fn what_engines_say_is_read() {
        let info = |runtimes: serde_json::Value| {
            has_runtime(&serde_json::from_value(serde_json::json!({"Runtimes": runtimes})).unwrap())
        };
        assert!(info(serde_json::json!({"nvidia": {"path": "nvidia-container-runtime"}})));
        assert!(!info(serde_json::json!({"runc": {"path": "runc"}})) && !info(serde_json::json!(null)));
        let devices = |listed: serde_json::Value| {
            has_devices(&serde_json::from_value(serde_json::json!({"DiscoveredDevices": listed})).unwrap())
        };
        assert!(devices(serde_json::json!([{"Source": "cdi", "ID": "nvidia.com/gpu=0"}])));
        for none in [
            serde_json::json!(null),
            serde_json::json!([]),
            serde_json::json!([{"Source": "cdi", "ID": "vendor.example/net=0"}]),
        ] {
            assert!(!devices(none));
        }
        assert!(!has_devices(&serde_json::from_str("{\"Name\": \"x\"}").unwrap()));
    }
}
