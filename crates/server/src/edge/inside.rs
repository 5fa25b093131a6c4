//! What a door itself offers to the instances of its project: models and tools. It goes to the API's own router, marked
//! with who asks; everything else of the API is not there.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use ryokan_gateway::Body;
use ryokan_gateway::egress::{Caller, Later};
use tower::ServiceExt as _;

pub(crate) struct Inside {
    pub(crate) router: axum::Router,
}

impl ryokan_gateway::egress::Inside for Inside {
    fn handle(&self, caller: Caller, request: Request<Incoming>) -> Later<'_, Response<Body>> {
        let router = self.router.clone();
        Box::pin(async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(caller);
            let answered: Result<_, Infallible> = router.oneshot(request).await;
            match answered {
                Ok(response) => response.map(Body::boxed),
                Err(never) => match never {},
            }
        })
    }
}

/// Until there is something to offer.
pub(crate) fn router() -> axum::Router {
    axum::Router::new().fallback(async || {
        (StatusCode::NOT_FOUND, "There is nothing at this address; a proxy wants the whole URL.\n")
    })
}
