//! Where the command line is used.

use crate::issuer::Pool;
use crate::merchant::Merchant;
use crate::terminal::Shell;
use std::path::PathBuf;

/// A merchant, an operator of its own, and a folder.
pub struct Office {
    pub merchant: Merchant,
    pub shell: Shell,
    folder: PathBuf,
}

impl Office {
    pub async fn new(name: &str) -> Self {
        let merchant = Merchant::new(name).await;
        let email = format!("{}@example.com", merchant.id);
        let token = {
            let pool = Pool::trusted(&merchant.stack);
            pool.user(&email, true).await;
            pool.good_token(&email).await
        };
        // The first request makes the user.
        assert_eq!(merchant.stack.get(Some(&token), "/imports").await.status, 200);
        let member = format!(
            "INSERT INTO merchant_members (merchant_id, user_id) SELECT '{}', id FROM users WHERE email = '{email}'",
            merchant.id
        );
        merchant.db.batch_execute(&member).await.expect("a member");
        let folder = std::env::temp_dir().join(format!("onceload-e2e-{}", merchant.id));
        std::fs::create_dir_all(&folder).expect("a folder");
        let shell =
            Shell { api_url: merchant.stack.file.api_url.clone(), token, merchant: merchant.id.to_string() };
        Self { merchant, shell, folder }
    }

    /// A file in its folder; answers where.
    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    }

    pub fn folder(&self) -> &str {
        self.folder.to_str().expect("a path")
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
