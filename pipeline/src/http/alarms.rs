//! `/api/v1/alarms`: what fires, what may soon, and what did (`docs/api.md`).

use super::shown::Shown;
use crate::alarms::drive::json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

pub(super) async fn alarms(State(shown): State<Shown>) -> Response {
    match shown.backend.alarms() {
        Some(board) => {
            let mut text = json(&board).to_string();
            text.push('\n');
            shown.answer(StatusCode::OK, "application/json", text)
        }
        None => shown.error(StatusCode::NOT_FOUND, "alarms are switched off (alarms.enabled)"),
    }
}
