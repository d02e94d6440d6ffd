//! Communities and their members. Everything here works inside of the caller's transaction.

use super::connection::Session;
use super::error::{DbError, DbResult};
use super::statement::{Statement, statements};
use super::transaction::Transaction;
use crate::domain::ids::{CommunityId, UserId};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

statements! {
    "communities":
    ADD_IMAGES = "add_images";
    ADD_TAGS = "add_tags";
    CREATE = "create";
    EXISTS = "exists";
    JOIN = "join";
    LOCK_SLUG = "lock_slug";
}

/// A community as it is written.
#[derive(Debug, Clone)]
pub struct NewCommunityRow<'a> {
    /// Its id.
    pub id: CommunityId,
    /// Who makes it.
    pub owner: UserId,
    /// What slugs have in common whose addresses can meet: it is locked.
    pub slug_root: &'a str,
    /// The address without a suffix.
    pub slug_base: &'a str,
    /// The lowest suffix that may be given; 0 is none.
    pub lowest_suffix: i32,
    /// Its name.
    pub name: &'a str,
    /// Its description.
    pub description: Option<&'a str>,
}

/// What the database decided about a new community.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    /// Its address.
    pub unique_url: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// How often an address is chosen that another program takes at the same moment.
const TRIES: usize = 5;

/// Makes a community, its owner's membership and subscription: one statement finds the first free address and writes all
/// three, however many communities have its name.
pub async fn insert(on: &dyn Session, new: &NewCommunityRow<'_>) -> DbResult<Inserted> {
    LOCK_SLUG.one(on, &[&new.slug_root]).await?;
    let subscription = Uuid::now_v7();
    let NewCommunityRow { id, owner, slug_base, lowest_suffix, name, description, .. } = new;
    for _ in 0..TRIES {
        let row =
            CREATE.opt(on, &[id, owner, slug_base, lowest_suffix, name, description, &subscription]).await?;
        if let Some(row) = row {
            return Ok(Inserted { unique_url: row.get("unique_url"), created_at: row.get("created_at") });
        }
    }
    Err(DbError::defect(CREATE.name, "no address stays free"))
}

/// Adds tags. `false`: the database refuses one of them, and none is added.
pub async fn add_tags(tx: &mut Transaction<'_>, community: CommunityId, tags: &[String]) -> DbResult<bool> {
    add(tx, &ADD_TAGS, community, tags).await
}

/// Adds images. `false`: the database refuses one of them, and none is added.
pub async fn add_images(
    tx: &mut Transaction<'_>,
    community: CommunityId,
    images: &[String],
) -> DbResult<bool> {
    add(tx, &ADD_IMAGES, community, images).await
}

/// Only what is wrong with the data is forgiven.
async fn add(
    tx: &mut Transaction<'_>,
    statement: &Statement,
    community: CommunityId,
    values: &[String],
) -> DbResult<bool> {
    match tx.run_refusable(statement, &[&community, &values]).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_refused_data() => {
            tracing::warn!(community_id = %community, constraint = error.constraint(), "left out");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether there is such a community.
pub async fn exists(on: &dyn Session, community: CommunityId) -> DbResult<bool> {
    Ok(EXISTS.opt(on, &[&community]).await?.is_some())
}

/// A user's place in a community.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Membership {
    /// The community.
    pub community_id: CommunityId,
    /// The user.
    pub user_id: UserId,
    /// `owner` or `member`.
    pub role: String,
    /// Since when.
    pub joined_at: DateTime<Utc>,
    /// Made by this very call.
    #[serde(skip)]
    pub new: bool,
}

/// Makes the user a member. A member stays what they are.
pub async fn join(on: &dyn Session, community: CommunityId, user: UserId) -> DbResult<Membership> {
    let row = JOIN.one(on, &[&community, &user]).await?;
    Ok(Membership {
        community_id: community,
        user_id: user,
        role: row.get("role"),
        joined_at: row.get("joined_at"),
        new: row.get("new"),
    })
}
