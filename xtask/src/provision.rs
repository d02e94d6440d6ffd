//! Creates two demo users and two demo merchants. Each user is a member of one merchant.

use serde::{Deserialize, Serialize};

use crate::deploy::{Login, SignedUp};
use crate::postgres::{self, DATABASE, Postgres, ROLE};
use crate::{Error, Result};

const USERS: [&str; 2] = ["ada@example.com", "ben@example.com"];
const MERCHANTS: [(&str, &str); 2] = [
    ("0197a3c0-0000-7000-8000-00000000000a", "Aurora Coffee"),
    ("0197a3c0-0000-7000-8000-00000000000b", "Borealis Books"),
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchant {
    pub merchant_id: String,
    pub name: String,
}

/// Makes accounts for the demo users, with random passwords.
pub fn new_logins() -> Result<Vec<Login>> {
    // The user pool's policy requires all four kinds of characters.
    let login = |email: &str| {
        Ok(Login { email: email.into(), password: format!("Aa-1{}", postgres::random_password()?) })
    };
    USERS.iter().map(|email| login(email)).collect()
}

pub fn merchants() -> Vec<Merchant> {
    MERCHANTS.iter().map(|(id, name)| Merchant { merchant_id: (*id).into(), name: (*name).into() }).collect()
}

/// Inserts users, merchants and memberships, and returns the users' ids in order. A user who is already in the database
/// keeps the id: the engine forgets its users when it stops, and gives them new subjects at the next start.
pub fn provision(database: &Postgres, users: &[SignedUp]) -> Result<Vec<String>> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut sql = String::from("BEGIN;\n");
    for (user, merchant) in users.iter().zip(merchants()) {
        let (email, subject) = (quoted(&user.email), quoted(&user.subject));
        let (id, name) = (quoted(&merchant.merchant_id), quoted(&merchant.name));
        sql += &format!(
            "UPDATE onceload.users SET subject = {subject} WHERE email = {email} AND subject <> {subject}
               AND NOT EXISTS (SELECT FROM onceload.users WHERE subject = {subject});
             INSERT INTO onceload.users (subject, email, email_verified) VALUES ({subject}, {email}, true)
               ON CONFLICT (subject) DO UPDATE SET email = excluded.email, email_verified = true;
             INSERT INTO onceload.merchants (id, name) VALUES ({id}, {name}) ON CONFLICT (id) DO NOTHING;
             INSERT INTO onceload.merchant_members (merchant_id, user_id) SELECT {id}, id FROM onceload.users WHERE subject = {subject}
               ON CONFLICT DO NOTHING;\n"
        );
    }
    sql += "COMMIT;\n";
    for user in users {
        sql += &format!("SELECT id FROM onceload.users WHERE subject = {};\n", quoted(&user.subject));
    }
    let answer = database.sql(ROLE, DATABASE, &sql)?;
    let ids: Vec<String> = answer.lines().map(|line| line.trim().to_owned()).collect();
    if ids.len() == users.len() {
        Ok(ids)
    } else {
        Err(Error::advice(format!("psql printed {answer:?} instead of ids")))
    }
}
