//! The stack under test: its addresses, its database, its functions and its executions.

use crate::Outcome;
use crate::api::Api;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::aws;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;
use xtask::stack::StackFile;

#[derive(Clone)]
pub(crate) struct Local {
    pub directory: PathBuf,
    pub file: StackFile,
    pub api: Api,
    pub s3: aws_sdk_s3::Client,
    pub executions: aws_sdk_sfn::Client,
}

impl Local {
    pub(crate) async fn connect(directory: &Path) -> Outcome<Self> {
        let file = StackFile::read(directory)?;
        let config = aws::config(&file).await;
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        Ok(Self {
            directory: directory.to_path_buf(),
            api: Api::new(&file.api_url, directory),
            file,
            s3: aws_sdk_s3::Client::from_conf(s3),
            executions: aws_sdk_sfn::Client::new(&config),
        })
    }

    // ------------------------------------------------------------ the database

    /// A connection straight to the server, also where the functions go through a pooler.
    pub(crate) async fn database(&self) -> Outcome<Client> {
        let connect = tokio_postgres::connect(&self.file.database_url, NoTls);
        let (client, connection) = tokio::time::timeout(Duration::from_secs(10), connect).await??;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements on a connection of their own and returns the rows; NULL is an empty text.
    pub(crate) async fn rows(&self, sql: &str) -> Outcome<Vec<Vec<String>>> {
        let client = self.database().await?;
        let messages = tokio::time::timeout(Duration::from_secs(30), client.simple_query(sql)).await??;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    pub(crate) async fn value(&self, sql: &str) -> Outcome<String> {
        let first = self.rows(sql).await?.into_iter().flatten().next();
        first.ok_or_else(|| format!("no row: {sql}").into())
    }

    pub(crate) async fn number(&self, sql: &str) -> Outcome<i64> {
        Ok(self.value(sql).await?.parse()?)
    }

    /// Adds a merchant that these users belong to.
    pub(crate) async fn add_merchant(&self, name: &str, users: &[String]) -> Outcome<Uuid> {
        let id = Uuid::now_v7();
        let mut sql = format!("INSERT INTO onceload.merchants (id, name) VALUES ('{id}', '{name}');");
        for user in users {
            sql += &format!(
                "INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{id}', '{user}');"
            );
        }
        self.rows(&sql).await?;
        Ok(id)
    }

    // ------------------------------------------------------------ the engine

    pub(crate) async fn put(&self, key: &str, body: Vec<u8>) -> Outcome<()> {
        let body = ByteStream::from(body);
        self.s3.put_object().bucket(&self.file.bucket).key(key).body(body).send().await?;
        Ok(())
    }

    /// Invokes the function whose name in template.yaml begins so, and returns its answer, also that of a failure.
    pub(crate) async fn invoke(&self, name: &str, payload: &Value) -> Outcome<Value> {
        let functions = format!("{}/2015-03-31/functions", self.file.aws_endpoint_url);
        let region = self.file.region.clone();
        let (name, payload) = (name.to_owned(), payload.to_string());
        let called = tokio::task::spawn_blocking(move || {
            // The engine checks only the scope of the signature.
            let scope = format!(
                "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/lambda/aws4_request, SignedHeaders=host, Signature=0"
            );
            let mut listed = ureq::get(format!("{functions}/")).header("authorization", &scope).call()?;
            let listed: Value = listed.body_mut().read_json()?;
            let names = listed["Functions"].as_array().into_iter().flatten();
            let mut names = names.filter_map(|function| function["FunctionName"].as_str());
            let function = names.find(|full| full.contains(&name)).unwrap_or_default();
            let mut answer = ureq::post(format!("{functions}/{function}/invocations"))
                .header("authorization", &scope)
                .send(payload)?;
            answer.body_mut().read_json::<Value>()
        });
        Ok(called.await??)
    }

    /// Runs `sweep-imports`, as its schedule does.
    pub(crate) async fn sweep(&self) -> Outcome<Value> {
        self.invoke("SweepImports", &serde_json::json!({})).await
    }

    /// Every execution of both state machines that runs, with its input.
    pub(crate) async fn running(&self) -> Outcome<Vec<Execution>> {
        let machines = [Some(&self.file.state_machine_arn), self.file.maintenance_state_machine_arn.as_ref()];
        let mut found = Vec::new();
        for machine in machines.into_iter().flatten() {
            let mut pages = self
                .executions
                .list_executions()
                .state_machine_arn(machine)
                .status_filter(ExecutionStatus::Running)
                .into_paginator()
                .send();
            while let Some(page) = pages.next().await {
                for execution in page?.executions() {
                    let arn = execution.execution_arn();
                    let described = self.executions.describe_execution().execution_arn(arn).send().await?;
                    found.push(Execution { arn: arn.to_owned(), input: described.input.unwrap_or_default() });
                }
            }
        }
        Ok(found)
    }

    /// Stops an execution. Returns false if it had ended already.
    pub(crate) async fn stop_execution(&self, arn: &str) -> bool {
        self.executions.stop_execution().execution_arn(arn).send().await.is_ok()
    }

    /// Starts an import as S3's event does, once more: an event may come twice.
    pub(crate) async fn repeat_event(&self, input: &str) -> Outcome<()> {
        let machine = &self.file.state_machine_arn;
        self.executions.start_execution().state_machine_arn(machine).input(input).send().await?;
        Ok(())
    }
}

pub(crate) struct Execution {
    pub arn: String,
    pub input: String,
}
