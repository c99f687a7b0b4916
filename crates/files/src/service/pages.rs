//! Pages of listings, with the counters of the same instant.

use database::Tx;

use super::authorise::{Action, authorise};
use super::{AccountView, Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, ContainerEntry, Counts};
use crate::model::listing::{Line, Query, Step, Walk};
use crate::store;

/// Rows fetched at first where a delimiter may skip most of them.
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
    /// A page of an account's containers. The second list holds lines that a delimiter makes.
    ///
    /// # Errors
    /// As [`Files::account`].
    pub async fn list_account(
        &self,
        context: &Context,
        name: &str,
        query: Query,
    ) -> Result<(AccountView, Vec<AccountLine>)> {
        authorise(context, name, None, Action::ReadAccount)?;
        let found = self
            .0
            .db
            .scan((name.to_owned(), query), |(name, query), tx| {
                Box::pin(async move {
                    let Some(account) = store::accounts::find(tx, name).await? else { return Ok(None) };
                    let counts = store::accounts::counts(tx, account.id).await?;
                    let lines = account_lines(tx, account.id, query).await?;
                    let view = AccountView { created: account.created, metadata: account.metadata, counts };
                    Ok::<_, Error>(Some((view, lines)))
                })
            })
            .await?;
        found.map_or_else(|| self.unmade(context, name).map(|view| (view, Vec::new())), Ok)
    }

    /// A page of a container's objects.
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
        let owner = authorise(context, account, None, Action::WriteContainer).is_ok();
        Ok(Page { container, counts, owner, lines })
    }
}

/// A line of an account's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountLine {
    /// A container.
    Container(ContainerEntry),
    /// What a delimiter makes of several.
    Subdirectory(String),
}

async fn object_lines(tx: &mut Tx, container: i64, query: &Query) -> Result<Vec<Line>> {
    let mut walk = Walk::new(query.clone());
    let mut lines = Vec::new();
    let mut rows_wanted = if walk.skips() { FIRST_ROWS.min(query.limit) } else { query.limit };
    while lines.len() < query.limit {
        let (lower, upper) = (walk.lower.clone(), walk.upper.clone());
        if lower >= upper {
            break;
        }
        let rows = store::objects::range(tx, container, &lower, &upper, rows_wanted, walk.reverse()).await?;
        let fetched = rows.len();
        let mut skipped = 0;
        for entry in rows {
            if lines.len() == query.limit {
                break;
            }
            if !walk.wants(entry.name.as_bytes()) {
                skipped += 1;
                continue;
            }
            match walk.take(entry.name.as_bytes()) {
                Step::Show => lines.push(Line::Object(entry)),
                Step::Subdirectory(directory) => {
                    lines.push(Line::Subdirectory(String::from_utf8_lossy(&directory).into_owned()));
                }
                Step::Skip => {}
            }
        }
        if fetched < rows_wanted {
            break;
        }
        rows_wanted = next_fetch(rows_wanted, skipped, query.limit);
    }
    Ok(lines)
}

async fn account_lines(tx: &mut Tx, account: i64, query: &Query) -> Result<Vec<AccountLine>> {
    let mut walk = Walk::new(query.clone());
    let mut lines = Vec::new();
    let mut rows_wanted = if walk.skips() { FIRST_ROWS.min(query.limit) } else { query.limit };
    while lines.len() < query.limit {
        let (lower, upper) = (walk.lower.clone(), walk.upper.clone());
        if lower >= upper {
            break;
        }
        let rows = store::containers::range(tx, account, &lower, &upper, rows_wanted, walk.reverse()).await?;
        let fetched = rows.len();
        let mut skipped = 0;
        for (name, entry) in rows {
            if lines.len() == query.limit {
                break;
            }
            if !walk.wants(&name) {
                skipped += 1;
                continue;
            }
            match walk.take(&name) {
                Step::Show => lines.push(AccountLine::Container(entry)),
                Step::Subdirectory(directory) => {
                    lines.push(AccountLine::Subdirectory(String::from_utf8_lossy(&directory).into_owned()));
                }
                Step::Skip => {}
            }
        }
        if fetched < rows_wanted {
            break;
        }
        rows_wanted = next_fetch(rows_wanted, skipped, query.limit);
    }
    Ok(lines)
}

/// Few rows while most are skipped, so that a subdirectory costs a seek and not its content; else a page's worth.
fn next_fetch(last: usize, skipped: usize, limit: usize) -> usize {
    if skipped * 2 > last { (last / 2).max(4) } else { (last * 2).min(limit) }
}
