//! A table of routes, each with the right that it requires: no route can be added without one, and tests can enumerate
//! them.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::Method;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<R> {
    /// The method.
    pub method: Method,
    /// The path below the dialect's root, with `{parameters}`.
    pub path: &'static str,
    /// The right that the caller needs; the handler's extractor enforces it.
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
    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. The handler gets `right` as a request extension.
    ///
    /// # Panics
    /// If the path conflicts with another or the method is not a standard one; both are programming errors.
    #[must_use]
    pub fn add<H, T>(mut self, method: Method, path: &'static str, right: R, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a standard method");
        self.entries.push(Entry { method, path, right });
        self.router = self.router.route(path, on(filter, handler).layer(axum::Extension(right)));
        self
    }

    /// Returns the rows, for tests that enumerate all routes.
    #[must_use]
    pub fn entries(&self) -> &[Entry<R>] {
        &self.entries
    }

    /// Returns the router, to which the dialect adds its fallbacks.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}
