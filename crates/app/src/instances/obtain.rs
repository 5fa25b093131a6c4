//! Obtaining an image: as the pull policy says, and only for whom its registry gives it to.
//!
//! All projects share the engine's images. One that was fetched with a login is therefore asked for at its registry
//! again by everybody, with what login they have, whatever their pull policy; else a project could run by name what
//! another may read. A repository is marked before the engine is asked, so that a crash in between leaves no gap, and
//! the mark of a fetch that failed is taken back, so that an image made locally under that name stays usable.

use ryokan_model::spec::PullPolicy;
use ryokan_ports::runtime::{Image, PullRequest, RuntimeError};
use ryokan_store::instances::Instance;

use crate::deployments::is_built_here;
use crate::{App, Result};

impl App {
    /// The outer error is the store's.
    pub(super) async fn obtain_image(&self, row: &Instance) -> Result<Result<Image, RuntimeError>> {
        let (image, policy, id) = (&row.spec.image, row.spec.pull, row.id);
        let repository = image.repository();
        if policy != PullPolicy::Always {
            let found = match self.runtime.find_image(image).await {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            // After the look, because marks are older than what they guard.
            let wanted = repository.clone();
            let private = self.store.read(move |tx| tx.is_private_image(&wanted)).await?;
            let refused = match found {
                Some(found) if !private => return Ok(Ok(found)),
                Some(_) => {
                    "was fetched with a login, so that its registry must be asked each time, and its pull policy is `never`; use `if_missing`"
                }
                None if is_built_here(image) => {
                    "was built here, and is not in the engine any more; deploy that version again"
                }
                None => {
                    "is not in the engine, and its pull policy is `never`; load it there, or use `if_missing`"
                }
            };
            if policy == PullPolicy::Never {
                let (image, reason) = (image.to_string(), refused.to_owned());
                return Ok(Err(RuntimeError::Image { image, reason, retry: false }));
            }
        }
        let credentials = self.registry_credentials(row.project, image.registry()).await?;
        let with_login = credentials.is_some();
        let request = PullRequest { image: image.clone(), credentials };
        let pulls = self.pulls.clone();
        let progress = move |p| drop(pulls.send((id, p)));
        if !with_login {
            return Ok(self.runtime.pull(&request, &progress).await);
        }
        let marked = repository.clone();
        self.store.write(move |tx| tx.begin_private_fetch(&marked, id)).await?;
        let pulled = self.runtime.pull(&request, &progress).await;
        let succeeded = pulled.is_ok();
        self.store.write(move |tx| tx.end_private_fetch(&repository, id, succeeded)).await?;
        Ok(pulled)
    }
}
