//! What a door itself offers to the instances of its project: models and tools. It goes to the API's own router, marked
//! with who asks; everything else of the API is not there.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use ryokan_gateway::Body;
use ryokan_gateway::egress::{Caller, Later};
use ryokan_model::models::Subject;
use tower::ServiceExt as _;

pub(crate) struct Inside {
    pub(crate) router: axum::Router,
}

impl ryokan_gateway::egress::Inside for Inside {
    fn handle(&self, caller: Caller, request: Request<Incoming>) -> Later<'_, Response<Body>> {
        let router = self.router.clone();
        Box::pin(async move {
            let mut request = request.map(axum::body::Body::new);
            // Both are ids of ours: the caller was identified by them.
            if let (Ok(project), Ok(instance)) = (caller.project.parse(), caller.instance.parse()) {
                request.extensions_mut().insert(Subject { project, user: None, instance: Some(instance) });
            }
            let answered: Result<_, Infallible> = router.oneshot(request).await;
            match answered {
                Ok(response) => response.map(Body::boxed),
                Err(never) => match never {},
            }
        })
    }
}

/// All that there is for instances.
pub(crate) fn router(context: crate::http::Context) -> axum::Router {
    crate::http::models::at_doors(context).fallback(async || {
        (http::StatusCode::NOT_FOUND, "There is nothing at this address; a proxy wants the whole URL.\n")
    })
}
