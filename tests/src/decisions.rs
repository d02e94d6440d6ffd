//! Approving, cancelling, retrying and mending an import, each in a transaction as the HTTP functions do.

use crate::execution::Run;
use import_jobs::decide::{self, Approval, Decision};
use import_jobs::mend::{Change, Mended, mend};
use shared::db::{DbResult, Limits, Transaction};
use shared::domain::actor::Actor;

impl Run {
    /// Approves as a person does, under the database's rules.
    pub async fn decide_approval(
        &self,
        actor: &Actor,
        clean_count: i64,
        accept_duplicates: bool,
    ) -> Decision {
        let mut connection = self.app.db.connection().await.expect("connection");
        let mut tx = connection.begin("approve", Limits::short()).await.expect("begin");
        let approval = Approval { clean_count, accept_duplicates };
        let decision =
            decide::approve(&mut tx, actor, self.job, approval, self.app.config.insert_limit).await;
        settle(tx, decision.expect("approve")).await
    }

    /// Approves with the right count; the approval must be accepted.
    pub async fn approve(&self, actor: &Actor) {
        let decision = self.decide_approval(actor, self.clean, true).await;
        assert!(matches!(decision, Decision::Taken { .. }), "{decision:?}");
    }

    pub async fn cancel(&self, actor: &Actor) -> Decision {
        let mut connection = self.app.db.connection().await.expect("connection");
        let mut tx = connection.begin("cancel", Limits::short()).await.expect("begin");
        let decision = decide::cancel(&mut tx, actor, self.job).await;
        settle(tx, decision.expect("cancel")).await
    }

    /// Replaces a file by the newest version of this object, or leaves it out. `Err`: something is in the way for now.
    pub async fn try_mend(&self, actor: &Actor, file_no: i32, by: Option<&str>) -> DbResult<Mended> {
        let change = match by {
            Some(key) => {
                let object = self.app.objects().head(key, None).await.expect("S3");
                Change::Replace(object.unwrap_or_else(|fault| panic!("{key}: {fault}")))
            }
            None => Change::LeaveOut,
        };
        let mut connection = self.app.db.connection().await.expect("connection");
        let mut tx = connection.begin("mend", Limits::short()).await.expect("begin");
        let mended = mend(&mut tx, actor, self.job, file_no, &change).await?;
        if matches!(mended, Mended::Decided(Decision::Taken { .. })) {
            tx.commit().await.expect("commit");
        }
        Ok(mended)
    }

    pub async fn mend(&self, actor: &Actor, file_no: i32, by: Option<&str>) -> Mended {
        self.try_mend(actor, file_no, by).await.expect("mend")
    }

    pub async fn retry(&self, actor: &Actor) -> Decision {
        let mut connection = self.app.db.connection().await.expect("connection");
        let mut tx = connection.begin("retry", Limits::short()).await.expect("begin");
        let decision = decide::retry(&mut tx, actor, self.job).await;
        settle(tx, decision.expect("retry")).await
    }
}

/// Commits only a decision that was taken, as the idempotency wrapper does.
async fn settle(tx: Transaction<'_>, decision: Decision) -> Decision {
    if matches!(decision, Decision::Taken { .. }) {
        tx.commit().await.expect("commit");
    }
    decision
}
