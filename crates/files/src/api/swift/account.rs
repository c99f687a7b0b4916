//! Accounts (seed 002; Swift, account services).

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use web::Response;

use super::answer::{self, set};
use super::fault::Fault;
use super::{Call, fault, headers, listing};
use crate::model::time;
use crate::service::AccountView;

impl Call<'_> {
    pub(super) async fn show_account(&self, account: &str, request: &Parts) -> Result<Response, Fault> {
        let form = listing::Form::asked(self.query, &request.headers)?;
        let query = listing::query(self.query, self.files.limits().account_listing_limit)?;
        let (view, mut response) = if request.method == Method::HEAD {
            let view = self.files.account(self.context, account).await?;
            (view, answer::with(StatusCode::NO_CONTENT, form.content_type(), String::new()))
        } else {
            let (view, lines) = self.files.list_account(self.context, account, query).await?;
            (view, listing::answer(form, listing::write_account(form, account, &lines)))
        };
        describe(&view, response.headers_mut());
        Ok(response)
    }

    pub(super) async fn put_account(&self, account: &str, request: &Parts) -> Result<Response, Fault> {
        let changes = headers::changes("account", &request.headers, self.files.limits())?;
        let made = self.files.put_account(self.context, account, changes).await?;
        let status = if made { StatusCode::CREATED } else { StatusCode::ACCEPTED };
        Ok(answer::html(status, fault::page(status)))
    }

    pub(super) async fn post_account(&self, account: &str, request: &Parts) -> Result<Response, Fault> {
        let changes = headers::changes("account", &request.headers, self.files.limits())?;
        self.files.post_account(self.context, account, changes).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }

    pub(super) async fn delete_account(&self, account: &str) -> Result<Response, Fault> {
        self.files.delete_account(self.context, account).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }
}

fn describe(view: &AccountView, headers: &mut HeaderMap) {
    set(headers, "x-account-container-count", view.counts.containers.to_string());
    set(headers, "x-account-object-count", view.counts.objects.to_string());
    set(headers, "x-account-bytes-used", view.counts.bytes.to_string());
    set(headers, "x-timestamp", time::x_timestamp(view.created));
    set(headers, "accept-ranges", "bytes");
    headers::show(&view.metadata, true, headers);
}
