//! Approving, cancelling and retrying an import, each in a transaction as the HTTP functions do.

use crate::execution::Run;
use import_jobs::decide::{self, Approval, Decision};
use shared::db::Limits;
use shared::db::Transaction;
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
        let decision = decide::approve(&mut tx, actor, self.job, approval).await;
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
