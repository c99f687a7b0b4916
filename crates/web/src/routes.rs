//! Routes declared in a table, each with the right that it needs, so that none is served without one and tests can
//! walk them all.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::Method;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<R> {
    /// The method.
    pub method: Method,
    /// The path below the dialect's root, with `{names}`.
    pub path: &'static str,
    /// What a caller needs; the handler's extractor enforces it.
    pub right: R,
}

/// A dialect's table of routes over state `S` with rights `R`.
pub struct Routes<S, R> {
    entries: Vec<Entry<R>>,
    router: Router<S>,
}

impl<S, R> Default for Routes<S, R>
where
    S: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self { entries: Vec::new(), router: Router::new() }
    }
}

impl<S, R> Routes<S, R>
where
    S: Clone + Send + Sync + 'static,
    R: Copy + Send + Sync + 'static,
{
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. `right` reaches the handler as a request extension.
    ///
    /// # Panics
    /// When the path conflicts with another or the method is none of HTTP's usual ones: mistakes of this program.
    #[must_use]
    pub fn add<H, T>(mut self, method: Method, path: &'static str, right: R, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a usual method");
        self.entries.push(Entry { method, path, right });
        self.router = self.router.route(path, on(filter, handler).layer(axum::Extension(right)));
        self
    }

    /// The rows, for tests that walk every route.
    #[must_use]
    pub fn entries(&self) -> &[Entry<R>] {
        &self.entries
    }

    /// The router, to which the dialect adds its fallbacks.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}
