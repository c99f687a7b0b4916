//! Code that all of v3's resources share: paged and filtered lists, and creating, showing, changing and deleting. Each
//! resource implements [`Collection`].

use std::future::Future;

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::api::access::Access;
use crate::api::asked::QueryParameters;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::filters::Filters;
use crate::api::v3::{Resource, limit, listing, one};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::model::{Caller, Extra};
use crate::service::error::Error;
use crate::service::{Listed, PAGE_MAX};

/// Maximum number of rows scanned for one page of a list with filters that the database does not support. A longer list
/// continues at the page's link. The page may then hold fewer items than requested, or none.
const SCANNED_MAX: usize = 20_000;

/// The page requested of a resource's list.
pub(crate) struct ListQuery<'a> {
    pub(crate) asked: &'a QueryParameters,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
}

/// A resource with list, create, show, update and delete operations.
pub(crate) trait Collection: Resource + Sized + Send + Sync + 'static {
    /// The path of the list.
    const PATH: &'static str;
    /// The path of one resource.
    const PATH_ONE: &'static str;
    /// The access needed to create, change and delete one.
    const NEEDS: [Need; 3];
    /// The attributes that v3 defines for the resource. All others that a client sends are stored and returned unchanged.
    const OWN: &'static [&'static str];

    /// Returns a page, filtered by the filters that the store supports.
    fn list(
        identity: &Shared,
        caller: &Caller,
        query: ListQuery<'_>,
    ) -> impl Future<Output = Result<Listed<Self>, Error>> + Send;

    /// Returns one resource.
    fn show(identity: &Shared, caller: &Caller, id: &str)
    -> impl Future<Output = Result<Self, Error>> + Send;

    /// Creates a resource.
    fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Changes a resource. Attributes that are absent keep their values.
    fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Deletes a resource.
    fn delete(identity: &Shared, caller: &Caller, id: &str)
    -> impl Future<Output = Result<(), Error>> + Send;
}

/// Adds the five routes of a resource.
pub(crate) fn add<C: Collection>(table: Table) -> Table {
    let [to_create, to_update, to_delete] = C::NEEDS;
    table
        .add(Method::GET, C::PATH, Need::Token, list::<C>)
        .add(Method::POST, C::PATH, to_create, create::<C>)
        .add(Method::GET, C::PATH_ONE, Need::Token, show::<C>)
        .add(Method::PATCH, C::PATH_ONE, to_update, update::<C>)
        .add(Method::DELETE, C::PATH_ONE, to_delete, delete::<C>)
}

async fn list<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
) -> HandlerResult {
    let filters = Filters::of(&asked);
    let (wanted, mut marker) = (limit(&asked)?, asked.text("marker"));
    let most = usize::try_from(wanted.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)).unwrap_or(1);
    let (mut items, mut scanned) = (Vec::new(), 0);
    let next = loop {
        // Filters that the database does not support need more rows than are shown.
        let limit = if filters.is_empty() { wanted } else { Some(PAGE_MAX) };
        let query = ListQuery { asked: &asked, marker: marker.clone(), limit };
        let page = C::list(&identity, &access.session.caller, query).await?;
        let count = page.items.len();
        let mut left = page.items.into_iter();
        for item in left.by_ref() {
            marker = Some(item.id().to_owned());
            let view = item.view(&identity);
            if filters.fit(&view) {
                items.push(view);
            }
            if items.len() >= most {
                break;
            }
        }
        scanned += count;
        let more = page.more || left.next().is_some();
        if !more || count == 0 {
            break None;
        }
        if items.len() >= most || scanned >= SCANNED_MAX {
            break marker;
        }
    };
    Ok(listing(&identity, &asked, C::MANY, items, next.as_deref()))
}

/// Returns the attributes in a body, separated into the resource's own and the others.
pub(crate) fn given<C: Collection>(body: &Value) -> Result<(Fields<'_>, Extra), Error> {
    let given = Fields::inside(body, C::ONE)?;
    if given.objects("options")?.iter().any(|options| !options.is_empty()) {
        return Err(Error::invalid(format!("{}.options: none are supported", C::ONE)));
    }
    if given.is_number("name") {
        return Err(Error::invalid(format!("{}.name must be text", C::ONE)));
    }
    let extra = given.without(|name| matches!(name, "id" | "links" | "options") || C::OWN.contains(&name));
    Ok((given, Extra(extra)))
}

async fn create<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let (given, extra) = given::<C>(&body)?;
    let made = C::create(&identity, &access.session.caller, &given, extra).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn show<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
) -> HandlerResult {
    let found = C::show(&identity, &access.session.caller, &id).await?;
    Ok(one(&identity, StatusCode::OK, &found))
}

async fn update<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let (given, extra) = given::<C>(&body)?;
    if given.is_empty() {
        return Err(Error::invalid(format!("{} must have an attribute to change", C::ONE)).into());
    }
    let changed = C::update(&identity, &access.session.caller, &id, &given, extra).await?;
    Ok(one(&identity, StatusCode::OK, &changed))
}

async fn delete<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
) -> HandlerResult {
    C::delete(&identity, &access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
