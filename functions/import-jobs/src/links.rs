//! Adds links to an import: what else can be read about it.

use serde::Serialize;
use shared::db::jobs::JobView;

/// An import as the API shows it.
#[derive(Serialize)]
pub(crate) struct LinkedJob {
    #[serde(flatten)]
    pub(crate) view: JobView,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    job: String,
    files: String,
    exports: String,
}

impl From<JobView> for LinkedJob {
    fn from(view: JobView) -> Self {
        let job = format!("/imports/{}", view.job_id);
        let links = Links { files: format!("{job}/files"), exports: format!("{job}/exports"), job };
        Self { view, links }
    }
}
