//! Containers (seed 002; Swift, container services).

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use web::Response;
use web::conditional::http_date;

use super::answer::{self, set};
use super::fault::Fault;
use super::{Call, fault, form, headers, listing};
use crate::model::entry::{Container, Counts};
use crate::model::time;
use crate::service::ContainerPut;

impl Call<'_> {
    pub(super) async fn show_container(
        &self,
        account: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let form = listing::Form::asked(self.query, &request.headers)?;
        let query = listing::query(self.query, self.files.limits().container_listing_limit)?;
        if request.method == Method::HEAD {
            let view = self.files.container(self.context, account, name).await?;
            let mut response = answer::with(StatusCode::NO_CONTENT, form.content_type(), String::new());
            describe(&view.container, view.counts, view.owner, response.headers_mut());
            return Ok(response);
        }
        let page = self.files.list_container(self.context, account, name, query).await?;
        let mut response = listing::answer(form, listing::write_container(form, name, &page.lines));
        describe(&page.container, page.counts, page.owner, response.headers_mut());
        Ok(response)
    }

    pub(super) async fn put_container(
        &self,
        account: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let changes = headers::changes("container", &request.headers, self.files.limits())?;
        match self.files.put_container(self.context, account, name, changes).await? {
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
        body: Body,
    ) -> Result<Response, Fault> {
        if form::is_form(&request.headers) {
            return self.receive_form(account, name, request, body).await;
        }
        let changes = headers::changes("container", &request.headers, self.files.limits())?;
        self.files.post_container(self.context, account, name, changes).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }

    pub(super) async fn delete_container(&self, account: &str, name: &str) -> Result<Response, Fault> {
        self.files.delete_container(self.context, account, name).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }
}

fn describe(container: &Container, counts: Counts, owner: bool, headers: &mut HeaderMap) {
    set(headers, "x-container-object-count", counts.objects.to_string());
    set(headers, "x-container-bytes-used", counts.bytes.to_string());
    set(headers, "x-timestamp", time::x_timestamp(container.created));
    set(headers, "last-modified", http_date(time::last_modified(container.changed)));
    set(headers, "accept-ranges", "bytes");
    set(headers, "x-storage-policy", "default");
    headers::show(&container.metadata, owner, headers);
}
