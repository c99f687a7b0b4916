//! Creates objects from archives (Swift, Bulk upload).

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use tokio::sync::mpsc;
use web::Response;

use super::answer;
use super::fault::Fault;
use super::put::guessed_type;
use super::report::{Form, Report, line};
use super::unpack::{Coding, Unpacked};
use super::unread::{Purpose, UnreadBody};
use super::{Call, headers};

use crate::model::metadata::{Changes, Metadata, text_of};
use crate::model::name::Target;
use crate::model::tar::{Entry, Event, Reader};
use crate::service::{self, ContainerPut, PutRequest};

/// Pieces of a file queued for storing.
const PIECES: usize = 4;

/// The outcome of extracting an archive.
#[derive(Default)]
struct Extraction {
    created: u64,
    errors: Vec<(String, String)>,
    server_fault: bool,
    stopped: Option<(StatusCode, String)>,
    containers: BTreeSet<String>,
    containers_made: usize,
}

impl Call<'_> {
    /// Handles PUT with `?extract-archive=`: stores each file in the archive as an object, with the request's path as prefix.
    pub(super) async fn extract_archive(
        &self,
        target: &Target,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        let body = body.open(self, (target.account(), target.container()), Purpose::Store).await?;
        let kind = self.query.text("extract-archive").unwrap_or_default();
        let Some(coding) = Coding::of_archive(&kind) else {
            return Err(Fault::html(StatusCode::BAD_REQUEST, "Unsupported archive format"));
        };
        let _share = self.files.bulk_share(self.context, target.account()).await?;
        let mut done = Extraction::default();
        let Some(form) = Form::accepted(&request.headers) else {
            done.stopped = Some((StatusCode::NOT_ACCEPTABLE, String::new()));
            return Ok(answer::html(StatusCode::OK, done.report().write(Form::Text, "extract")));
        };
        let announced = request.headers.contains_key("content-length")
            || request.headers.contains_key("transfer-encoding")
            || request.version >= http::Version::HTTP_2;
        if announced {
            if let Err(stopped) = self.extract(target, request, Unpacked::new(body, coding), &mut done).await
            {
                done.stopped = Some(stopped);
            }
        } else {
            let status = StatusCode::LENGTH_REQUIRED;
            done.stopped = Some((status, super::fault::page(status)));
        }
        Ok(answer::with(StatusCode::OK, form.content_type(), done.report().write(form, "extract")))
    }

    async fn extract(
        &self,
        target: &Target,
        request: &Parts,
        mut archive: Unpacked,
        done: &mut Extraction,
    ) -> Result<(), (StatusCode, String)> {
        let invalid =
            |why: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, format!("Invalid Tar File: {why}"));
        let mut reader = Reader::default();
        let (requests, mut files) = mpsc::channel::<(Entry, mpsc::Receiver<Bytes>)>(1);
        let max_failed = self.files.limits().max_failed;
        // One task reads the archive while another stores its files one by one.
        let parting = async {
            let mut open: Option<mpsc::Sender<Bytes>> = None;
            while let Some(bytes) = archive.next().await.map_err(|e| invalid(&e))? {
                for event in reader.feed(&bytes).map_err(|e| invalid(&e))? {
                    match event {
                        Event::File(entry) => {
                            let (sender, receiver) = mpsc::channel(PIECES);
                            if requests.send((entry, receiver)).await.is_err() {
                                return Ok(());
                            }
                            open = Some(sender);
                        }
                        // Skip the bytes of a file that is not stored.
                        Event::Bytes(bytes) => {
                            if let Some(sender) = &open {
                                let _ = sender.send(bytes.into()).await;
                            }
                        }
                        Event::End => open = None,
                    }
                }
            }
            let ended = reader.finish().map_err(|e| invalid(&e));
            drop(requests);
            ended
        };
        let storing = async {
            while let Some((entry, pieces)) = files.recv().await {
                if let Err(stopped) = self.store_entry(target, request, entry, Pieces(pieces), done).await {
                    files.close();
                    return Err(stopped);
                }
                if done.errors.len() >= max_failed {
                    files.close();
                    return Ok(());
                }
            }
            Ok(())
        };
        // Storing ends with the archive, and reading ends if storing stops.
        let (parted, stored) = tokio::join!(parting, storing);
        stored.and(parted)
    }

    async fn store_entry(
        &self,
        target: &Target,
        request: &Parts,
        entry: Entry,
        mut pieces: Pieces,
        done: &mut Extraction,
    ) -> Result<(), (StatusCode, String)> {
        let base = match target {
            Target::Account(_) => String::new(),
            Target::Container(_, container) => container.clone(),
            Target::Object(_, container, name) => format!("{container}/{name}"),
        };
        let base = base.trim_end_matches('/');
        let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
        let mut full = base.as_bytes().to_vec();
        if !base.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(&path[start..]);
        let shown = web::query::encode(&full, true);
        let text = match String::from_utf8(full) {
            Ok(text) if !text.contains('\0') => text,
            _ => {
                done.errors.push((shown, line(StatusCode::PRECONDITION_FAILED)));
                return Ok(());
            }
        };
        let Some((container, name)) = text.split_once('/').filter(|(_, name)| !name.is_empty()) else {
            return Ok(());
        };
        if entry.size > self.files.limits().max_file_size {
            done.errors.push((shown, line(StatusCode::PAYLOAD_TOO_LARGE)));
            return Ok(());
        }
        let failure = self.ensure_container(target.account(), container, done).await?;
        let outcome = self.put_entry(target.account(), (container, name), request, &entry, &mut pieces).await;
        let Err(fault) = outcome else {
            done.created += 1;
            return Ok(());
        };
        done.errors.extend(failure);
        done.server_fault |= fault.code().is_server_error();
        done.errors.push((shown, line(fault.code())));
        if fault.code() == StatusCode::UNAUTHORIZED {
            return Err((fault.code(), String::new()));
        }
        Ok(())
    }

    /// Creates the container that a file in the archive names, if it is new. If the caller may not create it, storing the
    /// object decides, since that may still be allowed.
    async fn ensure_container(
        &self,
        account: &str,
        container: &str,
        done: &mut Extraction,
    ) -> Result<Option<(String, String)>, (StatusCode, String)> {
        if !done.containers.insert(container.to_owned()) {
            return Ok(None);
        }
        if self.files.container(self.context, account, container).await.is_ok() {
            return Ok(None);
        }
        match self.files.put_container(self.context, account, container, Changes::default(), None).await {
            Ok(ContainerPut::Updated) => Ok(None),
            Ok(ContainerPut::Created) => {
                done.containers_made += 1;
                let max = self.files.limits().max_containers_per_extraction;
                if done.containers_made > max {
                    return Err((
                        StatusCode::BAD_REQUEST,
                        format!("More than {max} containers to create from tar."),
                    ));
                }
                Ok(None)
            }
            Err(error) => {
                let status = Fault::from(error).code();
                if status == StatusCode::UNAUTHORIZED {
                    return Err((status, String::new()));
                }
                let path = format!("/v1/{account}/{container}");
                Ok(Some((web::query::encode(path.as_bytes(), true), line(status))))
            }
        }
    }

    async fn put_entry(
        &self,
        account: &str,
        (container, name): (&str, &str),
        request: &Parts,
        entry: &Entry,
        pieces: &mut Pieces,
    ) -> Result<(), Fault> {
        let limits = self.files.limits();
        let mut given = headers::of_object(&request.headers, limits)?;
        given.0.retain(|name, _| name.starts_with("x-object-meta-"));
        let mut content_type = None;
        let mut changes = Changes::default();
        for (key, value) in &entry.records {
            // bsdtar and GNU tar encode extended attributes this way.
            let key = key
                .strip_prefix("SCHILY.xattr.")
                .or_else(|| key.strip_prefix("LIBARCHIVE.xattr."))
                .unwrap_or(key);
            if key == "user.mime_type" {
                content_type = Some(String::from_utf8_lossy(value).into_owned());
            } else if let Some(item) = key.strip_prefix("user.meta.") {
                changes.set_item("x-object-meta-", &item.to_ascii_lowercase(), &text_of(value), limits)?;
            }
        }
        let Metadata(items) = changes.into_values();
        given.0.extend(items);
        let put = PutRequest {
            length: Some(entry.size),
            etag: None,
            content_type: content_type.unwrap_or_else(|| guessed_type(name)),
            metadata: given,
            only_new: false,
            shape: None,
            expires: headers::expiry(&request.headers, self.files.now())?,
        };
        self.files.put_object(self.context, account, container, name, put, pieces).await?;
        Ok(())
    }
}

impl Extraction {
    fn report(self) -> Report {
        let (status, text) = match self.stopped {
            Some(stopped) => stopped,
            None if self.server_fault => (StatusCode::BAD_GATEWAY, String::new()),
            None if !self.errors.is_empty() => (StatusCode::BAD_REQUEST, String::new()),
            None if self.created == 0 => (StatusCode::BAD_REQUEST, "Invalid Tar File: No Valid Files".into()),
            None => (StatusCode::CREATED, String::new()),
        };
        Report {
            fields: [
                ("Number Files Created", self.created.into()),
                ("Response Body", text.into()),
                ("Response Status", line(status).into()),
            ]
            .into(),
            errors: self.errors,
            ..Report::default()
        }
    }
}

struct Pieces(mpsc::Receiver<Bytes>);

#[async_trait]
impl service::Body for Pieces {
    async fn next(&mut self) -> crate::Result<Option<Bytes>> {
        Ok(self.0.recv().await)
    }
}
