//! `GET /imports`: a page of imports, by filters and a cursor.

use crate::links::LinkedJob;
use crate::page::{check_parameters, fit, no_cursor, read_cursor, read_limit, write_cursor};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use lambda_http::http::StatusCode;
use lambda_http::{Request, RequestExt};
use serde_json::json;
use shared::db::jobs::{self, Filter, JobView, Position};
use shared::domain::actor::Actor;
use shared::domain::ids::MerchantId;
use shared::http::{Answer, Problem, json_answer};
use shared::lambda::App;
use uuid::Uuid;

/// The page if the request names none.
const DEFAULT_LIMIT: i64 = 20;
/// A page ends here even if there are fewer imports than were asked for. A hundred that name nothing at length have a tenth of
/// it; those whose every text is as long as it may be do not fit.
const MAX_PAGE_BYTES: usize = 1_000_000;
/// What may be asked for.
const FILTERS: [&str; 6] = ["merchant_id", "status", "month", "created_by", "limit", "cursor"];

/// `GET /imports`
pub(crate) async fn list(app: &App, actor: &Actor, request: &Request) -> Answer {
    let filter = read_filter(actor, request)?;
    let connection = app.db.connection().await?;
    let (views, more) = jobs::list_views(&connection, &filter).await?;
    drop(connection);
    let positions: Vec<Position> = views.iter().map(JobView::position).collect();
    let imports = fit(views.into_iter().map(LinkedJob::from), MAX_PAGE_BYTES);
    let last = imports.len().checked_sub(1).filter(|_| more || imports.len() < positions.len());
    let next = last.map(|last| write_cursor(&positions[last])).transpose()?;
    json_answer(StatusCode::OK, &json!({ "imports": imports, "next": next }))
}

fn read_filter(actor: &Actor, request: &Request) -> Result<Filter, Problem> {
    let query = request.query_string_parameters();
    let mut filter = Filter { merchants: actor.merchants.clone(), brief: true, ..Filter::default() };
    // Membership comes first: a stranger to the merchant learns nothing about the rest of the request.
    if let Some(merchant) = query.first("merchant_id") {
        let merchant = Uuid::try_parse(merchant)
            .map_err(|_| Problem::unprocessable("/merchant_id", "It is not a UUID."))?;
        if !actor.merchants.contains(&MerchantId(merchant)) {
            return Err(Problem::not_found());
        }
        filter.merchants = vec![MerchantId(merchant)];
    }
    check_parameters(request, &FILTERS)?;
    if let Some(status) = query.first("status") {
        let status =
            status.parse().map_err(|error| Problem::unprocessable("/status", format!("{error}.")))?;
        filter.status = Some(status);
    }
    if let Some(month) = query.first("month") {
        filter.month = Some(
            start_of_month(month)
                .ok_or_else(|| Problem::unprocessable("/month", "It is not of the form YYYY-MM."))?,
        );
    }
    if let Some(user) = query.first("created_by") {
        let user =
            Uuid::try_parse(user).map_err(|_| Problem::unprocessable("/created_by", "It is not a UUID."))?;
        filter.created_by = Some(user);
    }
    filter.limit = read_limit(request, DEFAULT_LIMIT)?;
    filter.after = read_cursor(request)?;
    // A cursor holds a time of our own clock. Others may lie outside of what PostgreSQL stores.
    if filter.after.is_some_and(|last| !(1..=9999).contains(&last.created_at.year())) {
        return Err(no_cursor());
    }
    Ok(filter)
}

/// The first instant of a month, UTC.
fn start_of_month(month: &str) -> Option<DateTime<Utc>> {
    let well_formed = month.len() == 7
        && month.as_bytes()[4] == b'-'
        && month.bytes().filter(u8::is_ascii_digit).count() == 6;
    let day: NaiveDate = well_formed.then(|| format!("{month}-01").parse().ok()).flatten()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_four_digits_a_hyphen_and_two_digits() {
        assert_eq!(start_of_month("2026-11").expect("month").to_rfc3339(), "2026-11-01T00:00:00+00:00");
        for bad in ["2026-13", "2026-1", "2026/11", "26-11-1", "+026-11", ""] {
            assert!(start_of_month(bad).is_none(), "{bad}");
        }
    }
}
