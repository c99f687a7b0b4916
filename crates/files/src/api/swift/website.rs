//! Static websites: index pages, error pages and listings for browsers (Swift, Static web).

use axum::body::Body;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode};
use web::Response;

use super::answer;
use super::fault::Fault;
use super::{Call, headers, listing};
use crate::Context;
use crate::model::listing::{Line, ObjectEntry, Query};
use crate::model::metadata::Metadata;
use crate::model::name::Target;
use crate::model::time;

/// A container's website settings.
struct Website {
    index: Option<String>,
    error: Option<String>,
    listings: bool,
    listings_set: bool,
    css: Option<String>,
    label: Option<String>,
    directory_type: String,
}

impl Website {
    fn of(metadata: &Metadata) -> Self {
        let text = |name: &str| {
            let value = metadata.get(&format!("x-container-meta-web-{name}")).map(str::trim);
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let listings = text("listings");
        Self {
            index: text("index"),
            error: text("error"),
            listings: listings.as_deref().is_some_and(listing::is_true),
            listings_set: listings.is_some(),
            css: text("listings-css"),
            label: text("listings-label"),
            directory_type: text("directory-type").unwrap_or_else(|| "application/directory".into()),
        }
    }

    fn is_one(&self) -> bool {
        self.listings_set || self.index.is_some()
    }
}

/// Returns whether to treat a request as a website visitor's: it is anonymous or asks for the website explicitly.
pub(super) fn is_website_request(context: &Context, head: &Parts) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && (context.caller.is_none() || headers::is_true_header(&head.headers, "x-web-mode"))
}

impl Call<'_> {
    /// Responds to a visitor of a container; `None` if it is not a website and is to be handled as usual.
    pub(super) async fn serve_website(
        &self,
        target: &Target,
        head: &Parts,
    ) -> Option<Result<Response, Fault>> {
        let Target::Container(account, container) = target else { return None };
        let settings = self.files.container_settings(account, container).await.ok()??;
        let site = Website::of(&settings);
        let place = (account.as_str(), container.as_str());
        if let Err(refused) = self.files.container(self.context, account, container).await {
            // Swift's website middleware rejects this before the container's CORS settings are read.
            let refused = Fault::from(refused).withheld();
            return Some(self.with_error_page(place, &site, refused, head).await);
        }
        if !site.is_one() {
            return headers::is_true_header(&head.headers, "x-web-mode")
                .then(|| Err(Fault::status(StatusCode::NOT_FOUND)));
        }
        if !head.uri.path().ends_with('/') {
            return Some(Ok(self.with_slash(head)));
        }
        if let Some(index) = &site.index {
            match self.show_object(account, container, index, head).await {
                Err(fault) if fault.code() == StatusCode::NOT_FOUND => {}
                Err(fault) => return Some(self.with_error_page(place, &site, fault, head).await),
                Ok(response) => return Some(Ok(response)),
            }
        }
        Some(self.directory(place, "", &site, head).await)
    }

    /// Replaces the response to a visitor's request for an object where the website has something else: a directory's index or
    /// listing, or an error page.
    pub(super) async fn apply_website(
        &self,
        (account, container, name): (&str, &str, &str),
        head: &Parts,
        outcome: Result<Response, Fault>,
    ) -> Result<Response, Fault> {
        let place = (account, container);
        let fault = match outcome {
            Ok(response) if !may_be_directory(&response) => return Ok(response),
            Err(fault) if fault.code() != StatusCode::NOT_FOUND => return Err(fault),
            other => {
                let settings = self.files.container_settings(account, container).await;
                let Ok(Some(settings)) = settings else { return other };
                let site = Website::of(&settings);
                let is_directory = |response: &Response| {
                    let kind = response.headers().get(http::header::CONTENT_TYPE);
                    kind.is_some_and(|kind| kind.as_bytes() == site.directory_type.as_bytes())
                };
                match other {
                    Ok(response) if !is_directory(&response) || !site.is_one() => return Ok(response),
                    Ok(_) => (Fault::status(StatusCode::NOT_FOUND), site),
                    Err(fault) => (fault, site),
                }
            }
        };
        let (fault, site) = fault;
        if !site.is_one() {
            return Err(fault);
        }
        let is_open = head.uri.path().ends_with('/');
        if let Some(index) = &site.index {
            let below = format!("{}/{index}", name.strip_suffix('/').unwrap_or(name));
            if let Ok(response) = self.show_object(account, container, &below, head).await {
                return Ok(if is_open { response } else { self.with_slash(head) });
            }
        }
        if is_open {
            return self.directory(place, name, &site, head).await;
        }
        let query = Query {
            limit: 1,
            prefix: format!("{name}/").into(),
            delimiter: b"/".to_vec(),
            ..Query::default()
        };
        match self.files.list_container(self.context, account, container, query).await {
            Ok(page) if !page.lines.is_empty() => Ok(self.with_slash(head)),
            _ => self.with_error_page(place, &site, Fault::status(StatusCode::NOT_FOUND), head).await,
        }
    }

    /// Replaces a fault's body by the website's page for that status, if there is one.
    async fn with_error_page(
        &self,
        (account, container): (&str, &str),
        site: &Website,
        fault: Fault,
        head: &Parts,
    ) -> Result<Response, Fault> {
        let Some(page) = &site.error else { return Err(fault) };
        let mut plain = head.clone();
        plain.headers.clear();
        let name = format!("{}{page}", fault.code().as_u16());
        match self.show_object(account, container, &name, &plain).await {
            Ok(mut response) if response.status().is_success() => {
                *response.status_mut() = fault.code();
                Ok(response)
            }
            _ => Err(fault),
        }
    }

    /// Builds a page that lists what is directly below a prefix.
    async fn directory(
        &self,
        (account, container): (&str, &str),
        prefix: &str,
        site: &Website,
        head: &Parts,
    ) -> Result<Response, Fault> {
        let place = (account, container);
        let label = match &site.label {
            Some(label) => format!("{label}/{prefix}"),
            None => decoded(self.context.published.as_deref().unwrap_or(head.uri.path())),
        };
        if !site.listings {
            let fault = Fault::html(StatusCode::NOT_FOUND, disabled(&label, prefix, site));
            return self.with_error_page(place, site, fault, head).await;
        }
        let query = Query {
            limit: self.files.limits().container_listing_limit,
            prefix: prefix.into(),
            delimiter: b"/".to_vec(),
            ..Query::default()
        };
        let page = match self.files.list_container(self.context, account, container, query).await {
            Ok(page) => page,
            Err(refused) => return self.with_error_page(place, site, refused.into(), head).await,
        };
        if page.lines.is_empty() && !prefix.is_empty() {
            return self.with_error_page(place, site, Fault::status(StatusCode::NOT_FOUND), head).await;
        }
        let text = self.listing_page(&label, prefix, site, &page.lines);
        let length = text.len();
        let body = if head.method == Method::HEAD { Body::empty() } else { Body::from(text) };
        let mut response = answer::with(StatusCode::OK, "text/html; charset=UTF-8", body);
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        if self.context.is_signed() {
            answer::set(response.headers_mut(), "content-disposition", "inline");
        }
        Ok(response)
    }

    fn listing_page(&self, label: &str, prefix: &str, site: &Website, lines: &[Line]) -> String {
        let (suffix, base) = self.signed_suffix();
        let label = escaped(label);
        let style = "   h1 {font-size: 1em; font-weight: bold;}\n   th {text-align: left; padding: 0px 1em 0px 1em;}\n   \
                     td {padding: 0px 1em 0px 1em;}\n   a {text-decoration: none;}\n";
        let mut out = format!("<!DOCTYPE html>\n<html>\n <head>\n  <title>Listing of {label}</title>\n");
        out.push_str(&head_of(site, prefix, style));
        out.push_str(&format!(
            " </head>\n <body>\n  <h1 id=\"title\">Listing of {label}</h1>\n  <table id=\"listing\">\n   <tr \
             id=\"heading\">\n    <th class=\"colname\">Name</th>\n    <th class=\"colsize\">Size</th>\n    <th \
             class=\"coldate\">Date</th>\n   </tr>\n"
        ));
        if prefix.len() > base {
            out.push_str(&row(
                "id=\"parent\" class=\"item\"",
                &format!("../{suffix}"),
                "../",
                "&nbsp;",
                "&nbsp;",
            ));
        }
        let link = |name: &str| {
            format!("./{}{suffix}", web::query::encode(name.as_bytes(), true).replace('.', "%2E"))
        };
        for line in lines {
            if let Line::Subdirectory(name) = line {
                let name = &name[prefix.len().min(name.len())..];
                out.push_str(&row("class=\"item subdir\"", &link(name), &escaped(name), "&nbsp;", "&nbsp;"));
            }
        }
        for line in lines {
            if let Line::Object(entry) = line {
                out.push_str(&object_row(entry, prefix, link));
            }
        }
        out.push_str("  </table>\n </body>\n</html>\n");
        out
    }

    /// Redirects to the same path with a trailing slash.
    fn with_slash(&self, head: &Parts) -> Response {
        let place = match &self.context.published {
            // The visitor's own host is not known here.
            Some(path) => format!("{path}/"),
            None => {
                let path = format!("{}/", head.uri.path());
                let secure = headers::get(&head.headers, "x-forwarded-proto") == Some("https");
                let protocol = if secure { "https" } else { "http" };
                match headers::get(&head.headers, "host") {
                    Some(host) => format!("{protocol}://{host}{path}"),
                    None => path,
                }
            }
        };
        let mut response =
            answer::html(StatusCode::MOVED_PERMANENTLY, super::fault::page(StatusCode::MOVED_PERMANENTLY));
        answer::set(response.headers_mut(), LOCATION.as_str(), place);
        response
    }

    /// Returns what links in a listing repeat of a signed request, and the length of the signed prefix.
    fn signed_suffix(&self) -> (String, usize) {
        if self.context.pass.is_none() {
            return (String::new(), 0);
        }
        let Some(prefix) = self.query.text("temp_url_prefix") else { return (String::new(), 0) };
        let encode = |text: &str| web::query::encode(text.as_bytes(), true);
        let given = |name: &str| self.query.text(name).unwrap_or_default().into_owned();
        let mut parts = vec![
            format!("temp_url_prefix={}", encode(&prefix)),
            format!("temp_url_expires={}", encode(&given("temp_url_expires"))),
            format!("temp_url_sig={}", encode(&given("temp_url_sig"))),
        ];
        if self.query.has("temp_url_ip_range") {
            parts.push(format!("temp_url_ip_range={}", encode(&given("temp_url_ip_range"))));
        }
        if self.query.has("inline") {
            parts.push("inline".into());
        }
        (format!("?{}", parts.join("&amp;")), prefix.len())
    }
}

/// Returns whether an object may be a directory placeholder: it must be nearly empty.
fn may_be_directory(response: &Response) -> bool {
    let length =
        response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    response.status().is_success() && length.is_none_or(|length| length <= 1)
}

fn object_row(entry: &ObjectEntry, prefix: &str, link: impl Fn(&str) -> String) -> String {
    let name = &entry.name[prefix.len().min(entry.name.len())..];
    let kinds: Vec<_> = listing::listed_type(&entry.content_type)
        .split('/')
        .map(|kind| format!("type-{}", escaped(&kind.to_lowercase())))
        .collect();
    let changed = time::listing(entry.changed);
    let changed = changed.split('.').next().unwrap_or_default().replace('T', " ");
    let class = format!("class=\"item {}\"", kinds.join(" "));
    row(&class, &link(name), &escaped(name), &human(entry.size), &changed)
}

fn row(attributes: &str, link: &str, name: &str, size: &str, date: &str) -> String {
    format!(
        "   <tr {attributes}>\n    <td class=\"colname\"><a href=\"{link}\">{name}</a></td>\n    <td \
         class=\"colsize\">{size}</td>\n    <td class=\"coldate\">{date}</td>\n   </tr>\n"
    )
}

fn head_of(site: &Website, prefix: &str, style: &str) -> String {
    let Some(css) = &site.css else { return format!("  <style type=\"text/css\">\n{style}  </style>\n") };
    let path = if css.starts_with('/') || css.starts_with("http://") || css.starts_with("https://") {
        web::query::encode(css.as_bytes(), true).replace("%3A", ":")
    } else {
        format!("{}{}", "../".repeat(prefix.matches('/').count()), web::query::encode(css.as_bytes(), true))
    };
    format!("  <link rel=\"stylesheet\" type=\"text/css\" href=\"{path}\" />\n")
}

fn disabled(label: &str, prefix: &str, site: &Website) -> String {
    let style = "   h1 {font-size: 1em; font-weight: bold;}\n   p {font-size: 2}\n";
    let mut out = format!("<!DOCTYPE html>\n<html>\n<head>\n<title>Listing of {}</title>\n", escaped(label));
    out.push_str(&head_of(site, prefix, style));
    out.push_str(
        "</head>\n<body>  <h1>Web Listing Disabled</h1>   <p>The owner of this web site has disabled web listing.   <p>If \
         you are the owner of this web site, you can enable   web listing by setting X-Container-Meta-Web-Listings.</p>",
    );
    if let Some(index) = &site.index {
        out.push_str(&format!(
            "<h1>Index File Not Found</h1> <p>The owner of this web site has set  <b>X-Container-Meta-Web-Index: {}</b>.  \
             However, this file is not found.</p>",
            escaped(index)
        ));
    }
    out.push_str(" </body>\n</html>\n");
    out
}

fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#x27;")
}

/// Formats a size in the largest unit for which it is at least 1: `512`, `10Ki`, `3Mi`.
fn human(size: u64) -> String {
    let (mut value, mut unit) = (size, None);
    for next in "KMGTPE".chars() {
        if value < 1024 {
            break;
        }
        value = (value + 512) / 1024;
        unit = Some(next);
    }
    unit.map_or_else(|| value.to_string(), |unit| format!("{value}{unit}i"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_human_readable() {
        for (size, expected) in [(0, "0"), (1023, "1023"), (1024, "1Ki"), (10_240, "10Ki"), (3 << 20, "3Mi")]
        {
            assert_eq!(human(size), expected);
        }
        assert_eq!(escaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;");
    }
}
