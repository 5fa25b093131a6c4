//! The key pair of a project's agents, for those that act on the chain. The private part is sealed, given to agents only
//! while the project asks for funding, and never shown; the public part is no secret.

use ryokan_brc::PrivateKey;
use ryokan_model::project::Network;
use ryokan_model::{ProjectId, Secret};
use ryokan_store::{Seal, Tx};

use super::secrets_of;
use crate::{App, Error, Result};

/// The variables by which an agent is given it, as `MandalaNode` names them.
pub(super) const PRIVATE_KEY: &str = "SERVER_PRIVATE_KEY";
pub(super) const NETWORK: &str = "NETWORK";
const SEALED_AS: &str = "agent-key";

impl App {
    /// 32 random bytes are a key, but for one in 2^128.
    pub(super) fn new_agent_key(&self) -> Secret {
        Secret::new(hex::encode(self.entropy.bytes::<32>()))
    }
}

/// Makes sure that the project has its key pair; `own` is one that it brings.
pub(super) fn ensure(
    tx: &mut Tx<'_>,
    seal: &Seal,
    project: ProjectId,
    own: &Secret,
    now: ryokan_model::Millis,
) -> Result<()> {
    if tx.get_secret(seal, &secrets_of(project), SEALED_AS)?.is_some() {
        return Ok(());
    }
    let key = PrivateKey::from_hex(own.expose())
        .map_err(|_| Error::invalid("private_key", "must be a key of secp256k1 as 64 hexadecimal digits"))?;
    tx.put_secret(seal, &secrets_of(project), SEALED_AS, own, now.0)?;
    tx.set_project_agent_key(project, &key.public().to_string())?;
    Ok(())
}

/// What its agents are given, if the project asks for it.
pub(super) fn given(tx: &mut Tx<'_>, seal: &Seal, project: ProjectId) -> Result<Option<(Network, Secret)>> {
    let Some(row) = tx.project(project)?.filter(|row| row.funding) else { return Ok(None) };
    Ok(tx.get_secret(seal, &secrets_of(project), SEALED_AS)?.map(|key| (row.network, key)))
}
