//! Whom sandboxes trust: our own authority, made at the first start, besides those of the web. Its key is sealed; its
//! certificate lies in a folder that is mounted read-only into every sandbox.

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use ryokan_gateway::egress::Authority;
use ryokan_model::{Clock, Secret};
use ryokan_store::{Scope, Seal, Store, StoreError};

const SCOPE: &str = "server";
const CERTIFICATE: &str = "edge-certificate";
const KEY: &str = "edge-key";
/// Certificates for hosts that are kept.
const LEAVES: usize = 1024;

/// The authority, and the folder that sandboxes are given.
pub(crate) struct Trust {
    pub(crate) authority: Arc<Authority>,
    pub(crate) folder: PathBuf,
}

pub(crate) async fn establish(
    store: &Store,
    seal: &Arc<Seal>,
    clock: &dyn Clock,
    data: &Path,
) -> anyhow::Result<Trust> {
    let now = clock.now();
    let fresh =
        Authority::create(std::time::UNIX_EPOCH + std::time::Duration::from_millis(now.0.unsigned_abs()))
            .context("an authority for sandboxes cannot be made")?;
    let ring = seal.clone();
    // Whichever server comes first; the others take what it made.
    let (certificate, key) = store
        .write(move |tx| {
            let scope = Scope::new(SCOPE, "");
            tx.lock(KEY)?;
            if let (Some(certificate), Some(key)) =
                (tx.get_secret(&ring, &scope, CERTIFICATE)?, tx.get_secret(&ring, &scope, KEY)?)
            {
                return Ok((certificate, key));
            }
            let certificate = Secret::new(fresh.certificate.clone());
            tx.put_secret(&ring, &scope, CERTIFICATE, &certificate, now.0)?;
            tx.put_secret(&ring, &scope, KEY, &fresh.key, now.0)?;
            Ok::<_, StoreError>((certificate, fresh.key.clone()))
        })
        .await?;
    let authority = Authority::load(certificate.expose(), &key, LEAVES)
        .context("the authority for sandboxes in the database is damaged")?;
    let folder = data.join("trust");
    write(&folder, certificate.expose())
        .with_context(|| format!("the folder {} cannot be written to", folder.display()))?;
    // Engines want absolute paths.
    let folder = std::path::absolute(&folder)?;
    Ok(Trust { authority: Arc::new(authority), folder })
}

/// `ca.crt` for programs that add to their own roots, `ca-bundle.crt` for those that take a file for all there is.
fn write(folder: &Path, certificate: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // The folder above is ours alone; in a sandbox any user may read this one.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    let mut bundle = String::from(certificate);
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        bundle.push_str(&pem(root));
    }
    for (name, text) in [("ca.crt", certificate), ("ca-bundle.crt", bundle.as_str())] {
        let path = folder.join(name);
        // Left as it is where it is right: it may be mounted.
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        let next = folder.join(format!(".{name}"));
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&next)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &path)?;
    }
    Ok(())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
