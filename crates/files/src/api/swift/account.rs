//! Accounts (seed 002; Swift, account services).

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use web::Response;

use super::answer::{self, set};
use super::fault::Fault;
use super::packing::packed;
use super::{Call, fault, headers, listing};
use crate::model::policy::Policies;
use crate::model::time;
use crate::service::AccountView;

impl Call<'_> {
    pub(super) async fn show_account(&self, account: &str, request: &Parts) -> Result<Response, Fault> {
        let form = listing::Form::asked(self.query, &request.headers)?;
        let query = listing::query(self.query, self.files.limits().account_listing_limit);
        if query.is_err() {
            self.files.account(self.context, account).await?;
        }
        let query = query?;
        let policies = &self.files.settings().policies;
        let (view, mut response) = if request.method == Method::HEAD {
            let view = self.files.account(self.context, account).await?;
            (view, listing::answer(form, String::new()))
        } else {
            let (view, lines) = self.files.list_account(self.context, account, query).await?;
            (view, listing::answer(form, listing::write_account(form, account, &lines, policies)))
        };
        describe(&view, policies, response.headers_mut());
        listing::vary(self.query, response.headers_mut());
        Ok(packed(&request.headers, response).await)
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

    pub(super) async fn delete_account(&self, account: &str, request: &Parts) -> Result<Response, Fault> {
        // Reject any query, so that a mistyped one does not delete the account (Swift, account controller).
        if request.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(Fault::status(StatusCode::BAD_REQUEST));
        }
        self.files.delete_account(self.context, account).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }
}

fn describe(view: &AccountView, policies: &Policies, headers: &mut HeaderMap) {
    set(headers, "x-account-container-count", view.counts.containers.to_string());
    set(headers, "x-account-object-count", view.counts.objects.to_string());
    set(headers, "x-account-bytes-used", view.counts.bytes.to_string());
    for (policy, counts) in &view.by_policy {
        let prefix = format!("x-account-storage-policy-{}", policies.name(*policy).to_ascii_lowercase());
        set(headers, &format!("{prefix}-container-count"), counts.containers.to_string());
        set(headers, &format!("{prefix}-object-count"), counts.objects.to_string());
        set(headers, &format!("{prefix}-bytes-used"), counts.bytes.to_string());
    }
    set(headers, "x-timestamp", time::x_timestamp(view.created));
    set(headers, "accept-ranges", "bytes");
    headers::show(&view.metadata, view.owner, headers);
}
