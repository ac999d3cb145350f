//! Many rows in one statement: `v` is their table on either database.
//!
//! SQLite gets `VALUES` of the exact size. PostgreSQL gets one array per column, so that the text, and with it the
//! prepared plan, is the same for any number of rows.

use sea_orm::sea_query::ArrayType;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult,
    Statement, Value,
};

/// SQLite's limit on the parameters of a statement.
const SQLITE_PARAMETERS_MAX: usize = 32_766;

/// Stands for NULL inside an array, which the driver cannot bind: no hub time is this early.
const NULL_INT: i64 = i64::MIN;

/// Stands for NULL inside an array: no optional text is stored empty.
const NULL_TEXT: &str = "";

/// The type of a column of `v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Uuid,
    Text,
    /// NULL, or text that is not empty.
    TextOrNull,
    Int,
    IntOrNull,
    Bool,
    Bytes,
    /// NULL, or at least one byte.
    BytesOrNull,
}

pub(crate) type Columns = &'static [(&'static str, Type)];

/// Rows to be written or looked up by one statement.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    columns: Columns,
    values: Vec<Value>,
}

impl Rows {
    pub(crate) fn new(columns: Columns) -> Rows {
        Rows {
            columns,
            values: Vec::new(),
        }
    }

    /// Adds a row, with its values in the order of the columns.
    pub(crate) fn push<const N: usize>(&mut self, row: [Value; N]) {
        debug_assert_eq!(N, self.columns.len(), "a value for each column");
        self.values.extend(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.columns.len()
    }

    /// Runs `sql`, which reads the rows from `v`, and returns how many rows it changed.
    pub(crate) async fn execute(
        self,
        transaction: &DatabaseTransaction,
        sql: &str,
    ) -> Result<u64, DbErr> {
        let mut changed = 0;
        for statement in self.statements(transaction.get_database_backend(), sql) {
            changed += transaction.execute_raw(statement).await?.rows_affected();
        }
        Ok(changed)
    }

    /// Runs `sql`, which reads the rows from `v`, and returns what it returns.
    pub(crate) async fn query(
        self,
        transaction: &DatabaseTransaction,
        sql: &str,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let mut found = Vec::with_capacity(self.len());
        for statement in self.statements(transaction.get_database_backend(), sql) {
            found.append(&mut transaction.query_all_raw(statement).await?);
        }
        Ok(found)
    }

    /// Runs `sql` like [`query`](Self::query), outside of a transaction.
    pub(crate) async fn look(
        self,
        readers: &DatabaseConnection,
        sql: &str,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let mut found = Vec::with_capacity(self.len());
        for statement in self.statements(readers.get_database_backend(), sql) {
            found.append(&mut readers.query_all_raw(statement).await?);
        }
        Ok(found)
    }

    fn statements(self, backend: DbBackend, sql: &str) -> Vec<Statement> {
        if self.is_empty() {
            return Vec::new();
        }
        if backend == DbBackend::Postgres {
            return vec![self.arrays(sql)];
        }
        let width = self.columns.len();
        let rows_max = SQLITE_PARAMETERS_MAX / width;
        self.values
            .chunks(rows_max * width)
            .map(|chunk| exact(self.columns, chunk, sql))
            .collect()
    }

    fn arrays(self, sql: &str) -> Statement {
        let width = self.columns.len();
        let height = self.len();
        let mut arrays: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(height)).collect();
        for (index, value) in self.values.into_iter().enumerate() {
            let (_, kind) = self.columns[index % width];
            arrays[index % width].push(without_null(value, kind));
        }
        let source = self.columns.iter().enumerate();
        let select = list(source.clone().map(|(index, (_, kind))| match kind {
            Type::TextOrNull => format!("NULLIF(c{index}, '{NULL_TEXT}')"),
            Type::IntOrNull => format!("NULLIF(c{index}, {NULL_INT})"),
            Type::BytesOrNull => format!("NULLIF(c{index}, ''::bytea)"),
            Type::Uuid | Type::Text | Type::Int | Type::Bool | Type::Bytes => format!("c{index}"),
        }));
        let unnest = list(source.clone().map(|(index, (_, kind))| {
            let (name, _) = array_type(*kind);
            format!("${}::{name}[]", index + 1)
        }));
        let names = list(source.map(|(index, _)| format!("c{index}")));
        let sql = format!(
            "WITH v({}) AS (SELECT {select} FROM UNNEST({unnest}) AS u({names})) {sql}",
            column_names(self.columns),
        );
        let values = arrays
            .into_iter()
            .zip(self.columns)
            .map(|(array, (_, kind))| {
                let (_, kind) = array_type(*kind);
                Value::Array(kind, Some(Box::new(array)))
            });
        Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
    }
}

fn exact(columns: Columns, values: &[Value], sql: &str) -> Statement {
    let row = format!("({})", list(columns.iter().map(|_| "?".to_owned())));
    let rows = list((0..values.len() / columns.len()).map(|_| row.clone()));
    let names = column_names(columns);
    let sql = format!("WITH v({names}) AS (VALUES {rows}) {sql}");
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values.iter().cloned())
}

fn column_names(columns: Columns) -> String {
    list(columns.iter().map(|(name, _)| (*name).to_owned()))
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn array_type(kind: Type) -> (&'static str, ArrayType) {
    match kind {
        Type::Uuid => ("uuid", ArrayType::Uuid),
        Type::Text | Type::TextOrNull => ("text", ArrayType::String),
        Type::Int | Type::IntOrNull => ("int8", ArrayType::BigInt),
        Type::Bool => ("bool", ArrayType::Bool),
        Type::Bytes | Type::BytesOrNull => ("bytea", ArrayType::Bytes),
    }
}

fn without_null(value: Value, kind: Type) -> Value {
    match kind {
        Type::TextOrNull if value == Value::String(None) => NULL_TEXT.into(),
        Type::IntOrNull if value == Value::BigInt(None) => NULL_INT.into(),
        Type::BytesOrNull if value == Value::Bytes(None) => Vec::<u8>::new().into(),
        Type::Uuid
        | Type::Text
        | Type::TextOrNull
        | Type::Int
        | Type::IntOrNull
        | Type::Bool
        | Type::Bytes
        | Type::BytesOrNull => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = &[("id", Type::Int), ("team", Type::TextOrNull)];

    fn rows(count: i64) -> Rows {
        let mut rows = Rows::new(COLUMNS);
        for id in 0..count {
            rows.push([id.into(), None::<String>.into()]);
        }
        rows
    }

    #[test]
    fn sqlite_gets_values_of_the_exact_size() {
        let statements = rows(2).statements(DbBackend::Sqlite, "SELECT * FROM v");

        assert_eq!(
            statements[0].sql,
            "WITH v(id, team) AS (VALUES (?, ?), (?, ?)) SELECT * FROM v"
        );
    }

    #[test]
    fn postgres_gets_one_text_whatever_the_size() {
        let few = rows(1).statements(DbBackend::Postgres, "SELECT 1");
        let many = rows(500).statements(DbBackend::Postgres, "SELECT 1");

        assert_eq!(few[0].sql, many[0].sql);
        assert!(few[0].sql.contains("NULLIF(c1, '')"), "{}", few[0].sql);
    }

    #[test]
    fn no_statement_has_more_parameters_than_sqlite_takes() {
        let statements = rows(40_000).statements(DbBackend::Sqlite, "SELECT 1");

        assert_eq!(statements.len(), 3);
    }

    #[test]
    fn no_rows_are_no_statement() {
        assert!(rows(0).statements(DbBackend::Sqlite, "SELECT 1").is_empty());
    }
}
