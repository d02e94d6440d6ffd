//! An operator of a merchant who uses the command line.

use crate::command_line::shell::Shell;
use crate::issuer::Pool;
use crate::merchant::Merchant;
use std::path::PathBuf;

/// An operator with a merchant, a shell and a folder of files.
pub(super) struct Operator {
    pub merchant: Merchant,
    pub shell: Shell,
    folder: PathBuf,
}

impl Operator {
    pub(super) async fn new(name: &str) -> Self {
        let merchant = Merchant::new(name).await;
        let email = format!("{}@example.com", merchant.id);
        let token = {
            let pool = Pool::trusted(&merchant.stack);
            pool.add_user(&email, true).await;
            pool.issue_token(&email).await
        };
        // The first request creates the user.
        assert_eq!(merchant.stack.get(Some(&token), "/imports").await.status, 200);
        let member = format!(
            "INSERT INTO onceload.merchant_members (merchant_id, user_id) SELECT '{}', id FROM onceload.users WHERE email = '{email}'",
            merchant.id
        );
        merchant.db.batch_execute(&member).await.expect("a member");
        let folder = std::env::temp_dir().join(format!("onceload-e2e-{}", merchant.id));
        std::fs::create_dir_all(&folder).expect("a folder");
        let shell =
            Shell { api_url: merchant.stack.file.api_url.clone(), token, merchant: merchant.id.to_string() };
        Self { merchant, shell, folder }
    }

    /// Writes a file into the folder and returns its path.
    pub(super) fn write_file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    }

    pub(super) fn folder(&self) -> &str {
        self.folder.to_str().expect("a path")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
