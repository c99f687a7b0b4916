//! Backup schedules.

use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;
use web::Response;
use web::xml::Element;

use super::Api;
use super::body::Document;
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;
use crate::ResponseStyle;
use crate::model::{Daily, Id, Schedule, Weekly};

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let shown = async {
        let id = Id::Number(call.id("server")?);
        let found = api.compute.schedule(&call.context, id).await;
        let (schedule, changed) = found.map_err(|error| Fault::of(&error, call.now))?;
        // A disabled schedule has neither day nor window in the guide; the live service returns both as DISABLED.
        let whole = schedule.enabled || api.compute.settings().response_style == ResponseStyle::Live;
        let (weekly, daily) = (schedule.weekly.as_str(), schedule.daily.as_str());
        let json = || {
            let mut out = json!({ "enabled": schedule.enabled });
            if whole {
                out["weekly"] = weekly.into();
                out["daily"] = daily.into();
            }
            json!({ "backupSchedule": out })
        };
        let xml = || {
            Element::new("backupSchedule")
                .attr("enabled", schedule.enabled)
                .attr_if("weekly", whole.then_some(weekly))
                .attr_if("daily", whole.then_some(daily))
        };
        Ok::<_, Fault>(call.cached(Some(changed), || call.answer(StatusCode::OK, json, xml)))
    };
    shown.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn set(State(api): State<Api>, call: Call, body: Body) -> Response {
    let set = async {
        let id = Id::Number(call.id("server")?);
        let document = Document::read(&call.headers, body).await?;
        let given = document.root("backupSchedule")?;
        let weekly = given.text("weekly")?.unwrap_or_else(|| "DISABLED".into());
        let daily = given.text("daily")?.unwrap_or_else(|| "DISABLED".into());
        let bad = |what: &str, value: &str| Fault::bad_request(format!("{what} may not be {value:.40}"));
        let schedule = Schedule {
            enabled: given.flag("enabled")?.ok_or_else(|| Fault::bad_request("enabled is missing"))?,
            weekly: Weekly::parse(&weekly).ok_or_else(|| bad("weekly", &weekly))?,
            daily: Daily::parse(&daily).ok_or_else(|| bad("daily", &daily))?,
        };
        let set = api.compute.set_schedule(&call.context, id, schedule).await;
        set.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::NO_CONTENT))
    };
    set.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn delete(State(api): State<Api>, call: Call) -> Response {
    let deleted = async {
        let id = Id::Number(call.id("server")?);
        let deleted = api.compute.delete_schedule(&call.context, id).await;
        deleted.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::NO_CONTENT))
    };
    deleted.await.unwrap_or_else(|fault| fault.render(call.format))
}
