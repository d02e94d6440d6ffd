//! Creates a community in the transaction of the request: its rows first, then its tags and images.

use crate::request::NewCommunity;
use crate::slug::Slug;
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::db::communities::{self, NewCommunityRow};
use shared::db::{DbResult, Transaction};
use shared::domain::ids::{CommunityId, UserId};
use shared::domain::remark::Remark;

/// A community as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Community {
    pub(crate) community_id: CommunityId,
    name: String,
    unique_url: String,
    description: Option<String>,
    tags: Vec<String>,
    images: Vec<String>,
    owner_id: UserId,
    role: &'static str,
    created_at: DateTime<Utc>,
    /// What was asked for and left out.
    warnings: Vec<Remark>,
}

/// Creates the community, its owner's membership and subscription, and then its tags and images. The database finds a
/// free address.
pub(crate) async fn create(
    tx: &mut Transaction<'_>,
    owner: UserId,
    new: NewCommunity,
) -> DbResult<Community> {
    let NewCommunity { name, description, tags, images, mut warnings } = new;
    let slug = Slug::of(&name);
    let row = NewCommunityRow {
        id: CommunityId::generate(),
        owner,
        slug_root: slug.root(),
        slug_base: slug.as_str(),
        lowest_suffix: slug.lowest_suffix(),
        name: &name,
        description: description.as_deref(),
    };
    let (id, inserted) = (row.id, communities::insert(tx, &row).await?);
    let tags = add_tags(tx, id, tags, &mut warnings).await?;
    let images = add_images(tx, id, images, &mut warnings).await?;
    Ok(Community {
        community_id: id,
        name,
        unique_url: inserted.unique_url,
        description,
        tags,
        images,
        owner_id: owner,
        role: "owner",
        created_at: inserted.created_at,
        warnings,
    })
}

/// Adds the tags, and returns those that were added: all, or none with a warning if the database refuses one.
async fn add_tags(
    tx: &mut Transaction<'_>,
    community: CommunityId,
    tags: Vec<String>,
    warnings: &mut Vec<Remark>,
) -> DbResult<Vec<String>> {
    if tags.is_empty() || communities::add_tags(tx, community, &tags).await? {
        return Ok(tags);
    }
    warnings.push(none_kept("tags"));
    Ok(Vec::new())
}

/// Adds the images, by the same rule.
async fn add_images(
    tx: &mut Transaction<'_>,
    community: CommunityId,
    images: Vec<String>,
    warnings: &mut Vec<Remark>,
) -> DbResult<Vec<String>> {
    if images.is_empty() || communities::add_images(tx, community, &images).await? {
        return Ok(images);
    }
    warnings.push(none_kept("images"));
    Ok(Vec::new())
}

fn none_kept(kind: &str) -> Remark {
    let detail = format!("None of the {kind} was kept: at least one of them is not allowed.");
    Remark::new(format!("/{kind}"), detail)
}
