//! Containers (seed 002; Swift, container services).

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use web::Response;
use web::conditional::http_date;

use super::answer::{self, set};
use super::fault::Fault;
use super::packing::packed;
use super::unread::UnreadBody;
use super::{Call, fault, headers, listing};
use crate::Error;
use crate::model::entry::{Container, Counts};
use crate::model::listing::Query;
use crate::model::metadata::Changes;
use crate::model::version::VersionId;
use crate::model::{time, version};
use crate::service::ContainerPut;

impl Call<'_> {
    pub(super) async fn show_container(
        &self,
        account: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let form = listing::Form::asked(self.query, &request.headers)?;
        let mut response = if request.method == Method::HEAD {
            let view = self.files.container(self.context, account, name).await?;
            let mut response = listing::answer(form, String::new());
            self.describe_container(&view.container, view.counts, view.owner, response.headers_mut());
            response
        } else if self.query.has("versions") {
            let query = listing::query(self.query, self.files.limits().container_listing_limit)?;
            let response = self.show_versions(account, name, request, query).await?;
            return Ok(packed(&request.headers, response).await);
        } else {
            let query = self.listing_query(account, name).await?;
            let page = self.files.list_container(self.context, account, name, query).await?;
            let mut response =
                listing::answer(form, listing::write_container(form, (account, name), &page.lines));
            self.describe_container(&page.container, page.counts, page.owner, response.headers_mut());
            response
        };
        listing::vary(self.query, response.headers_mut());
        Ok(packed(&request.headers, response).await)
    }

    async fn listing_query(&self, account: &str, name: &str) -> Result<Query, Fault> {
        match listing::query(self.query, self.files.limits().container_listing_limit) {
            Ok(query) => Ok(query),
            Err(fault) => {
                self.files.check_list(self.context, account, name).await?;
                Err(fault)
            }
        }
    }

    /// Returns the metadata changes in a container's PUT or POST.
    async fn changes(&self, account: &str, name: &str, request: &Parts) -> Result<Changes, Fault> {
        headers::check_container(&request.headers)?;
        match headers::changes("container", &request.headers, self.files.limits()) {
            Ok(changes) => Ok(changes),
            Err(fault) => {
                self.files.check_create_container(self.context, account).await?;
                if request.headers.contains_key(version::ENABLED) {
                    self.files.check_versioning(account, name).await?;
                }
                Err(fault)
            }
        }
    }

    /// Lists all versions, in JSON only (Swift, Object versioning).
    async fn show_versions(
        &self,
        account: &str,
        name: &str,
        request: &Parts,
        query: Query,
    ) -> Result<Response, Fault> {
        let form = listing::Form::asked_with(self.query, &request.headers, &["application/json"]);
        if form.is_err() {
            self.files.container(self.context, account, name).await?;
        }
        let form = form?;
        let marker = match self.query.text("version_marker") {
            None => None,
            Some(_) if !self.query.has("marker") => {
                return Err(Error::Page("version_marker param requires marker".into()).into());
            }
            Some(text) => {
                let refused = || Fault::html(StatusCode::BAD_REQUEST, "invalid version_marker param");
                Some(VersionId::parse(&text).ok_or_else(refused)?)
            }
        };
        if query.delimiter.iter().any(|byte| byte.is_ascii_digit() || *byte == b'.' || *byte == 0) {
            return Err(Error::Page("invalid delimiter param".into()).into());
        }
        let page = self.files.list_versions(self.context, account, name, query, marker).await?;
        let mut response = listing::answer(form, listing::write_versions((account, name), &page.lines));
        self.describe_container(&page.container, page.counts, page.owner, response.headers_mut());
        Ok(response)
    }

    pub(super) async fn put_container(
        &self,
        account: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let changes = self.changes(account, name, request).await?;
        let policy = headers::get(&request.headers, "x-storage-policy");
        match self.files.put_container(self.context, account, name, changes, policy).await? {
            ContainerPut::Created => Ok(answer::html(StatusCode::CREATED, String::new())),
            ContainerPut::Updated => {
                Ok(answer::html(StatusCode::ACCEPTED, fault::page(StatusCode::ACCEPTED)))
            }
        }
    }

    pub(super) async fn post_container(
        &self,
        account: &str,
        name: &str,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        if headers::is_form(&request.headers) {
            return self.receive_form(account, name, request, body).await;
        }
        let changes = self.changes(account, name, request).await?;
        self.files.post_container(self.context, account, name, changes).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }

    pub(super) async fn delete_container(&self, account: &str, name: &str) -> Result<Response, Fault> {
        self.files.delete_container(self.context, account, name).await.map_err(|error| match error {
            Error::Conflict(text) => Fault::html(StatusCode::CONFLICT, text),
            other => other.into(),
        })?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }

    fn describe_container(
        &self,
        container: &Container,
        counts: Counts,
        owner: bool,
        headers: &mut HeaderMap,
    ) {
        set(headers, "x-container-object-count", counts.objects.to_string());
        set(headers, "x-container-bytes-used", counts.bytes.to_string());
        set(headers, "x-timestamp", time::x_timestamp(container.created));
        set(headers, "last-modified", http_date(time::last_modified(container.changed)));
        set(headers, "accept-ranges", "bytes");
        set(headers, "x-storage-policy", self.files.settings().policies.name(container.policy));
        headers::show(&container.metadata, owner, headers);
        if let Some(enabled) = container.metadata.get(version::ENABLED) {
            // Swift sends Python's spelling.
            set(headers, version::ENABLED, if enabled == "true" { "True" } else { "False" });
        }
        for name in [version::STACK, version::HISTORY] {
            if let Some(place) = container.metadata.get(name) {
                set(headers, name, place);
            }
        }
    }
}
