//! Issues more ID tokens from the stack's user pool, or from a foreign one.

use crate::stack::Stack;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Serialises changes to the token validity, which all tokens of the API's client share.
static VALIDITY: Mutex<()> = Mutex::const_new(());
const PASSWORD: &str = "Aa-1-only-for-this-test";

/// The claims of a token; the signature is not verified.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("claims")
}

/// The user pool that the API trusts, or another one.
pub(crate) struct Pool<'a> {
    stack: &'a Stack,
    id: String,
}

impl<'a> Pool<'a> {
    /// The pool that issued the demo users' tokens.
    pub(crate) fn trusted(stack: &'a Stack) -> Self {
        let issuer = claims(stack.token(0))["iss"].as_str().expect("iss").to_owned();
        let id = issuer.rsplit('/').next().expect("a pool").to_owned();
        Self { stack, id }
    }

    /// A new pool that the API does not trust.
    pub(crate) async fn foreign(stack: &'a Stack) -> Self {
        let made = call(stack, "CreateUserPool", json!({ "PoolName": "somebody else's" })).await;
        Self { stack, id: made["UserPool"]["Id"].as_str().expect("a pool").to_owned() }
    }

    /// A token for the API's own audience.
    pub(crate) async fn issue_token(&self, email: &str) -> String {
        let _alone = VALIDITY.lock().await;
        self.sign_in(&self.trusted_client(), email).await
    }

    /// An access token of the API's own client.
    pub(crate) async fn issue_access_token(&self, email: &str) -> String {
        let _alone = VALIDITY.lock().await;
        self.authenticate(&self.trusted_client(), email, "AccessToken").await
    }

    /// A token for the API's own audience that is valid for two seconds.
    pub(crate) async fn issue_short_lived_token(&self, email: &str) -> String {
        let _alone = VALIDITY.lock().await;
        let client = self.trusted_client();
        self.set_validity(&client, "seconds", 2).await;
        let token = self.sign_in(&client, email).await;
        self.set_validity(&client, "hours", 24).await;
        token
    }

    fn trusted_client(&self) -> String {
        claims(self.stack.token(0))["aud"].as_str().expect("aud").to_owned()
    }

    async fn set_validity(&self, client: &str, unit: &str, validity: u32) {
        let update = json!({
            "UserPoolId": self.id, "ClientId": client, "ClientName": "local", "IdTokenValidity": validity,
            "TokenValidityUnits": { "IdToken": unit },
            "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        });
        call(self.stack, "UpdateUserPoolClient", update).await;
    }

    /// Adds a client to the pool, which is another audience.
    pub(crate) async fn add_client(&self) -> String {
        let made = call(
            self.stack,
            "CreateUserPoolClient",
            json!({
                "UserPoolId": self.id, "ClientName": "of a test",
                "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            }),
        )
        .await;
        made["UserPoolClient"]["ClientId"].as_str().expect("a client").to_owned()
    }

    /// Adds a user.
    pub(crate) async fn add_user(&self, email: &str, verified: bool) {
        let attributes = json!([
            { "Name": "email", "Value": email },
            { "Name": "email_verified", "Value": verified.to_string() },
        ]);
        let user = json!({
            "UserPoolId": self.id, "Username": email, "MessageAction": "SUPPRESS", "UserAttributes": attributes,
        });
        call(self.stack, "AdminCreateUser", user).await;
        let password =
            json!({ "UserPoolId": self.id, "Username": email, "Password": PASSWORD, "Permanent": true });
        call(self.stack, "AdminSetUserPassword", password).await;
    }

    /// Signs the user in and returns an ID token.
    pub(crate) async fn sign_in(&self, client: &str, email: &str) -> String {
        self.authenticate(client, email, "IdToken").await
    }

    async fn authenticate(&self, client: &str, email: &str, token: &str) -> String {
        let parameters = json!({ "USERNAME": email, "PASSWORD": PASSWORD });
        let signed_in = call(
            self.stack,
            "InitiateAuth",
            json!({ "ClientId": client, "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": parameters }),
        )
        .await;
        signed_in["AuthenticationResult"][token].as_str().expect("a token").to_owned()
    }
}

/// Calls Cognito.
async fn call(stack: &Stack, action: &'static str, body: Value) -> Value {
    let endpoint = stack.file.aws_endpoint_url.clone();
    let region = stack.file.region.clone();
    let called = tokio::task::spawn_blocking(move || {
        let mut answer = ureq::post(endpoint)
            .header("x-amz-target", format!("AWSCognitoIdentityProviderService.{action}"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/cognito-idp/aws4_request, SignedHeaders=host, Signature=0"))
            .send(body.to_string())?;
        answer.body_mut().read_to_string()
    });
    let text = called.await.expect("the call").unwrap_or_else(|error| panic!("{action}: {error}"));
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
}
