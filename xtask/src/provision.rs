//! The demo's people and merchants: two of each, the first user a member of the first merchant, the second of
//! the second.

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

/// Accounts for the demo's users, with passwords that nobody needs to know.
pub fn logins() -> Result<Vec<Login>> {
    // The pool's policy wants all four kinds of character.
    let login = |email: &str| {
        Ok(Login { email: email.into(), password: format!("Aa-1{}", postgres::random_password()?) })
    };
    USERS.iter().map(|email| login(email)).collect()
}

pub fn merchants() -> Vec<Merchant> {
    MERCHANTS.iter().map(|(id, name)| Merchant { merchant_id: (*id).into(), name: (*name).into() }).collect()
}

/// Writes users, merchants and memberships, and answers the users' ids in order. A user whom the database knows
/// already keeps the id: the engine forgets its users when it stops, and then gives them new subjects.
pub fn provision(database: &Postgres, users: &[SignedUp]) -> Result<Vec<String>> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut sql = String::from("BEGIN;\n");
    for (user, merchant) in users.iter().zip(merchants()) {
        let (email, subject) = (quoted(&user.email), quoted(&user.subject));
        let (id, name) = (quoted(&merchant.merchant_id), quoted(&merchant.name));
        sql += &format!(
            "UPDATE users SET subject = {subject} WHERE email = {email} AND subject <> {subject}
               AND NOT EXISTS (SELECT FROM users WHERE subject = {subject});
             INSERT INTO users (subject, email, email_verified) VALUES ({subject}, {email}, true)
               ON CONFLICT (subject) DO UPDATE SET email = excluded.email, email_verified = true;
             INSERT INTO merchants (id, name) VALUES ({id}, {name}) ON CONFLICT (id) DO NOTHING;
             INSERT INTO merchant_members (merchant_id, user_id) SELECT {id}, id FROM users WHERE subject = {subject}
               ON CONFLICT DO NOTHING;\n"
        );
    }
    sql += "COMMIT;\n";
    for user in users {
        sql += &format!("SELECT id FROM users WHERE subject = {};\n", quoted(&user.subject));
    }
    let answer = database.sql(ROLE, DATABASE, &sql)?;
    let ids: Vec<String> = answer.lines().map(|line| line.trim().to_owned()).collect();
    if ids.len() == users.len() {
        Ok(ids)
    } else {
        Err(Error::advice(format!("psql answered {answer:?} instead of ids")))
    }
}
