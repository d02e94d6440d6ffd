//! What of the table of codes takes part in every insert stands in the summary that a person approves.

use super::adoption::{adopt_on, request};
use onceload_tests::{State, TestDb, World};
use serde_json::{Value, json};
use shared::db::files;

/// Reason, count and sample of the warnings about the table.
fn of_table(warnings: &Value, sample: &str) -> Vec<String> {
    let warnings = warnings.as_array().unwrap().iter();
    let of_table = warnings.filter(|it| it["reason"] == "trigger" || it["reason"] == "foreign_key");
    let text = |it: &Value| it.pointer(sample).and_then(Value::as_str).unwrap().to_owned();
    of_table.map(|it| format!("{} {} {}", it["reason"].as_str().unwrap(), it["count"], text(it))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_part_in_an_insert_is_in_the_check_and_in_the_summary() {
    let db = TestDb::with_baseline().await;
    db.exec(
        "CREATE TABLE public.shops (id uuid PRIMARY KEY);
         CREATE TABLE public.codes (id bigserial PRIMARY KEY, merchant_id uuid CONSTRAINT in_a_shop REFERENCES public.shops, code text,
             claimed boolean, points integer CHECK (points > -5));
         CREATE TABLE public.claims (code_id bigint REFERENCES public.codes);
         CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER looks BEFORE INSERT OR UPDATE ON public.codes FOR EACH ROW EXECUTE FUNCTION public.look();
         CREATE TRIGGER counts AFTER INSERT ON public.codes FOR EACH STATEMENT EXECUTE FUNCTION public.look();
         CREATE TRIGGER changed AFTER UPDATE ON public.codes FOR EACH ROW EXECUTE FUNCTION public.look();
         CREATE TRIGGER gone AFTER DELETE ON public.codes FOR EACH ROW EXECUTE FUNCTION public.look();
         CREATE TRIGGER off AFTER INSERT ON public.codes FOR EACH ROW EXECUTE FUNCTION public.look();
         CREATE TRIGGER replica AFTER INSERT ON public.codes FOR EACH ROW EXECUTE FUNCTION public.look();
         ALTER TABLE public.codes DISABLE TRIGGER off, ENABLE REPLICA TRIGGER replica;",
    )
    .await;
    let answer = adopt_on(&db, &request(&[], true)).await;
    assert!(answer.applied, "{answer:?}");
    let advice =
        |name: &str| answer.warnings.iter().find(|it| it.object == name).map(|it| it.advice.as_str());
    assert_eq!(advice("gone"), Some("It has a part in every rollback."));
    assert_eq!((advice("changed"), advice("off"), advice("replica")), (None, None, None));

    let world = World::with_database(db).await;
    world.db.exec(&format!("INSERT INTO public.shops VALUES ('{}')", world.merchant)).await;
    let keys = ["a.csv", "b.csv"].map(|name| world.upload(name, format!("code\n{name}\n")));
    let expected = ["foreign_key 1 in_a_shop", "trigger 2 counts, looks"];
    let checked = world.check(&keys).await;
    assert_eq!(of_table(&checked["files"][0]["warnings"], "/sample"), expected);

    let mut run = world.import_objects(&keys.each_ref().map(String::as_str));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let shown = world.show(run.job).await;
    // As often as there are triggers, however many files there are.
    assert_eq!(of_table(&shown["warnings"], "/first/sample"), expected, "{shown}");
    let connection = world.app.db.connection().await.unwrap();
    let listed = files::list(&connection, run.job).await.unwrap();
    assert_eq!(of_table(&json!(listed[1].findings.warnings), "/sample"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_baselines_table_has_nothing_to_say_until_somebody_adds_a_trigger() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    assert_eq!(of_table(&world.show(run.job).await["warnings"], "/first/sample"), [""; 0]);
    world
        .db
        .exec(
            "CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER looks BEFORE INSERT ON onceload.codes FOR EACH ROW EXECUTE FUNCTION public.look()",
        )
        .await;
    let run = world.import_until_approval("b.csv", "code\nB\n").await;
    assert_eq!(of_table(&world.show(run.job).await["warnings"], "/first/sample"), ["trigger 1 looks"]);
}
