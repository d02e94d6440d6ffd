//! Communities and who belongs to them. Everything here works inside of the caller's transaction.

use super::error::{DbError, DbResult};
use super::rows::{Param, Statement};
use super::sql;
use super::transaction::Transaction;
use crate::domain::community::{NewCommunity, Remark};
use crate::domain::ids::{CommunityId, UserId};
use crate::domain::slug::Slug;
use chrono::{DateTime, Utc};
use futures_util::future::try_join;
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// A community as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Community {
    pub community_id: CommunityId,
    pub name: String,
    pub unique_url: String,
    pub description: Option<String>,
    pub tags: Vec<String>,
    pub images: Vec<String>,
    pub owner_id: UserId,
    pub role: &'static str,
    pub created_at: DateTime<Utc>,
    /// What was asked for and left out.
    pub warnings: Vec<Remark>,
}

/// Makes a community, its owner's membership and subscription: one round trip, however many communities have that
/// name, and one more for tags and for images, if there are any.
pub async fn create(tx: &mut Transaction<'_>, owner: UserId, new: &NewCommunity) -> DbResult<Community> {
    let client = tx.client();
    let slug = Slug::of(&new.name);
    let (id, subscription) = (CommunityId::generate(), Uuid::now_v7());
    let params: &[Param<'_>] = &[
        (&id.0, Type::UUID),
        (&owner.0, Type::UUID),
        (&slug.root(), Type::TEXT),
        (&slug.as_str(), Type::TEXT),
        (&slug.first_suffix(), Type::INT4),
        (&new.name, Type::TEXT),
        (&new.description, Type::TEXT),
        (&subscription, Type::UUID),
    ];
    let row = sql::COMMUNITIES_CREATE.one(client, params).await?;
    let unique_url: Option<String> = row.get("unique_url");
    let unique_url =
        unique_url.ok_or_else(|| DbError::new(sql::COMMUNITIES_CREATE.name, "no address stays free"))?;
    let mut warnings = new.warnings.clone();
    Ok(Community {
        community_id: id,
        name: new.name.clone(),
        unique_url,
        description: new.description.clone(),
        tags: add_soft(client, TAGS, id, &new.tags, &mut warnings).await?,
        images: add_soft(client, IMAGES, id, &new.images, &mut warnings).await?,
        owner_id: owner,
        role: "owner",
        created_at: row.get("created_at"),
        warnings,
    })
}

/// A kind of thing that a community can do without.
#[derive(Clone, Copy)]
struct Kind {
    statement: Statement,
    name: &'static str,
    savepoint: &'static str,
    undo: &'static str,
}

const TAGS: Kind = Kind {
    statement: sql::COMMUNITY_TAGS_ADD,
    name: "tags",
    savepoint: "SAVEPOINT tags",
    undo: "ROLLBACK TO SAVEPOINT tags",
};
const IMAGES: Kind = Kind {
    statement: sql::COMMUNITY_IMAGES_ADD,
    name: "images",
    savepoint: "SAVEPOINT images",
    undo: "ROLLBACK TO SAVEPOINT images",
};

/// Adds them under a savepoint. If the database refuses one, none is added, and a warning says so; only what is wrong
/// with the data is forgiven. Returns what was added.
async fn add_soft(
    client: &Client,
    kind: Kind,
    community: CommunityId,
    values: &[String],
    warnings: &mut Vec<Remark>,
) -> DbResult<Vec<String>> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let savepoint = async {
        client.batch_execute(kind.savepoint).await.map_err(|e| DbError::new(kind.statement.name, e))
    };
    let params: &[Param<'_>] = &[(&community.0, Type::UUID), (&values, Type::TEXT_ARRAY)];
    match try_join(savepoint, kind.statement.run(client, params)).await {
        Ok(_) => Ok(values.to_vec()),
        Err(error) if error.is_refused_data() => {
            tracing::warn!(community_id = %community, constraint = error.constraint(), kind = kind.name, "left out");
            client.batch_execute(kind.undo).await.map_err(|e| DbError::new(kind.statement.name, e))?;
            let detail = format!("None of the {0} was kept: at least one of them is not allowed.", kind.name);
            warnings.push(Remark::new(format!("/{}", kind.name), detail));
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Whether there is such a community.
pub async fn exists(client: &Client, community: CommunityId) -> DbResult<bool> {
    let found = sql::COMMUNITIES_EXISTS.opt(client, &[(&community.0, Type::UUID)]).await?;
    Ok(found.is_some())
}

/// A user's place in a community.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Membership {
    pub community_id: CommunityId,
    pub user_id: UserId,
    pub role: String,
    pub joined_at: DateTime<Utc>,
    /// Made by this very call.
    #[serde(skip)]
    pub new: bool,
}

/// Makes the user a member; who is one already stays what they are.
pub async fn join(client: &Client, community: CommunityId, user: UserId) -> DbResult<Membership> {
    let params: &[Param<'_>] = &[(&community.0, Type::UUID), (&user.0, Type::UUID)];
    let row = sql::COMMUNITY_MEMBERS_JOIN.one(client, params).await?;
    Ok(Membership {
        community_id: community,
        user_id: user,
        role: row.get("role"),
        joined_at: row.get("joined_at"),
        new: row.get("new"),
    })
}
