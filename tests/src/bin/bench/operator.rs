//! What a person says on the way: yes to the import, export its report, clear its staging, take it back.

use crate::Outcome;
use crate::database::Bench;
use import_jobs::decide::{self, Approval, Decision};
use import_jobs::maintain::{self, Asked};
use shared::db::Limits;
use shared::db::{Database, Usage};
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, MerchantId, UserId};
use shared::domain::task::{ClaimedCodes, ExportKind};
use std::time::Duration;
use uuid::Uuid;
use xtask::generate::Expected;

/// `sub` of the operator's token.
pub(crate) const SUBJECT: &str = "bench";

pub(crate) struct Operator {
    actor: Actor,
    db: Database,
}

impl Operator {
    pub(crate) async fn new(bench: &Bench, merchant: Uuid) -> Outcome<Self> {
        let sql = "INSERT INTO onceload.users (subject) VALUES ('bench')
                   ON CONFLICT (subject) DO UPDATE SET subject = 'bench' RETURNING id";
        let row = bench.client.query_typed_one(sql, &[]).await?;
        let user: Uuid = row.get(0);
        let member = format!(
            "INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{merchant}', '{user}') ON CONFLICT DO NOTHING"
        );
        bench.client.batch_execute(&member).await?;
        let actor = Actor { user: UserId(user), merchants: vec![MerchantId(merchant)] };
        Ok(Self { actor, db: Database::new(&bench.url, Usage::step(1), None)? })
    }

    pub(crate) async fn approve(&self, job: JobId, expected: &Expected) -> Outcome<()> {
        let approval = Approval { clean_count: i64::try_from(expected.clean)?, accept_duplicates: false };
        let mut connection = self.db.connection().await?;
        let mut tx = connection.begin("approve", Limits::short()).await?;
        match decide::approve(&mut tx, &self.actor, job, approval, Duration::MAX).await? {
            Decision::Taken { .. } => Ok(tx.commit().await?),
            other => Err(format!("the approval was answered {other:?}").into()),
        }
    }

    pub(crate) async fn export(&self, job: JobId, kind: ExportKind) -> Outcome<()> {
        let mut connection = self.db.connection().await?;
        let tx = connection.begin("export", Limits::short()).await?;
        match maintain::ask_export(&tx, &self.actor, job, kind).await? {
            Asked::Taken { .. } => Ok(tx.commit().await?),
            other => Err(format!("the export was answered {other:?}").into()),
        }
    }

    pub(crate) async fn clear(&self, job: JobId) -> Outcome<()> {
        let mut connection = self.db.connection().await?;
        let tx = connection.begin("clear", Limits::short()).await?;
        match maintain::clear_staging(&tx, &self.actor, job).await? {
            Asked::Taken { .. } => Ok(tx.commit().await?),
            other => Err(format!("clearing was answered {other:?}").into()),
        }
    }

    pub(crate) async fn roll_back(&self, job: JobId) -> Outcome<()> {
        let mut connection = self.db.connection().await?;
        let mut tx = connection.begin("rollback", Limits::short()).await?;
        match maintain::ask_rollback(&mut tx, &self.actor, job, ClaimedCodes::Keep).await? {
            Asked::Taken { .. } => Ok(tx.commit().await?),
            other => Err(format!("the rollback was answered {other:?}").into()),
        }
    }
}
