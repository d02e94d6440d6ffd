//! The person behind a request.

use super::ids::{MerchantId, UserId};
use uuid::Uuid;

/// A user, and the merchants that they belong to.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Who decides.
    pub user: UserId,
    /// Whose imports they may see and decide about.
    pub merchants: Vec<MerchantId>,
}

impl Actor {
    /// The ids of their merchants, for a statement.
    pub fn merchant_ids(&self) -> Vec<Uuid> {
        self.merchants.iter().map(|merchant| merchant.0).collect()
    }
}
