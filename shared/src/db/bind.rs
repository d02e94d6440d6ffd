//! Values that know the PostgreSQL type they are sent as, so that no call has to name it.

use crate::domain::ids::{CommunityId, JobId, MerchantId, TaskId, UserId};
use crate::domain::message::Kind;
use crate::domain::phase::Phase;
use crate::domain::source::Door;
use crate::domain::status::Status;
use crate::domain::task::{Action, ClaimedCodes, ExportKind, TaskStatus};
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::error::Error;
use tokio_postgres::types::{IsNull, Json, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// A parameter of a statement.
pub trait Bind: ToSql + Sync {
    /// The type that the parameter is declared with.
    fn sql_type(&self) -> Type;
}

impl<T: Typed + ToSql + Sync> Bind for T {
    fn sql_type(&self) -> Type {
        T::TYPE
    }
}

/// A Rust type that stands for one PostgreSQL type.
pub trait Typed {
    /// That type.
    const TYPE: Type;
}

/// A type that can be an element of an array.
pub trait Element: Typed {
    /// The type of the array.
    const ARRAY: Type;
}

macro_rules! typed {
    ($($rust:ty => $postgres:ident, $array:ident;)*) => {
        $(impl Typed for $rust { const TYPE: Type = Type::$postgres; }
          impl Element for $rust { const ARRAY: Type = Type::$array; })*
    };
}

typed! {
    bool => BOOL, BOOL_ARRAY;
    i16 => INT2, INT2_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i64 => INT8, INT8_ARRAY;
    f64 => FLOAT8, FLOAT8_ARRAY;
    str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Uuid => UUID, UUID_ARRAY;
    Value => JSONB, JSONB_ARRAY;
    DateTime<Utc> => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
}

impl<T> Typed for Json<T> {
    const TYPE: Type = Type::JSONB;
}

impl<T> Element for Json<T> {
    const ARRAY: Type = Type::JSONB_ARRAY;
}

impl Typed for [u8] {
    const TYPE: Type = Type::BYTEA;
}

impl Typed for Vec<u8> {
    const TYPE: Type = Type::BYTEA;
}

impl<T: Typed + ?Sized> Typed for &T {
    const TYPE: Type = T::TYPE;
}

impl<T: Element + ?Sized> Element for &T {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for Option<T> {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Element> Typed for [T] {
    const TYPE: Type = T::ARRAY;
}

impl<T: Element> Typed for Vec<T> {
    const TYPE: Type = T::ARRAY;
}

/// Types of the domain that are sent as what is inside of them.
macro_rules! sent_as {
    ($($rust:ty => $inner:ty, $postgres:ident, $array:ident: $value:expr;)*) => {
        $(impl Typed for $rust { const TYPE: Type = Type::$postgres; }
          impl Element for $rust { const ARRAY: Type = Type::$array; }
          impl ToSql for $rust {
              fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                  let value: fn(&Self) -> $inner = $value;
                  value(self).to_sql(ty, out)
              }

              fn accepts(ty: &Type) -> bool {
                  <$inner as ToSql>::accepts(ty)
              }

              to_sql_checked!();
          })*
    };
}

sent_as! {
    CommunityId => Uuid, UUID, UUID_ARRAY: |id| id.0;
    JobId => Uuid, UUID, UUID_ARRAY: |id| id.0;
    MerchantId => Uuid, UUID, UUID_ARRAY: |id| id.0;
    TaskId => Uuid, UUID, UUID_ARRAY: |id| id.0;
    UserId => Uuid, UUID, UUID_ARRAY: |id| id.0;
    Action => &'static str, TEXT, TEXT_ARRAY: |action| action.as_str();
    ClaimedCodes => &'static str, TEXT, TEXT_ARRAY: |claimed| claimed.as_str();
    Door => &'static str, TEXT, TEXT_ARRAY: |door| door.as_str();
    ExportKind => &'static str, TEXT, TEXT_ARRAY: |kind| kind.as_str();
    Kind => &'static str, TEXT, TEXT_ARRAY: |kind| kind.as_str();
    Phase => &'static str, TEXT, TEXT_ARRAY: |phase| phase.as_str();
    Status => &'static str, TEXT, TEXT_ARRAY: |status| status.as_str();
    TaskStatus => &'static str, TEXT, TEXT_ARRAY: |status| status.as_str();
}
