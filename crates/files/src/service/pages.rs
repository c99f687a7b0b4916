//! Pages of listings, with counters from the same snapshot.

use database::Tx;

use super::accounts::view_of;
use super::authorise::{Action, is_owner};
use super::{AccountView, Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, ContainerEntry, Counts};
use crate::model::listing::{Line, Query, Scan, Step, VersionLine};
use crate::model::version::{MARKER_TYPE, VersionId};
use crate::store;
use crate::store::versions::{NULL_BACK, Place};

/// Rows fetched first if a delimiter may skip most of them.
const FIRST_ROWS: usize = 32;

/// A page of a container's listing.
#[derive(Clone, Debug)]
pub struct Page {
    /// The container.
    pub container: Container,
    /// Its counters.
    pub counts: Counts,
    /// Whether the caller may see its ACLs.
    pub owner: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Files {
    /// Returns an account and a page of its containers.
    ///
    /// # Errors
    /// As [`Files::account`].
    pub async fn list_account(
        &self,
        context: &Context,
        name: &str,
        query: Query,
    ) -> Result<(AccountView, Vec<AccountLine>)> {
        self.admit(context, name, Action::ReadAccount).await?;
        let found = self
            .0
            .db
            .scan((name.to_owned(), query), |(name, query), tx| {
                Box::pin(async move {
                    let Some(account) = store::accounts::find(tx, name).await? else { return Ok(None) };
                    let counts = store::accounts::counts(tx, account.id).await?;
                    let lines = account_lines(tx, account.id, query).await?;
                    Ok::<_, Error>(Some((account, counts, lines)))
                })
            })
            .await?;
        match found {
            Some((account, counts, lines)) => Ok((view_of(context, name, account, counts), lines)),
            None => self.implicit_account(context, name).map(|view| (view, Vec::new())),
        }
    }

    /// Returns a page of a container's objects.
    ///
    /// # Errors
    /// As [`Files::container`].
    pub async fn list_container(
        &self,
        context: &Context,
        account: &str,
        name: &str,
        query: Query,
    ) -> Result<Page> {
        let container = self.container_for(context, account, name, Action::ReadContainer).await?;
        let id = container.id;
        let (counts, lines) = self
            .0
            .db
            .scan((id, query), |(id, query), tx| {
                Box::pin(async move {
                    let counts = store::containers::counts(tx, *id).await?;
                    Ok::<_, Error>((counts, object_lines(tx, *id, query).await?))
                })
            })
            .await?;
        let owner = is_owner(context, account, Some(&container.account_metadata));
        Ok(Page { container, counts, owner, lines })
    }

    /// Returns a page of all versions of a container's objects.
    ///
    /// # Errors
    /// As [`Files::container`].
    pub async fn list_versions(
        &self,
        context: &Context,
        account: &str,
        name: &str,
        query: Query,
        version_marker: Option<VersionId>,
    ) -> Result<VersionsPage> {
        let container = self.container_for(context, account, name, Action::ReadContainer).await?;
        let id = container.id;
        let (counts, lines) = self
            .0
            .db
            .scan((id, query, version_marker), |(id, query, version_marker), tx| {
                Box::pin(async move {
                    let counts = store::containers::counts(tx, *id).await?;
                    Ok::<_, Error>((counts, version_lines(tx, *id, query, *version_marker).await?))
                })
            })
            .await?;
        let owner = is_owner(context, account, Some(&container.account_metadata));
        Ok(VersionsPage { container, counts, owner, lines })
    }
}

/// A page of a listing of versions.
#[derive(Clone, Debug)]
pub struct VersionsPage {
    /// The container.
    pub container: Container,
    /// Its counters.
    pub counts: Counts,
    /// Whether the caller may see its ACLs.
    pub owner: bool,
    /// The lines.
    pub lines: Vec<VersionLine>,
}

/// A line of an account's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountLine {
    /// A container.
    Container(ContainerEntry),
    /// Names that a delimiter combines into one.
    Subdirectory(String),
}

async fn object_lines(tx: &mut Tx, container: i64, query: &Query) -> Result<Vec<Line>> {
    let mut pager = Pager::new(query);
    while let Some((lower, upper, rows)) = pager.wanted() {
        let found = store::objects::range(tx, container, &lower, &upper, rows, query.reverse).await?;
        pager.take(found, |entry| entry.name.as_bytes(), Line::Object, Line::Subdirectory);
    }
    Ok(pager.lines)
}

async fn account_lines(tx: &mut Tx, account: i64, query: &Query) -> Result<Vec<AccountLine>> {
    let mut pager = Pager::new(query);
    while let Some((lower, upper, rows)) = pager.wanted() {
        let found = store::containers::range(tx, account, &lower, &upper, rows, query.reverse).await?;
        pager.take(found, |row| &row.0, |row| AccountLine::Container(row.1), AccountLine::Subdirectory);
    }
    Ok(pager.lines)
}

/// Fills a page from ranges of rows, fetching as many at a time as are likely to be shown.
struct Pager<L> {
    walk: Scan,
    limit: usize,
    rows: usize,
    ended: bool,
    lines: Vec<L>,
}

impl<L> Pager<L> {
    fn new(query: &Query) -> Self {
        let walk = Scan::new(query.clone());
        let rows = if walk.skips() { FIRST_ROWS.min(query.limit) } else { query.limit };
        Self { walk, limit: query.limit, rows, ended: false, lines: Vec::new() }
    }

    /// Returns the bounds and number of the rows to fetch next; `None` if the page is full or nothing is left.
    fn wanted(&self) -> Option<(Vec<u8>, Vec<u8>, usize)> {
        let more = !self.ended && self.lines.len() < self.limit && self.walk.lower < self.walk.upper;
        more.then(|| (self.walk.lower.clone(), self.walk.upper.clone(), self.rows))
    }

    fn take<R>(
        &mut self,
        rows: Vec<R>,
        name: impl Fn(&R) -> &[u8],
        line: impl Fn(R) -> L,
        subdirectory: impl Fn(String) -> L,
    ) {
        self.ended = rows.len() < self.rows;
        let mut skipped = 0;
        for row in rows {
            if self.lines.len() == self.limit {
                break;
            }
            if !self.walk.wants(name(&row)) {
                skipped += 1;
                continue;
            }
            match self.walk.take(name(&row)) {
                Step::Show => self.lines.push(line(row)),
                Step::Subdirectory(directory) => {
                    self.lines.push(subdirectory(String::from_utf8_lossy(&directory).into_owned()));
                }
                Step::Skip => {}
            }
        }
        self.rows = next_fetch(self.rows, skipped, self.limit);
    }
}

async fn version_lines(
    tx: &mut Tx,
    container: i64,
    query: &Query,
    version_marker: Option<VersionId>,
) -> Result<Vec<VersionLine>> {
    let mut after = version_marker.map(|version| Place {
        name: query.marker.clone(),
        back: match version {
            VersionId::Null => NULL_BACK,
            VersionId::At(at) => -at.0,
        },
    });
    let mut asked = query.clone();
    if after.is_some() {
        // The marker's own name is included, since its other versions are wanted.
        asked.marker.clear();
    }
    let mut walk = Scan::new(asked);
    let mut lines = Vec::new();
    let mut shown: Option<Vec<u8>> = None;
    while lines.len() < query.limit {
        let (lower, upper) = (walk.lower.clone(), walk.upper.clone());
        let wanted = query.limit - lines.len();
        // The scan's bound is past a name once it was shown, but its other versions are still to come.
        let bounds = match &shown {
            Some(name) if walk.reverse() => (lower.as_slice(), [name.as_slice(), b"\0"].concat()),
            Some(name) => (name.as_slice().min(lower.as_slice()), upper.clone()),
            None => (lower.as_slice(), upper.clone()),
        };
        let rows = store::versions::range(
            tx,
            container,
            (bounds.0, &bounds.1),
            after.as_ref(),
            wanted,
            walk.reverse(),
        )
        .await?;
        let fetched = rows.len();
        for (place, mut entry) in rows {
            let name = place.name.clone();
            // For versions after a version marker Swift does not report the latest one (Swift, bug 2147042).
            if version_marker.is_some() && name == query.marker && entry.object.content_type != MARKER_TYPE {
                entry.is_latest = false;
            }
            after = Some(place);
            if shown.as_ref() == Some(&name) {
                lines.push(VersionLine::Version(Box::new(entry)));
            } else if walk.wants(&name) {
                match walk.take(&name) {
                    Step::Show => {
                        lines.push(VersionLine::Version(Box::new(entry)));
                        shown = Some(name);
                    }
                    Step::Subdirectory(directory) => {
                        let text = String::from_utf8_lossy(&directory).into_owned();
                        lines.push(VersionLine::Subdirectory(text));
                        shown = None;
                    }
                    Step::Skip => shown = None,
                }
            }
        }
        if fetched < wanted {
            break;
        }
    }
    Ok(lines)
}

/// Returns how many rows to fetch next: few while most are skipped, so that a subdirectory costs one seek; otherwise a page.
fn next_fetch(last: usize, skipped: usize, limit: usize) -> usize {
    if skipped * 2 > last { (last / 2).max(4) } else { (last * 2).min(limit) }
}
