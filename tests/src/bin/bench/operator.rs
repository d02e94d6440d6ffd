//! What a person says on the way: yes to the import, clear its staging, take it back.

use crate::Outcome;
use crate::database::Bench;
use shared::db::Database;
use shared::db::decisions::{self, Actor, Approval, Decision};
use shared::db::maintenance::{self, Asked};
use shared::db::transaction::{Limits, begin, commit};
use shared::domain::ids::{JobId, MerchantId, UserId};
use shared::domain::task::Claimed;
use uuid::Uuid;
use xtask::generate::Expected;

/// `sub` of the operator's token.
pub const SUBJECT: &str = "bench";

pub struct Operator {
    actor: Actor,
    db: Database,
}

impl Operator {
    pub async fn new(bench: &Bench, merchant: Uuid) -> Outcome<Self> {
        let sql = "INSERT INTO users (subject) VALUES ('bench')
                   ON CONFLICT (subject) DO UPDATE SET subject = 'bench' RETURNING id";
        let row = bench.client.query_typed_one(sql, &[]).await?;
        let user: Uuid = row.get(0);
        let member = format!(
            "INSERT INTO merchant_members (merchant_id, user_id) VALUES ('{merchant}', '{user}') ON CONFLICT DO NOTHING"
        );
        bench.client.batch_execute(&member).await?;
        let actor = Actor { user: UserId(user), merchants: vec![MerchantId(merchant)] };
        Ok(Self { actor, db: Database::new(&bench.url, 1, None)? })
    }

    pub async fn approve(&self, job: JobId, expected: &Expected) -> Outcome<()> {
        let approval = Approval { clean_count: i64::try_from(expected.clean)?, accept_duplicates: false };
        let mut connection = self.db.connection().await?;
        let mut tx = begin(&mut connection, "approve", Limits::short()).await?;
        match decisions::approve(&mut tx, &self.actor, job, approval).await? {
            Decision::Taken { .. } => Ok(commit(tx, "approve").await?),
            other => Err(format!("the approval was answered {other:?}").into()),
        }
    }

    pub async fn clear(&self, job: JobId) -> Outcome<()> {
        let mut connection = self.db.connection().await?;
        let tx = begin(&mut connection, "clear", Limits::short()).await?;
        match maintenance::clear_staging(&tx, &self.actor, job).await? {
            Asked::Taken { .. } => Ok(commit(tx, "clear").await?),
            other => Err(format!("clearing was answered {other:?}").into()),
        }
    }

    pub async fn roll_back(&self, job: JobId) -> Outcome<()> {
        let mut connection = self.db.connection().await?;
        let mut tx = begin(&mut connection, "rollback", Limits::short()).await?;
        match maintenance::ask_rollback(&mut tx, &self.actor, job, Claimed::Keep).await? {
            Asked::Taken { .. } => Ok(commit(tx, "rollback").await?),
            other => Err(format!("the rollback was answered {other:?}").into()),
        }
    }
}
