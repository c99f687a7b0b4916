//! Limits (guide, Determining Limits Programmatically).

use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};
use web::Response;
use web::xml::Element;

use super::Api;
use super::call::Call;
use crate::model::Rate;

fn json(rate: &Rate) -> Value {
    json!({
        "verb": rate.rule.verb,
        "URI": rate.rule.uri,
        "regex": rate.rule.regex,
        "value": rate.value,
        "remaining": rate.remaining,
        "unit": rate.rule.unit.as_str(),
        "resetTime": rate.reset.seconds(),
    })
}

fn xml(rate: &Rate) -> Element {
    Element::new("limit")
        .attr("verb", rate.rule.verb)
        .attr("URI", rate.rule.uri)
        .attr("regex", rate.rule.regex)
        .attr("value", rate.value)
        .attr("remaining", rate.remaining)
        .attr("unit", rate.rule.unit.as_str())
        .attr("resetTime", rate.reset.seconds())
}

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let limits = match api.compute.limits(&call.context).await {
        Ok(limits) => limits,
        Err(error) => return call.fault(&error),
    };
    let absolute = [
        ("maxTotalRAMSize", limits.ram_mib_max),
        ("maxIPGroups", limits.groups_max),
        ("maxIPGroupMembers", limits.members_max),
    ];
    call.answer(
        StatusCode::OK,
        || {
            let absolute: serde_json::Map<String, Value> =
                absolute.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            let rate: Vec<Value> = limits.rates.iter().map(json).collect();
            json!({ "limits": { "rate": rate, "absolute": absolute } })
        },
        || {
            let limit =
                |(name, value): &(&str, i64)| Element::new("limit").attr("name", name).attr("value", value);
            Element::new("limits")
                .child(Element::new("rate").children(limits.rates.iter().map(xml)))
                .child(Element::new("absolute").children(absolute.iter().map(limit)))
        },
    )
}
