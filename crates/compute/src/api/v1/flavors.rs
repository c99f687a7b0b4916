//! Flavors: list and details.

use http::StatusCode;
use serde_json::{Value, json};
use web::Response;
use web::xml::Element;
use work::Time;

use super::call::Call;
use super::fault::Fault;
use crate::Error;
use crate::model::{FLAVORS, Flavor};

/// Flavors have not changed since the guide: 2009-07-13.
const CHANGED: Time = Time(1_247_443_200_000_000);

fn json(flavor: &Flavor, detailed: bool) -> Value {
    if detailed {
        json!({ "id": flavor.number, "name": flavor.name, "ram": flavor.memory_mib, "disk": flavor.disk_gib })
    } else {
        json!({ "id": flavor.number, "name": flavor.name })
    }
}

fn xml(flavor: &Flavor, detailed: bool) -> Element {
    Element::new("flavor")
        .attr("id", flavor.number)
        .attr("name", flavor.name)
        .attr_if("ram", detailed.then_some(flavor.memory_mib))
        .attr_if("disk", detailed.then_some(flavor.disk_gib))
}

fn page(call: &Call, detailed: bool) -> Response {
    let page = match call.page() {
        Ok(page) => page,
        Err(fault) => return fault.render(call.format),
    };
    let (offset, limit) = (usize::try_from(page.offset), usize::try_from(page.limit));
    let shown = FLAVORS.iter().skip(offset.unwrap_or(usize::MAX)).take(limit.unwrap_or(0));
    call.cached(Some(CHANGED), || {
        call.answer(
            StatusCode::OK,
            || json!({ "flavors": shown.clone().map(|flavor| json(flavor, detailed)).collect::<Vec<_>>() }),
            || Element::new("flavors").children(shown.clone().map(|flavor| xml(flavor, detailed))),
        )
    })
}

pub(super) async fn list(call: Call) -> Response {
    page(&call, false)
}

pub(super) async fn detail(call: Call) -> Response {
    page(&call, true)
}

pub(super) async fn show(call: Call) -> Response {
    let missing = || Fault::of(&Error::NotFound("flavor"), call.now);
    match call.id("flavor").and_then(|id| Flavor::by_number(id).ok_or_else(missing)) {
        Err(fault) => fault.render(call.format),
        Ok(flavor) => call.cached(Some(CHANGED), || {
            call.answer(StatusCode::OK, || json!({ "flavor": json(flavor, true) }), || xml(flavor, true))
        }),
    }
}
