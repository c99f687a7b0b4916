//! What all of v3's resources have in common: lists in pages with filters, and making, showing, changing and deleting one.
//! Each resource says what is its own by [`Collection`].

use std::future::Future;

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::api::access::Access;
use crate::api::asked::Asked;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::filters::Filters;
use crate::api::v3::{Resource, limit, listing, one};
use crate::api::{Answered, Need, Shared, Table, empty};
use crate::model::{Caller, Extra};
use crate::service::error::Error;
use crate::service::{Listed, PAGE_MAX};

/// Rows looked at for one page of a list whose filters the database does not know. A list that is longer goes on at the
/// page's link, which may have less than was asked for, or nothing.
const SCANNED_MAX: usize = 20_000;

/// A page that is asked of a resource's list.
pub(crate) struct ListQuery<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
}

/// A resource that is listed, made, shown, changed and deleted.
pub(crate) trait Collection: Resource + Sized + Send + Sync + 'static {
    /// The path of the list.
    const PATH: &'static str;
    /// The path of one of them.
    const PATH_ONE: &'static str;
    /// What making, changing and deleting one takes.
    const NEEDS: [Need; 3];
    /// The attributes that the resource has of its own. All others that a client sends are kept and shown as they are.
    const OWN: &'static [&'static str];

    /// A page of them, by the filters that the store knows.
    fn list(
        identity: &Shared,
        caller: &Caller,
        query: ListQuery<'_>,
    ) -> impl Future<Output = Result<Listed<Self>, Error>> + Send;

    /// One of them.
    fn show(identity: &Shared, caller: &Caller, id: &str)
    -> impl Future<Output = Result<Self, Error>> + Send;

    /// Makes one.
    fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Changes one; what is not given stays.
    fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Deletes one.
    fn delete(identity: &Shared, caller: &Caller, id: &str)
    -> impl Future<Output = Result<(), Error>> + Send;
}

/// The five routes of a resource.
pub(crate) fn add<C: Collection>(table: Table) -> Table {
    let [to_create, to_update, to_delete] = C::NEEDS;
    table
        .add(Method::GET, C::PATH, Need::Token, list::<C>)
        .add(Method::POST, C::PATH, to_create, create::<C>)
        .add(Method::GET, C::PATH_ONE, Need::Token, show::<C>)
        .add(Method::PATCH, C::PATH_ONE, to_update, update::<C>)
        .add(Method::DELETE, C::PATH_ONE, to_delete, delete::<C>)
}

async fn list<C: Collection>(State(identity): State<Shared>, access: Access, asked: Asked) -> Answered {
    let filters = Filters::of(&asked);
    let (wanted, mut marker) = (limit(&asked)?, asked.text("marker"));
    let most = usize::try_from(wanted.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)).unwrap_or(1);
    let (mut items, mut scanned) = (Vec::new(), 0);
    let next = loop {
        // With filters of our own more is read than is shown.
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

/// The attributes in a body, and apart from them those that are not the resource's own.
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
) -> Answered {
    let (given, extra) = given::<C>(&body)?;
    let made = C::create(&identity, &access.session.caller, &given, extra).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn show<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
) -> Answered {
    let found = C::show(&identity, &access.session.caller, &id).await?;
    Ok(one(&identity, StatusCode::OK, &found))
}

async fn update<C: Collection>(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
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
) -> Answered {
    C::delete(&identity, &access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
